"""Logging in, slowly enough that guessing leads nowhere, and strangers shut nobody out.

What counts is what failed::

    login:account:anna:192.0.2.7   this account, from this place
    login:address:192.0.2.7        any account, from this place
    login:device:0193…             a browser in which the account has logged in before: nothing else

So whoever knows a name can make it wait for those at their own place only, and not even there for a
browser that is known.
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
# As many as are hashed at once: what is looked up in here nobody else's guess changes meanwhile.
_GUESSES = threading.BoundedSemaphore(passwords.AT_ONCE)
_IPV6_SITE_BITS = 64

AUDITED_WITHIN_HOUR = 500
"""Refused logins that the audit tells of in an hour, of all: it is kept for ever."""


def log_in(resources: Resources, body: LoginBody, address: str) -> OpenedSession:
    """A login session for the right name and password.

    Raises:
        RateLimited: too many tries failed for that account from that place, or from that place.
        Unauthenticated: they are wrong; which of them, or whether there is such a user, nobody
            is told.
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
    """A login session of a user who has shown who they are; in their first project."""
    projects = accounts.projects_of(session, user)
    lifetime = datetime.timedelta(hours=resources.settings.session_hours)
    project_id = projects[0][0].id if projects else None
    row, secret = credentials.open_session(session, user, project_id, lifetime)
    return OpenedSession(secret=secret, user=user.name, expires_at=row.expires_at)


def place_of(address: str) -> str:
    """What is counted for an address: of IPv6 the site, since whoever has one has all of it."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:  # noqa: PLR2004  # of IP
        return address
    return str(ipaddress.ip_network((found, _IPV6_SITE_BITS), strict=False))


def audit_refusal(resources: Resources, actor: str, address: str, **detail: Any) -> None:
    """Tells the audit of a refused login, unless it has been told of so many lately."""
    with transaction(resources.engine) as session:
        rates.forget_old(session)
        count, _ = rates.count(session, "audit:login refused", 3600)
        if count <= AUDITED_WITHIN_HOUR:
            audit.note(session, actor=actor, action="login refused", address=address, **detail)
    if count == AUDITED_WITHIN_HOUR:
        _log.warning("too many refused logins: no more are written to the audit within this hour")


class Tries:
    """Guesses under some keys: none is looked at where too many have failed, and they take turns.

    A guess is looked at inside the block, and :meth:`fail` counts it there.
    """

    def __init__(self, resources: Resources, keys: Sequence[str]) -> None:
        self._engine = resources.engine
        self._limit = resources.settings.login_tries
        self._keys = keys
        self.is_first_or_last = False

    def __enter__(self) -> Self:
        # Before the wait for a turn: a flood of what is refused anyway holds nobody up.
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
            # Always in this order: two at once wait for each other and never in a circle.
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
