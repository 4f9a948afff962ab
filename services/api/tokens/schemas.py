"""Bodies and answers about tokens."""

import uuid
from typing import Annotated, Literal

from pydantic import Field

from services.api.schemas import Body, Document, Time

LIFETIME_DAYS_MAX = 365


class TokenBody(Body):
    """A token to create."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[
        list[Literal["read", "upload", "submit", "build", "admin"]],
        Field(min_length=1, max_length=5),
    ]
    lifetime_days: Annotated[int, Field(ge=1, le=LIFETIME_DAYS_MAX)] = 90


class Token(Document):
    """A token without its secret."""

    id: uuid.UUID
    name: str
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None


class MintedToken(Token):
    """A new token; `secret` is shown only once."""

    secret: str = Field(repr=False)
