"""Bodies and answers about projects and their members."""

from typing import Annotated, Literal

from pydantic import Field

from services.api.schemas import Body, Document, Time

Role = Literal["viewer", "contributor", "maintainer"]
Bound = Annotated[int, Field(gt=0, le=2**62)] | None


class ProjectBody(Body):
    """A project to be made; what is left out is as the settings of the service say."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    quota_bytes: Bound = None
    quota_traces: Bound = None
    quota_queued_runs: Bound = None
    requests_per_minute: Bound = None
    shard_seconds: Annotated[int, Field(gt=0, le=2**31 - 1)] | None = None


class Project(Document):
    """A project and what it may have; null is without bound."""

    name: str
    created_at: Time
    quota_bytes: int | None
    quota_traces: int | None
    quota_queued_runs: int | None
    requests_per_minute: int | None
    shard_seconds: int | None = Field(description="How long a shard may take; see /limits")


class MemberBody(Body):
    """What a member may do."""

    role: Role


class Member(Document):
    """A member of the caller's project."""

    user: str
    role: Role
    since: Time
