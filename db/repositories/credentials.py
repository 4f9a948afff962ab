"""Tokens, login sessions and share links: made, found by their secret, revoked.

Expiry is judged by the database's clock only. They are found in a session without a project (the
secret determines which), but listed and revoked in a session of one.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import secrets
from db.errors import Conflict
from db.identifiers import uuid7
from db.models import Batch, Device, LoginSession, Membership, Project, ShareLink, Token, User
from db.models.accounts import SCOPES
from db.scope import Maker, maker_of, project_of
from refault.errors import InvalidRequest, NotFound

# A write per request would contend for the row, and seconds are not needed.
_USE_NOTED_SECONDS = 60

TOKENS_MAX = 50
"""Active tokens of one user in one project."""

LINKS_MAX = 50
"""Active links of one user, or made by one token."""

SESSIONS_MAX = 50
"""Open sessions of one user; one more ends the oldest."""

ENDED_LISTED_MAX = 50
"""Ended tokens, and ended links of a batch, that are still listed: the newest."""

DEVICES_MAX = 10
DEVICE_LIFETIME = datetime.timedelta(days=180)
LINK_LIFETIME = datetime.timedelta(days=90)

RowT = TypeVar("RowT", Token, LoginSession, ShareLink)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A secret that was presented, what it belongs to, and whether it is valid now."""

    row: Token | LoginSession | ShareLink
    user: User | None
    project: Project | None
    # A reference, so that the session still has it loaded when the role is asked for.
    membership: Membership | None


@dataclasses.dataclass(frozen=True)
class MadeLink:
    """A link, whether it is valid, and what its maker may do now."""

    row: ShareLink
    holds: bool
    token: Token | None
    user: User | None
    membership: Membership | None


def mint_token(
    session: Session,
    name: str,
    *,
    scopes: Iterable[str],
    user_id: uuid.UUID | None = None,
    lifetime: datetime.timedelta | None = None,
) -> tuple[Token, str]:
    """Make a token in the session's project; its secret is returned and stored nowhere.

    Raises:
        InvalidRequest: the scopes are not valid.
        Conflict: the user already has :data:`TOKENS_MAX`.
    """
    wanted = [scope for scope in SCOPES if scope in set(scopes)]
    if not wanted or set(scopes) - set(SCOPES):
        raise InvalidRequest(f"scopes: one or more of {', '.join(SCOPES)}")
    if user_id is not None:
        # One after the other: two at once do not share the last place.
        session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
        query = sa.select(sa.func.count(Token.id)).where(Token.user_id == user_id, *_holding(Token))
        if (session.scalar(query) or 0) >= TOKENS_MAX:
            raise Conflict(f"a user has at most {TOKENS_MAX} tokens in a project: revoke one first")
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
    """Open a login session and return its secret; ends the oldest if there are too many.

    Deletes the rows of ended sessions, so that repeated logins leave no more rows.
    """
    _make_room_for_session(session, user)
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


def _make_room_for_session(session: Session, user: User) -> None:
    newest = (
        sa.select(LoginSession.id)
        .where(LoginSession.user_id == user.id, *_holding(LoginSession))
        .order_by(LoginSession.id.desc())
        .limit(SESSIONS_MAX - 1)
    )
    session.execute(
        sa.delete(LoginSession)
        .where(LoginSession.user_id == user.id, LoginSession.id.not_in(newest))
        .execution_options(synchronize_session=False)
    )


def remember_device(session: Session, user: User) -> str:
    """Make a secret that identifies a browser as one the user has used before."""
    newest = (
        sa.select(Device.id)
        .where(Device.user_id == user.id, Device.expires_at > sa.func.now())
        .order_by(Device.id.desc())
        .limit(DEVICES_MAX - 1)
    )
    session.execute(
        sa.delete(Device)
        .where(Device.user_id == user.id, Device.id.not_in(newest))
        .execution_options(synchronize_session=False)
    )
    secret, digest = secrets.new(secrets.DEVICE)
    session.add(
        Device(
            id=uuid7(),
            secret_digest=digest,
            user_id=user.id,
            expires_at=_now(session) + DEVICE_LIFETIME,
        )
    )
    session.flush()
    return secret


def find_device(session: Session, user: User, secret: str) -> uuid.UUID | None:
    """The known browser with this secret, if it is one of the user's."""
    return session.scalar(
        sa.select(Device.id).where(
            Device.secret_digest == secrets.digest_of(secret),
            Device.user_id == user.id,
            Device.expires_at > sa.func.now(),
        )
    )


