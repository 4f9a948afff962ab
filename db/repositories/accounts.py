"""Users, and what each may do in which project."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.errors import Conflict
from db.identifiers import uuid7
from db.models import Membership, Project, Token, User
from db.models.projects import Made
from refault.errors import InvalidRequest, NotFound

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
EMAIL = re.compile(r"[^@\s\x00-\x20\x7f]{1,64}@[^@\s\x00-\x20\x7f]{1,189}")


def add_user(
    session: Session,
    name: str,
    *,
    password_hash: str | None = None,
    is_admin: bool = False,
    email: str | None = None,
) -> User:
    """Add a user; with ``email``, one invited to log in through the issuer.

    Raises:
        InvalidRequest: the name or the address is not valid.
        Conflict: another user has it.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"user name {name[:80]!r}: 1 to 63 of a-z 0-9 . _ @ -, a letter or digit first"
        )
    if find_user(session, name) is not None:
        raise Conflict(f"user {name} already exists")
    user = User(
        id=uuid7(),
        name=name,
        password_hash=password_hash,
        is_admin=is_admin,
    )
    session.add(user)
    session.flush()
    if email is not None:
        set_email(session, user, email)
    return user


def set_email(session: Session, user: User, email: str | None) -> None:
    """Set the e-mail address of an account, in lower case; see ``identities.invite``."""
    if email is not None:
        email = email.lower()
        if not EMAIL.fullmatch(email):
            raise InvalidRequest(f"{email[:80]!r} is not an e-mail address")
        holder = session.scalar(sa.select(User).where(User.email == email))
        if holder is not None and holder.id != user.id:
            raise Conflict(f"{email} is already set on the account {holder.name}")
    user.email = email
    session.flush()


def find_user(session: Session, name: str) -> User | None:
    """The user of that name, or None."""
    if not _NAME.fullmatch(name):
        return None
    return session.scalar(sa.select(User).where(User.name == name))


def get_user(session: Session, name: str) -> User:
    """The user of that name; raises :class:`~refault.errors.NotFound`."""
    found = find_user(session, name)
    if found is None:
        raise NotFound(f"no user {name}")
    return found


def users(session: Session) -> Sequence[User]:
    """All users, by name."""
    return session.scalars(sa.select(User).order_by(User.name)).all()


def set_enabled(session: Session, user: User, *, enabled: bool) -> None:
    """Enable or disable an account; disabling ends its sessions and tokens at once."""
    user.disabled_at = None if enabled else session.scalar(sa.select(sa.func.now()))
    session.flush()


def role_in(session: Session, user_id: uuid.UUID, project_id: uuid.UUID) -> str | None:
    """The user's role in the project; None if they are not a member."""
    found = session.get(Membership, (project_id, user_id))
    return found.role if found else None


def set_role(session: Session, project_id: uuid.UUID, user: User, role: str) -> None:
    """Make the user a member of the project, or change their role."""
    session.execute(
        insert(Membership)
        .values(project_id=project_id, user_id=user.id, role=role)
        .on_conflict_do_update(
            index_elements=[Membership.project_id, Membership.user_id], set_={"role": role}
        )
    )


def remove_member(session: Session, project_id: uuid.UUID, user: User) -> None:
    """Remove a member; raises :class:`~refault.errors.NotFound` if the user is not one."""
    found = session.get(Membership, (project_id, user.id))
    if found is None:
        raise NotFound(f"{user.name} is not a member of this project")
    session.delete(found)
    session.flush()


def members(session: Session, project_id: uuid.UUID) -> Sequence[tuple[User, Membership]]:
    """The members of a project, by name."""
    query = (
        sa.select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project_id)
        .order_by(User.name)
    )
    return [(user, membership) for user, membership in session.execute(query)]


def projects_of(session: Session, user: User) -> Sequence[tuple[Project, str]]:
    """The projects a user sees with their role in each; an admin sees all as a maintainer."""
    if user.is_admin:
        every = session.scalars(sa.select(Project).order_by(Project.name))
        return [(project, "maintainer") for project in every]
    query = (
        sa.select(Project, Membership.role)
        .join(Membership, Membership.project_id == Project.id)
        .where(Membership.user_id == user.id)
        .order_by(Project.name)
    )
    return [(project, role) for project, role in session.execute(query)]


def makers(session: Session, rows: Sequence[Made]) -> dict[uuid.UUID, str]:
    """Who made each row, as the audit names it: ``user anna``, ``token ci``; by the row's id.

    Rows whose maker is gone or unknown are missing. However many rows: at most two queries.
    """
    users = _names(session, User, {row.user_id for row in rows})
    tokens = _names(session, Token, {row.token_id for row in rows})
    found = {}
    for row in rows:
        # A token of a user is that user's doing.
        if row.user_id in users:
            found[_id_of(row)] = f"user {users[row.user_id]}"
        elif row.token_id in tokens:
            found[_id_of(row)] = f"token {tokens[row.token_id]}"
    return found


def _id_of(row: Made) -> uuid.UUID:
    return cast("uuid.UUID", sa.inspect(row).identity[0])


def _names(
    session: Session, model: type[User | Token], wanted: set[uuid.UUID | None]
) -> dict[uuid.UUID | None, str]:
    wanted -= {None}
    if not wanted:
        return {}
    query = sa.select(model.id, model.name).where(model.id.in_(wanted))
    return {row.id: row.name for row in session.execute(query)}
