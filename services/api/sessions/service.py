"""Logins with rate limits against guessing, under which strangers lock nobody out.

Only failed logins count::

    login:account:anna:192.0.2.7   this account, from this address
    login:address:192.0.2.7        any account, from this address
    login:device:0193…             a browser known to the account: nothing else counts

So knowing a name is enough to block it from one's own address only, and not for a known browser
there.
"""

import datetime
import ipaddress
import logging
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from sqlalchemy.orm import Session

from db.models import User
from db.repositories import accounts, audit, credentials, rates
from db.session import transaction
from services.api import passwords
from services.api.deps import Resources
from services.api.refusals import RateLimited, Unauthenticated
from services.api.sessions.schemas import LoginBody, OpenedSession

_log = logging.getLogger("refault.api")

_WINDOW_SECONDS = 300
# As many as are hashed at once: inside, no other guess changes the counts that are read.
_GUESSES = threading.BoundedSemaphore(passwords.AT_ONCE)
_IPV6_SITE_BITS = 64

AUDITED_WITHIN_HOUR = 500
"""Refused logins in the audit per hour, in all: the audit is kept for ever."""


def log_in(resources: Resources, body: LoginBody, address: str) -> OpenedSession:
    """A login session for the right name and password.

    Raises:
        RateLimited: too many failures for that account and address, or that address.
        Unauthenticated: one of them is wrong; neither which, nor whether the user exists, is
            revealed.
    """
    place = place_of(address)
    with transaction(resources.engine) as session:
        user = accounts.find_user(session, body.name)
        known = user and body.device and credentials.find_device(session, user, body.device)
    keys = [f"login:account:{body.name}:{place}", f"login:address:{place}"]
    with Tries(resources, [f"login:device:{known}"] if known else keys) as tries:
        kept = user.password_hash if user is not None and user.disabled_at is None else None
        is_right = passwords.is_right(body.password, kept)
        if not is_right:
            tries.fail()
    if not is_right or user is None:
        actor = f"user {user.name}" if user else "nobody"
        if tries.is_first_or_last:
            audit_refusal(resources, actor, address)
        raise Unauthenticated("wrong name or password")
    with transaction(resources.engine) as session:
        audit.note(session, actor=f"user {user.name}", action="login", address=address)
        opened = open_session(resources, session, user)
        opened.device = None if known else credentials.remember_device(session, user)
        return opened


def open_session(resources: Resources, session: Session, user: User) -> OpenedSession:
    """A login session of an authenticated user, in their first project."""
    projects = accounts.projects_of(session, user)
    lifetime = datetime.timedelta(hours=resources.settings.session_hours)
    project_id = projects[0][0].id if projects else None
    row, secret = credentials.open_session(session, user, project_id, lifetime)
    return OpenedSession(secret=secret, user=user.name, expires_at=row.expires_at)


def place_of(address: str) -> str:
    """The key of an address: for IPv6 its /64, as a site has all of one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:  # noqa: PLR2004  # of IP
        return address
    return str(ipaddress.ip_network((found, _IPV6_SITE_BITS), strict=False))


def audit_refusal(resources: Resources, actor: str, address: str, **detail: Any) -> None:
    """Writes a refused login to the audit, up to a number per hour."""
    with transaction(resources.engine) as session:
        rates.forget_old(session)
        count, _ = rates.count(session, "audit:login refused", 3600)
        if count <= AUDITED_WITHIN_HOUR:
            audit.note(session, actor=actor, action="login refused", address=address, **detail)
    if count == AUDITED_WITHIN_HOUR:
        _log.warning("too many refused logins: no more are written to the audit within this hour")


class Tries:
    """Guesses under some keys: refused after too many failures, otherwise checked in turn.

    A guess is checked inside the block, and :meth:`fail` counts it there.
    """

    def __init__(self, resources: Resources, keys: Sequence[str]) -> None:
        self._engine = resources.engine
        self._limit = resources.settings.login_tries
        self._keys = keys
        self.is_first_or_last = False

    def __enter__(self) -> Self:
        # Before waiting for a turn: a flood of guesses that are refused anyway delays nobody.
        self._check()
        _GUESSES.acquire()
        try:
            self._check()
        except BaseException:
            _GUESSES.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _GUESSES.release()

    def fail(self) -> None:
        """Counts one more under each key."""
        with transaction(self._engine) as session:
            # Always in this order, so that two transactions cannot deadlock.
            counts = [rates.count(session, key, _WINDOW_SECONDS)[0] for key in self._keys]
        self.is_first_or_last = bool({1, self._limit} & set(counts))

    def _check(self) -> None:
        with transaction(self._engine) as session:
            standing = [rates.standing(session, key, _WINDOW_SECONDS) for key in self._keys]
        over = [seconds_left for count, seconds_left in standing if count >= self._limit]
        if over:
            raise RateLimited(
                "too many failed logins for this account or from this address",
                retry_after_seconds=max(over),
            )
