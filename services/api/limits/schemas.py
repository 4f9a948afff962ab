"""Limits as JSON."""

from pydantic import Field

from services.api.schemas import Body, Document


class LimitsBody(Body):
    """The project's own limits; null removes one."""

    shard_seconds: int | None = Field(
        gt=0, le=2**31 - 1, description="Time limit of a shard; at most the service's"
    )


class Limits(Document):
    """The limits of a shard of this project; beyond them its runs fail."""

    shard_seconds: int | None = Field(description="The project's own; null: the service's")
    shard_seconds_max: float = Field(description="The service's limit for any project")
    replay_memory_bytes: int = Field(description="Memory of all runs of a shard together")
