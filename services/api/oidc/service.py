"""A login by an OpenID issuer: started and finished in the same browser, once.

A user is identified by issuer and subject, never by a name or an unverified address. An unknown
one must have been invited (docs/decisions).
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from db.errors import Forbidden
from db.models import User
from db.repositories import audit, identities, rates
from db.repositories.identities import Person
from db.session import transaction
from refault.errors import NotFound, RefaultError
from services.api.deps import Resources
from services.api.oidc.schemas import BegunLogin, FinishBody, IssuedSession
from services.api.refusals import RateLimited, Unauthenticated
from services.api.sessions.service import audit_refusal, open_session, place_of

if TYPE_CHECKING:
    from services.api.oidc.issuer import Issuer

_log = logging.getLogger(__name__)

# Users need time to type a password and find their phone.
_LIFETIME = datetime.timedelta(minutes=10)
_WINDOW_SECONDS = 300
# Nothing can be guessed here; this bounds the requests to the issuer and the rows a stranger can
# cause. A whole team behind one proxy shares it.
_BEGUN_MAX = 200


def name_of_issuer(resources: Resources) -> str | None:
    """The issuer's name; None without an issuer."""
    settings = resources.settings
    return settings.oidc_name or urlsplit(settings.oidc_issuer).hostname


def begin(resources: Resources, target: str, address: str) -> BegunLogin:
    """A started login that leads to ``target``; nothing is stored if the issuer is unreachable."""
    issuer = _issuer(resources)
    with transaction(resources.engine) as session:
        rates.forget_old(session)
        count, seconds_left = rates.count(
            session, f"oidc:address:{place_of(address)}", _WINDOW_SECONDS
        )
    if count > _BEGUN_MAX:
        raise RateLimited(
            "too many logins were started from this address", retry_after_seconds=seconds_left
        )
    endpoint = issuer.authorization_endpoint()
    with transaction(resources.engine) as session:
        begun = identities.begin(session, target, _LIFETIME)
    return BegunLogin(location=issuer.where(endpoint, begun), secret=begun.secret)


def finish(resources: Resources, body: FinishBody, address: str) -> IssuedSession:
    """A login session for the user the issuer identified.

    Raises:
        Unauthenticated: this browser has not started the login or has finished it already, or
            the issuer's answer is invalid or a refusal.
        Forbidden: the issuer's user is unknown here, or disabled.
        Unavailable: the issuer is unreachable.
    """
    issuer = _issuer(resources)
    with transaction(resources.engine) as session:
        flow = identities.take(session, body.secret, body.state)
    try:
        if flow is None:
            raise Unauthenticated(
                "this login was started in another browser, too long ago, or is over; start again"
            )
        if body.error is not None or not body.code:
            raise issuer.refusal(body.error)
        if body.iss not in {None, resources.settings.oidc_issuer}:
            raise Unauthenticated("this answer is from another issuer")
        person = issuer.redeem(body.code, flow.nonce, flow.code_verifier)
        return _let_in(resources, person, flow.target, address)
    except RefaultError as refusal:
        _refuse(resources, refusal, address)


def _issuer(resources: Resources) -> Issuer:
    if not resources.settings.oidc_issuer:
        raise NotFound("there is no issuer: REFAULT_OIDC_ISSUER is not set")
    # Imported late: without an issuer, the token libraries need not be loaded.
    from services.api.oidc.issuer import Issuer  # noqa: PLC0415

    return Issuer(resources.settings)


def _let_in(resources: Resources, person: Person, target: str, address: str) -> IssuedSession:
    domains = {
        domain.strip().lower()
        for domain in resources.settings.oidc_domains.split(",")
        if domain.strip()
    }
    with transaction(resources.engine) as session:
        user = identities.user_of(session, person)
        is_first = user is None
        if user is None:
            user = identities.link_first_login(session, person, domains)
        _check(user)
        for action in ("login linked", "login") if is_first else ("login",):
            audit.note(
                session,
                actor=f"user {user.name}",
                action=action,
                address=address,
                issuer=person.issuer,
                person=person.subject,
            )
        opened = open_session(resources, session, user)
    return IssuedSession(**opened.model_dump(), target=target)


def _check(user: User) -> None:
    if user.disabled_at is not None:
        raise Forbidden("this account is disabled")


def _refuse(resources: Resources, refusal: RefaultError, address: str) -> NoReturn:
    _log.warning("a login by the issuer is refused: %s", refusal)
    audit_refusal(
        resources,
        "nobody",
        address,
        issuer=resources.settings.oidc_issuer,
        reason=str(refusal),
    )
    raise refusal
