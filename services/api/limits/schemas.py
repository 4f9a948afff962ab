"""Limits as JSON."""

from typing import Literal

from pydantic import Field

from services.api.schemas import Body, Document

BuildRole = Literal["nobody", "maintainer", "contributor"]


class LimitsBody(Body):
    """The project's own limits."""

    shard_seconds: int | None = Field(
        gt=0, le=2**31 - 1, description="Time limit of a shard, at most the service's; null: that"
    )
    build_role: BuildRole | None = Field(
        None, description="Who builds kernels: this role and those above it; null: as before"
    )


class Used(Document):
    """How much of one thing the project has, and how much it may have."""

    used: int
    unfinished: int = Field(description="Of uploads that have not ended, which count as well")
    quota: int | None = Field(description="null: no bound")


class Usage(Document):
    """What the project has of what its quotas bound."""

    bytes: Used = Field(description="Of traces, packed trees, and the programs built of these")
    traces: Used
    queued_runs: Used = Field(description="Runs that wait")


class Limits(Document):
    """The limits of a shard of this project, beyond which its runs fail; and who builds kernels."""

    shard_seconds: int | None = Field(description="The project's own; null: the service's")
    shard_seconds_max: float = Field(description="The service's limit for any project")
    replay_memory_bytes: int = Field(description="Memory of all runs of a shard together")
    builds: bool = Field(description="Whether the operator allows kernels to be built")
    builders: int = Field(description="Living workers that build kernels")
    build_role: BuildRole = Field(
        description="Who of the project builds kernels: this role and those above it"
    )
