"""Thresholds as JSON."""

from typing import Self

from pydantic import Field, model_validator

from services.api.schemas import Body, Document


class Limit(Body):
    """How much one counter may worsen: either a share of the base's value or a count."""

    permille: int | None = Field(
        None, ge=0, le=1_000_000, description="Thousandths of the base's value; 10 is 1 %"
    )
    absolute: int | None = Field(None, ge=0, le=2**53, description="How many more than the base")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.permille is None) == (self.absolute is None):
            message = "give either permille or absolute"
            raise ValueError(message)
        return self


class ThresholdsBody(Body):
    """All limits of the project; a counter that is not named has the default."""

    limits: dict[str, Limit] = Field(max_length=100, description="By counter")


class DefaultLimit(Document):
    """The limit of counters without one of their own."""

    permille: int = Field(description="A change must be larger than this many thousandths")
    operations: int = Field(description="and at least one in this many operations")


class Thresholds(Document):
    """When a batch of this project ends in a regression."""

    limits: dict[str, Limit]
    default: DefaultLimit
    counters: list[str] = Field(description="Those that may have a limit")
