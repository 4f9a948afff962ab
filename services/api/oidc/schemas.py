"""Bodies and answers about logins by an issuer."""

from typing import Annotated

from pydantic import Field

from services.api.schemas import Body, Document
from services.api.sessions.schemas import OpenedSession

_Short = Annotated[str, Field(max_length=256)]
_Long = Annotated[str, Field(max_length=4096)]


class Offer(Document):
    """The issuer users can log in by."""

    name: str | None = Field(description="Its name; null: there is none")


class BeginBody(Body):
    """A login by the issuer to start."""

    target: Annotated[str, Field(max_length=2000)] = Field(
        "/", description="The page to open after the login; returned with the session"
    )


class BegunLogin(Document):
    """A started login."""

    location: str = Field(description="Where to send the browser")
    secret: str = Field(
        repr=False, description="What the browser keeps until it returns; valid for one login"
    )


class FinishBody(Body):
    """What the browser kept, and the issuer's answer."""

    secret: _Short
    state: _Short
    code: _Long | None = None
    error: _Long | None = None
    iss: _Long | None = None


class IssuedSession(OpenedSession):
    """A login, and the page it was started for."""

    target: str
