"""Shared by several nouns: pages of a list, digests, problems."""

import datetime
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from services.api.texts import unprintable_in

ItemT = TypeVar("ItemT")


def _rfc3339(time: datetime.datetime) -> str:
    return time.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="sha256, lower-case hex")]
Time = Annotated[
    datetime.datetime,
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    Field(description="RFC 3339, UTC"),
]


_COMPLAINTS_MAX = 20


class _Lines:
    """Marks a field of a body whose text may have several lines, and tabs."""


LINES: Final = _Lines()


class Document(BaseModel):
    """Base of every answer; read from rows and dataclasses."""

    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """Base of every request body; an unknown key is an error.

    All its text is checked, however deep, and unprintable text is refused with its place. A field
    that may have several lines is declared ``Annotated[str, LINES]``.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_printable(cls, given: Any) -> Any:
        lines_of = {name for name, field in cls.model_fields.items() if LINES in field.metadata}
        refused = [
            InitErrorDetails(
                type=PydanticCustomError("unprintable", "{wrong}", {"wrong": wrong}),
                loc=place,
                input=None,
            )
            for place, wrong in islice(unprintable_in(given, frozenset(lines_of)), _COMPLAINTS_MAX)
        ]
        if refused:
            raise ValidationError.from_exception_data(cls.__name__, refused)
        return given


class Page(BaseModel, Generic[ItemT]):
    """One page of a list, newest first."""

    items: list[ItemT]
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next page; null on the last one"
    )


class Facet(Document):
    """A value by which a list can be filtered, and how many of it one would get."""

    value: str
    count: int


def facets_of(
    found: Mapping[str, Sequence[tuple[str, int]]],
) -> dict[str, list[dict[str, object]]]:
    """Counted values as documents of facets."""
    return {
        name: [{"value": value, "count": count} for value, count in values]
        for name, values in found.items()
    }


class ProblemPlace(BaseModel):
    """One place of a request and its error."""

    pointer: str | None = Field(None, description="JSON pointer into the body")
    parameter: str | None = Field(None, description="Name of a path, query or header parameter")
    detail: str


class Problem(BaseModel):
    """RFC 9457, as `application/problem+json`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/trace-corrupt",
                    "title": "The trace is damaged",
                    "status": 422,
                    "detail": "byte 8192: block 3: checksum does not match",
                    "instance": "/api/v1/traces",
                    "request_id": "5f2c8a1be0d94c37",
                    "offset": 8192,
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ProblemPlace] | None = None
    offset: int | None = Field(None, description="Byte of the trace with the first error")
