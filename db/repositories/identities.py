"""Users as an OpenID issuer knows them, and logins in progress."""

from __future__ import annotations

import dataclasses
import datetime
import secrets as randomness
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import secrets
from db.errors import Forbidden
from db.identifiers import uuid7
from db.models import Identity, LoginFlow, User
from db.repositories import accounts
from refault.errors import RefaultError

# First logins are serialised: two at once of one person would make two accounts.
_FIRST_LOGINS = 0x6F696463


@dataclasses.dataclass(frozen=True)
class Begun:
    """A login in progress: ``secret`` stays in the browser, the rest goes to the issuer."""

    secret: str
    state: str
    nonce: str
    code_verifier: str


@dataclasses.dataclass(frozen=True)
class Person:
    """The person the issuer authenticated; ``email`` only if the issuer verified it."""

    issuer: str
    subject: str
    email: str | None


def begin(session: Session, target: str, lifetime: datetime.timedelta) -> Begun:
    """Begin a login that returns to the page ``target``; delete abandoned ones."""
    session.execute(sa.delete(LoginFlow).where(LoginFlow.expires_at < sa.func.now()))
    secret, secret_digest = secrets.new(secrets.LOGIN_FLOW)
    state, nonce, verifier = (randomness.token_urlsafe(48) for _ in range(3))
    session.add(
        LoginFlow(
            id=uuid7(),
            secret_digest=secret_digest,
            state_digest=secrets.digest_of(state),
            nonce=nonce,
            code_verifier=verifier,
            target=target,
            expires_at=sa.func.now() + lifetime,
        )
    )
    session.flush()
    return Begun(secret, state, nonce, verifier)


def take(session: Session, secret: str, state: str) -> LoginFlow | None:
    """The login that this browser began and this answer belongs to; it can be taken once."""
    return session.scalar(
        sa.delete(LoginFlow)
        .where(
            LoginFlow.secret_digest == secrets.digest_of(secret),
            LoginFlow.state_digest == secrets.digest_of(state),
            LoginFlow.expires_at > sa.func.now(),
        )
        .returning(LoginFlow)
    )


def user_of(session: Session, person: Person) -> User | None:
    """The user that is linked to this person, or None."""
    return session.scalar(
        sa.select(User)
        .join(Identity, Identity.user_id == User.id)
        .where(Identity.issuer == person.issuer, Identity.subject == person.subject)
    )


def link_first_login(session: Session, person: Person, domains: Collection[str]) -> User:
    """Link a person without an account: to the invited account, or to a new one.

    A new account, without any role, is made for people of ``domains`` only.

    Raises:
        Forbidden: the person is not invited; the message says what is missing.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(_FIRST_LOGINS)))
    linked = user_of(session, person)
    if linked is not None:
        return linked
    if person.email is None:
        raise Forbidden(
            f"no account is linked to this login, and {person.issuer} has verified no e-mail "
            "address that could be invited"
        )
    user = session.scalar(sa.select(User).where(User.email == person.email))
    if user is None and person.email.rpartition("@")[2] in domains:
        user = _new_account(session, person.email)
    if user is None:
        raise Forbidden(
            f"nobody has invited {person.email}; an administrator can, by setting this address "
            "on an account"
        )
    query = sa.select(Identity.id).where(
        Identity.user_id == user.id, Identity.issuer == person.issuer
    )
    if session.scalar(query) is not None:
        raise Forbidden(
            f"the account of {person.email} is linked to another login of {person.issuer}; an "
            "administrator ends that link by setting the address again"
        )
    session.add(Identity(id=uuid7(), user_id=user.id, issuer=person.issuer, subject=person.subject))
    session.flush()
    return user


def invite(session: Session, user: User, email: str | None) -> None:
    """Set or clear the address of an account, and unlink the identity it had.

    Raises:
        Conflict: another account has it.
        InvalidRequest: it is not an address.
    """
    accounts.set_email(session, user, email)
    session.execute(sa.delete(Identity).where(Identity.user_id == user.id))


def _new_account(session: Session, email: str) -> User:
    try:
        return accounts.add_user(session, email, email=email)
    except RefaultError as error:
        raise Forbidden(
            f"{email} gets no account automatically ({error}); an administrator can create one"
        ) from error
