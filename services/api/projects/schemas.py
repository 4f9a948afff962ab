"""Bodies and answers about projects and their members."""

from typing import Annotated, Literal

from pydantic import Field

from services.api.schemas import Body, Document, Time

Role = Literal["viewer", "contributor", "maintainer"]
Bound = Annotated[int, Field(gt=0, le=2**62)] | None


class ProjectBody(Body):
    """A project to create; defaults are from the settings of the service."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    quota_bytes: Bound = None
    quota_traces: Bound = None
    quota_queued_runs: Bound = None
    requests_per_minute: Bound = None
    shard_seconds: Annotated[int, Field(gt=0, le=2**31 - 1)] | None = None


class Project(Document):
    """A project and its quotas; null is unbounded."""

    name: str
    created_at: Time
    quota_bytes: int | None
    quota_traces: int | None
    quota_queued_runs: int | None
    requests_per_minute: int | None
    shard_seconds: int | None = Field(description="Time limit of a shard; see /limits")


class MemberBody(Body):
    """The role of a member."""

    role: Role


class Member(Document):
    """A member of the caller's project."""

    user: str
    role: Role
    since: Time
