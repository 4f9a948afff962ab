"""The endpoints under ``/api/v1/users``: for administrators who are logged in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from db.errors import Forbidden
from db.models import User as UserRow
from db.repositories import accounts, credentials, identities
from db.session import transaction
from services.api import passwords
from services.api.deps import WithCaller, WithResources
from services.api.responses import problems
from services.api.schemas import Body, Document, Page, Time
from services.api.sessions.schemas import NewPassword


def _admin(caller: WithCaller) -> None:
    if not caller.is_admin:
        raise Forbidden("only a logged-in administrator manages users")


router = APIRouter(tags=["users"], dependencies=[Depends(_admin)])


_Email = Annotated[
    str,
    Field(
        max_length=254,
        description="At the first login the issuer's user with this verified address is linked",
    ),
]


class UserBody(Body):
    """A user to create; without password and e-mail a password is generated and shown once."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,62}$")]
    password: NewPassword | None = None
    email: _Email | None = None
    is_admin: bool = False


class ChangeBody(Body):
    """Changes of a user by an administrator; omitted fields are kept.

    Setting an e-mail address, even the same, ends the link to the issuer; an empty one
    ends the invitation too.
    """

    password: NewPassword | None = None
    email: _Email | None = None
    is_enabled: bool | None = None
    is_admin: bool | None = None


class User(Document):
    """A user."""

    name: str
    email: str | None = Field(description="Identifies the first login by the issuer")
    is_admin: bool
    is_enabled: bool
    created_at: Time


class NewUser(User):
    """A new user; `password` was generated and is shown only once."""

    password: str | None = Field(repr=False)


@router.get("/users", responses=problems(401, 403))
def list_users(resources: WithResources) -> Page[User]:
    """List every user of the installation."""
    with transaction(resources.engine) as session:
        items = [User(**_fields(row)) for row in accounts.users(session)]
    return Page(items=items, next_cursor=None)


@router.post("/users", status_code=201, responses=problems(401, 403, 409, 422))
def create_user(resources: WithResources, body: UserBody) -> NewUser:
    """Create a user."""
    generated = None if body.password or body.email else passwords.generated()
    password = body.password or generated
    password_hash = passwords.hashed(password) if password else None
    with transaction(resources.engine) as session:
        row = accounts.add_user(
            session,
            body.name,
            password_hash=password_hash,
            is_admin=body.is_admin,
            email=body.email or None,
        )
        session.refresh(row)
        return NewUser(**_fields(row), password=generated)


@router.patch("/users/{user}", responses=problems(401, 403, 404, 409, 422))
def change_user(
    resources: WithResources,
    user: Annotated[str, Path(max_length=63, description="Name of a user")],
    body: ChangeBody,
) -> User:
    """Change a user; a new password, a new address or disabling ends all their logins."""
    with transaction(resources.engine) as session:
        row = accounts.get_user(session, user)
        if body.password is not None:
            row.password_hash = passwords.hashed(body.password)
        if body.is_admin is not None:
            row.is_admin = body.is_admin
        if body.is_enabled is not None:
            accounts.set_enabled(session, row, enabled=body.is_enabled)
        if body.email is not None:
            identities.invite(session, row, body.email or None)
        if (body.password, body.email) != (None, None) or body.is_enabled is False:
            credentials.revoke_sessions(session, row)
        return User(**_fields(row))


def _fields(row: UserRow) -> dict[str, object]:
    return {
        "name": row.name,
        "email": row.email,
        "is_admin": row.is_admin,
        "is_enabled": row.disabled_at is None,
        "created_at": row.created_at,
    }
