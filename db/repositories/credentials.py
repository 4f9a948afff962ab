"""Tokens, login sessions and share links: made, found by their secret, revoked.

Whether one still holds is asked of the database's clock only. Finding is done in a session without
a project (it is the secret that says which), listing and revoking in a session of one.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Iterable, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import secrets
from db.identifiers import uuid7
from db.models import Batch, LoginSession, Membership, Project, ShareLink, Token, User
from db.models.accounts import SCOPES
from db.scope import project_of
from refault.errors import InvalidRequest, NotFound

# A write per request would be a row of contention; nobody needs it to the second.
_USE_NOTED_SECONDS = 60

RowT = TypeVar("RowT", Token, LoginSession, ShareLink)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A secret somebody showed, what it belongs to, and whether it holds now."""

    row: Token | LoginSession | ShareLink
    user: User | None
    project: Project | None
    # Held here, the session has it at hand for whoever asks for the role.
    membership: Membership | None


def mint_token(
    session: Session,
    name: str,
    *,
    scopes: Iterable[str],
    user_id: uuid.UUID | None = None,
    lifetime: datetime.timedelta | None = None,
) -> tuple[Token, str]:
    """A new token of the session's project and its secret, which is nowhere else."""
    wanted = [scope for scope in SCOPES if scope in set(scopes)]
    if not wanted or set(scopes) - set(SCOPES):
        raise InvalidRequest(f"scopes: one or more of {', '.join(SCOPES)}")
    secret, digest = secrets.new(secrets.TOKEN)
    row = Token(
        id=uuid7(),
        project_id=project_of(session),
        name=name,
        secret_digest=digest,
        scopes=wanted,
        user_id=user_id,
        expires_at=_after(session, lifetime),
    )
    return _kept(session, row), secret


def open_session(
    session: Session, user: User, project_id: uuid.UUID | None, lifetime: datetime.timedelta
) -> tuple[LoginSession, str]:
    """A new login session of a user and its secret."""
    secret, digest = secrets.new(secrets.SESSION)
    expires_at = _now(session) + lifetime
    row = LoginSession(
        id=uuid7(),
        secret_digest=digest,
        user_id=user.id,
        project_id=project_id,
        expires_at=expires_at,
    )
    return _kept(session, row), secret


def share(
    session: Session, batch: Batch, made_by: str, lifetime: datetime.timedelta | None
) -> tuple[ShareLink, str]:
    """A new link to one batch of the session's project and its secret."""
    secret, digest = secrets.new(secrets.SHARE_LINK)
    row = ShareLink(
        id=uuid7(),
        project_id=project_of(session),
        batch_id=batch.id,
        secret_digest=digest,
        made_by=made_by,
        expires_at=_after(session, lifetime),
    )
    return _kept(session, row), secret


def find(session: Session, secret: str) -> Shown | None:
    """What a secret stands for; None if it is unknown, revoked, expired, or its user shut out."""
    row: Token | LoginSession | ShareLink | None
    match secret[:4]:
        case secrets.TOKEN:
            row = _that_holds(session, Token, secret)
        case secrets.SESSION:
            row = _that_holds(session, LoginSession, secret)
        case secrets.SHARE_LINK:
            row = _that_holds(session, ShareLink, secret)
        case _:
            row = None
    if row is None:
        return None
    user_id = None if isinstance(row, ShareLink) else row.user_id
    user, project, membership = _belonging(session, user_id, row.project_id)
    if user is not None and user.disabled_at is not None:
        return None
    return Shown(row, user, project, membership)


def _belonging(
    session: Session, user_id: uuid.UUID | None, project_id: uuid.UUID | None
) -> tuple[User | None, Project | None, Membership | None]:
    """User and project of a secret, and what ties them: one query, as every request asks it."""
    if user_id is None:
        return None, session.get(Project, project_id) if project_id else None, None
    query = (
        sa.select(User, Project, Membership)
        .select_from(User)
        .outerjoin(Project, Project.id == project_id)
        .outerjoin(
            Membership,
            sa.and_(Membership.user_id == User.id, Membership.project_id == Project.id),
        )
        .where(User.id == user_id)
    )
    found = session.execute(query).one_or_none()
    return (None, None, None) if found is None else (found[0], found[1], found[2])


def note_use(session: Session, token: Token) -> None:
    """Remembers when a token was used last, to the minute."""
    limit = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, _USE_NOTED_SECONDS)
    session.execute(
        sa.update(Token)
        .where(
            Token.id == token.id,
            sa.or_(Token.last_used_at.is_(None), Token.last_used_at < limit),
        )
        .values(last_used_at=sa.func.now())
        .execution_options(synchronize_session=False)
    )


def tokens(session: Session, user_id: uuid.UUID | None = None) -> Sequence[Token]:
    """The project's tokens, or one user's of them, newest first."""
    query = sa.select(Token).order_by(Token.id.desc())
    if user_id is not None:
        query = query.where(Token.user_id == user_id)
    return session.scalars(query).all()


def links(session: Session, batch: Batch) -> Sequence[ShareLink]:
    """The links to a batch, newest first."""
    query = sa.select(ShareLink).where(ShareLink.batch_id == batch.id)
    return session.scalars(query.order_by(ShareLink.id.desc())).all()


def get_token(session: Session, row_id: uuid.UUID) -> Token:
    """One of the project's tokens; raises :class:`~refault.errors.NotFound`."""
    return _got(session, Token, row_id, "token")


def get_link(session: Session, row_id: uuid.UUID) -> ShareLink:
    """One of the project's share links; raises :class:`~refault.errors.NotFound`."""
    return _got(session, ShareLink, row_id, "share link")


def revoke(session: Session, row: Token | LoginSession | ShareLink) -> None:
    """Ends it at once; to revoke twice is to revoke."""
    row.revoked_at = row.revoked_at or _now(session)
    session.flush()


def revoke_sessions(session: Session, user: User) -> None:
    """Logs a user out everywhere."""
    session.execute(
        sa.update(LoginSession)
        .where(LoginSession.user_id == user.id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=sa.func.now())
    )


def _that_holds(session: Session, model: type[RowT], secret: str) -> RowT | None:
    return session.scalar(
        sa.select(model).where(
            model.secret_digest == secrets.digest_of(secret),
            model.revoked_at.is_(None),
            sa.or_(model.expires_at.is_(None), model.expires_at > sa.func.now()),
        )
    )


def _kept(session: Session, row: RowT) -> RowT:
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def _got(session: Session, model: type[RowT], row_id: uuid.UUID, noun: str) -> RowT:
    found = session.scalar(sa.select(model).where(model.id == row_id))
    if found is None:
        raise NotFound(f"no {noun} {row_id}")
    return found


def _after(session: Session, lifetime: datetime.timedelta | None) -> datetime.datetime | None:
    return None if lifetime is None else _now(session) + lifetime


def _now(session: Session) -> datetime.datetime:
    return session.execute(sa.select(sa.func.now())).scalar_one()
