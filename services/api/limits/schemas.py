"""Limits as JSON."""

from pydantic import Field

from services.api.schemas import Body, Document


class LimitsBody(Body):
    """The limits of the project's own; null takes one away."""

    shard_seconds: int | None = Field(
        gt=0, le=2**31 - 1, description="How long a shard may take; no more than the service gives"
    )


class Limits(Document):
    """What a shard of this project may take before its runs fail."""

    shard_seconds: int | None = Field(description="The project's own; null: the service's")
    shard_seconds_max: float = Field(description="What the service gives any project")
    replay_memory_bytes: int = Field(description="What all runs of a shard together may hold")
