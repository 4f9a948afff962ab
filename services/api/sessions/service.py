"""Logging in, slowly enough that guessing leads nowhere."""

import datetime

from sqlalchemy.orm import Session

from db.models import User
from db.repositories import accounts, audit, credentials, rates
from db.session import transaction
from refault.errors import RateLimited, Unauthenticated
from services.api import passwords
from services.api.deps import Resources
from services.api.sessions.schemas import OpenedSession

_WINDOW_SECONDS = 300


def log_in(resources: Resources, name: str, password: str, address: str) -> OpenedSession:
    """A login session for the right name and password.

    Raises:
        RateLimited: too many tries for that account, or from that address.
        Unauthenticated: they are wrong; which of them, or whether there is such a user, nobody
            is told.
    """
    count_try(resources, name, address)
    with transaction(resources.engine) as session:
        user = accounts.find_user(session, name)
    kept = user.password_hash if user is not None and user.disabled_at is None else None
    is_right = passwords.is_right(password, kept)
    with transaction(resources.engine) as session:
        action = "login" if is_right else "login refused"
        actor = f"user {user.name}" if user else "nobody"
        audit.note(session, actor=actor, action=action, address=address)
        if is_right and user is not None:
            return open_session(resources, session, user)
    raise Unauthenticated("no user has this name and this password")


def open_session(resources: Resources, session: Session, user: User) -> OpenedSession:
    """A login session of a user who has shown who they are; in their first project."""
    projects = accounts.projects_of(session, user)
    lifetime = datetime.timedelta(hours=resources.settings.session_hours)
    project_id = projects[0][0].id if projects else None
    row, secret = credentials.open_session(session, user, project_id, lifetime)
    return OpenedSession(secret=secret, user=user.name, expires_at=row.expires_at)


def count_try(resources: Resources, name: str, address: str) -> None:
    """Counts one more try of a password; raises ``RateLimited`` where it was one too many."""
    limit = resources.settings.login_tries
    with transaction(resources.engine) as session:
        rates.forget_old(session)
        counts = [
            rates.count(session, f"login:{kind}:{key}", _WINDOW_SECONDS)
            # Always in this order: two tries at once wait for each other and never in a circle.
            for kind, key in (("account", name), ("address", address))
        ]
    over = [seconds_left for count, seconds_left in counts if count > limit]
    if over:
        raise RateLimited(
            "too many logins were tried for this account or from this address",
            retry_after_seconds=max(over),
        )
