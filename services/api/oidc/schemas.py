"""Bodies and answers about logins by an issuer."""

from typing import Annotated

from pydantic import Field

from services.api.schemas import Body, Document
from services.api.sessions.schemas import OpenedSession

_Short = Annotated[str, Field(max_length=256)]
_Long = Annotated[str, Field(max_length=4096)]


class Offer(Document):
    """The issuer people may log in by."""

    name: str | None = Field(description="What it is called; null: there is none")


class BeginBody(Body):
    """A login by the issuer that begins."""

    target: Annotated[str, Field(max_length=2000)] = Field(
        "/", description="The page it leads to in the end; answered again with the session"
    )


class BegunLogin(Document):
    """A login that has begun."""

    location: str = Field(description="Where the browser goes now")
    secret: str = Field(
        repr=False, description="What this browser keeps until it comes back; good for one login"
    )


class FinishBody(Body):
    """What the browser kept, and what the issuer sent it back with."""

    secret: _Short
    state: _Short
    code: _Long | None = None
    error: _Long | None = None
    iss: _Long | None = None


class IssuedSession(OpenedSession):
    """A login, and the page it was begun for."""

    target: str