def share(
    session: Session, batch: Batch, made_by: str, lifetime: datetime.timedelta | None
) -> tuple[ShareLink, str]:
    """Make a share link to one batch of the session's project; returns its secret.

    It belongs to the session's maker and does not outlive the token it was made with. The default
    lifetime is :data:`LINK_LIFETIME`.

    Raises:
        Conflict: its maker already has :data:`LINKS_MAX` in this project.
    """
    secret, digest = secrets.new(secrets.SHARE_LINK)
    maker = maker_of(session)
    if maker != (None, None):
        _check_room_for_link(session, maker)
    expires_at = _now(session) + (lifetime or LINK_LIFETIME)
    if maker.token_id is not None:
        token = session.get_one(Token, maker.token_id)
        expires_at = min(expires_at, token.expires_at or expires_at)
    row = ShareLink(
        id=uuid7(),
        project_id=project_of(session),
        batch_id=batch.id,
        secret_digest=digest,
        made_by=made_by,
        user_id=maker.user_id,
        token_id=maker.token_id,
        expires_at=expires_at,
    )
    return _kept(session, row), secret


def _check_room_for_link(session: Session, maker: Maker) -> None:
    is_theirs = (
        ShareLink.token_id == maker.token_id
        if maker.token_id is not None
        else ShareLink.user_id == maker.user_id
    )
    query = sa.select(sa.func.count(ShareLink.id)).where(is_theirs, *_holding(ShareLink))
    if (session.scalar(query) or 0) >= LINKS_MAX:
        raise Conflict(f"a caller has at most {LINKS_MAX} valid links: revoke one first")


def find(session: Session, secret: str) -> Shown | None:
    """What a secret belongs to; None if unknown, revoked, expired, or its user is disabled."""
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
    """User, project and membership of a secret, in one query, as every request needs them."""
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
    """Store when a token was last used, to the minute."""
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
    """The project's tokens, or one user's of them, newest first.

    Of ended ones only the newest :data:`ENDED_LISTED_MAX`, as their number is not bounded.
    """
    whose = Token.project_id == project_of(session)
    if user_id is not None:
        whose = sa.and_(whose, Token.user_id == user_id)
    return session.scalars(
        sa.select(Token).where(_listed(Token, whose)).order_by(Token.id.desc())
    ).all()


def links(session: Session, batch: Batch) -> Sequence[MadeLink]:
    """The links to a batch, newest first; of ended ones as many as of tokens."""
    return _made_links(session, _listed(ShareLink, ShareLink.batch_id == batch.id))


def with_maker(session: Session, link: ShareLink) -> MadeLink:
    """A link with what its maker has now."""
    return _made_links(session, ShareLink.id == link.id)[0]


def _made_links(session: Session, which: sa.ColumnElement[bool]) -> Sequence[MadeLink]:
    """One query, however many makers there are."""
    is_theirs = sa.and_(
        Membership.user_id == ShareLink.user_id, Membership.project_id == ShareLink.project_id
    )
    query = (
        sa.select(ShareLink, sa.and_(*_holding(ShareLink)).label("holds"), Token, User, Membership)
        .outerjoin(Token, sa.and_(Token.id == ShareLink.token_id, *_holding(Token)))
        .outerjoin(User, User.id == ShareLink.user_id)
        .outerjoin(Membership, is_theirs)
        .where(which)
        .order_by(ShareLink.id.desc())
    )
    return [MadeLink(*row) for row in session.execute(query)]


def _listed(model: type[RowT], whose: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    holds = sa.and_(*_holding(model))
    ended = sa.select(model.id).where(whose, ~holds).order_by(model.id.desc())
    return sa.and_(whose, sa.or_(holds, model.id.in_(ended.limit(ENDED_LISTED_MAX))))


def get_token(session: Session, row_id: uuid.UUID) -> Token:
    """One of the project's tokens; raises :class:`~refault.errors.NotFound`."""
    return _got(session, Token, row_id, "token")


def get_link(session: Session, row_id: uuid.UUID) -> ShareLink:
    """One of the project's share links; raises :class:`~refault.errors.NotFound`."""
    return _got(session, ShareLink, row_id, "share link")


def revoke(session: Session, row: Token | LoginSession | ShareLink) -> None:
    """Revoke it at once; revoking twice changes nothing."""
    row.revoked_at = row.revoked_at or _now(session)
    session.flush()


def revoke_sessions(session: Session, user: User) -> None:
    """End all login sessions of a user."""
    session.execute(
        sa.update(LoginSession)
        .where(LoginSession.user_id == user.id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=sa.func.now())
    )


def _that_holds(session: Session, model: type[RowT], secret: str) -> RowT | None:
    return session.scalar(
        sa.select(model).where(model.secret_digest == secrets.digest_of(secret), *_holding(model))
    )


def _holding(model: type[RowT]) -> tuple[sa.ColumnElement[bool], ...]:
    expires_at: sa.ColumnElement[Any] = sa.type_coerce(model.expires_at, sa.DateTime(timezone=True))
    if model is ShareLink:
        # The previous release may still make links without an end.
        expires_at = sa.func.coalesce(expires_at, ShareLink.created_at + LINK_LIFETIME)
    return model.revoked_at.is_(None), sa.or_(expires_at.is_(None), expires_at > sa.func.now())


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
