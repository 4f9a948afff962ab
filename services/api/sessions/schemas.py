"""Bodies and answers about logins and callers."""

import uuid
from typing import Annotated, Literal

from pydantic import Field

from services.api.passwords import LENGTH_MAX, LENGTH_MIN
from services.api.schemas import Body, Document, Time

Secret = Annotated[str, Field(max_length=LENGTH_MAX)]
NewPassword = Annotated[str, Field(min_length=LENGTH_MIN, max_length=LENGTH_MAX)]
Name = Annotated[str, Field(max_length=63)]


class LoginBody(Body):
    """Name and password of a user."""

    name: Name
    password: Secret
    device: Annotated[str, Field(max_length=100)] | None = Field(
        None,
        repr=False,
        description="`device` of an earlier login from here: failed logins of others do not count",
    )


class OpenedSession(Document):
    """A login; `secret` is the value of the cookie and is shown once."""

    secret: str = Field(repr=False)
    device: str | None = Field(
        None, repr=False, description="Identifies this browser at the next login; shown once"
    )
    user: str
    expires_at: Time


class ChooseBody(Body):
    """The project to choose."""

    project: Name


class PasswordBody(Body):
    """A change of one's own password."""

    old: Secret
    new: NewPassword


class ProjectChoice(Document):
    """A project the caller may see."""

    name: str
    role: str


class Me(Document):
    """The caller: project, role and scopes."""

    kind: Literal["token", "session", "link"]
    name: str
    user: str | None
    is_admin: bool
    project: str | None
    role: str | None
    scopes: list[str]
    projects: list[ProjectChoice]
    batch: str | None = Field(description="Of a share link: the batch it opens")
    form_key: str | None = Field(
        description="Of a login: the X-CSRF-Token of its writes", repr=False
    )
    id: uuid.UUID
