"""Authentication and authorisation of every request, before any endpoint.

::

    request ─► secret? ──none──► public? ──no──► 401
                 │ token, login session or share link: found by its digest, holds now
                 ▼
               caller: project and scopes ─► rate ─► scope the route needs ─► endpoint
                          401 / 403              429          403               │
                                       audited, if it was a write      ◄────────┘

:mod:`services.api.callers` finds the caller, :mod:`services.api.needs` has what a request
needs. Things of other projects are not checked here: the database session does
not show them (``db/scope.py``), so they are 404.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.errors import Forbidden
from db.repositories import audit, rates
from db.session import transaction
from refault.client.connection import FORM_KEY_HEADER
from refault.errors import NotFound, RefaultError
from services.api import errors
from services.api.callers import CALLER, Caller, identify, secret_of
from services.api.needs import (
    ROOT,
    SAFE_METHODS,
    WITHOUT_PROJECT,
    Need,
    need_of,
    noun_of,
    scopes_for,
)
from services.api.refusals import RateLimited, Unauthenticated
from services.shared import outbound
from services.shared.admitted import ADMITTED

if TYPE_CHECKING:
    from services.api.deps import Resources

_RATE_SECONDS = 60


class Access:
    """Middleware of the API: authorises requests and writes the audit log."""

    def __init__(self, app: ASGIApp, resources: Resources) -> None:
        self._app = app
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other ASGI scopes are passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            admit = partial(_admit, self._resources.engine, request)
            caller = await anyio.to_thread.run_sync(admit)
        except RefaultError as error:
            response = await errors.library_error(request, error)
            await response(scope, receive, send)
            return
        scope[CALLER] = caller
        if caller is None or request.method in SAFE_METHODS:
            await self._app(scope, receive, send)
            return

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in range(200, 300):
                # The audit is written before the answer: no change without a record.
                note = partial(_note, self._resources.engine, request, caller, message)
                await anyio.to_thread.run_sync(note)
            await send(message)

        await self._app(scope, receive, send_noted)


def caller_of(request: Request) -> Caller:
    """Who calls; raises ``Unauthenticated`` on public routes for strangers."""
    found = request.scope.get(CALLER)
    if not isinstance(found, Caller):
        raise Unauthenticated(f"{path_of(request)} needs a token or a login")
    return found


def is_still_let_in(engine: sa.Engine, request: Request) -> bool:
    """Whether an answer without an end may go on: asked anew, and not counted as a request."""
    before = caller_of(request)
    with transaction(engine) as session:
        now = identify(session, secret_of(request))
    if now is None or now.project_id != before.project_id:
        return False
    try:
        _check(request, now, need_of(request.method, path_of(request)))
    except RefaultError:
        return False
    return True


def path_of(request: Request) -> str:
    """The path that routes are found by.

    Not ``request.url.path``: that one is made with the Host header, and so by whoever asks.
    """
    return str(request.scope["path"])


def address_of(request: Request) -> str:
    """Where a request comes from: the peer, or whom a proxy of ours says it speaks for.

    Only what was added by a proxy that is named (REFAULT_PROXIES) is believed: read from the right
    end, up to the first address that is none of them. What stands before it is anybody's word.
    """
    address = request.client.host if request.client else "unknown"
    proxies = outbound.parse_networks(request.app.state.settings.proxies)
    told = [
        hop.strip()
        for line in request.headers.getlist("x-forwarded-for")
        for hop in line.split(",")
    ]
    while told and _is_in(address, proxies):
        hop = told.pop()
        if _address(hop) is None:
            break
        address = hop
    return address


def _is_in(address: str, networks: Sequence[outbound.Network]) -> bool:
    found = _address(address)
    return found is not None and any(
        found.version == network.version and found in network for network in networks
    )


def _address(text: str) -> outbound.Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_operator(engine: sa.Engine, request: Request) -> bool:
    """Whether who asks looks after the whole service: an administrator, or who has its database.

    Asked by routes that are open to strangers; a token made on the command line is nobody's.
    """
    secret = secret_of(request)
    if not secret:
        return False
    with transaction(engine) as session:
        caller = identify(session, secret)
    if caller is None or "admin" not in caller.scopes:
        return False
    return caller.user is None or caller.user.is_admin


def check_origin(request: Request) -> None:
    """Refuses what a page of another site made a browser send."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden("the request came from a page of another site")


def _admit(engine: sa.Engine, request: Request) -> Caller | None:
    need = need_of(request.method, path_of(request))
    if request.method not in SAFE_METHODS and "authorization" not in request.headers:
        check_origin(request)
    if need == "nothing":
        # Nobody is asked for: it is answered even while the database is away.
        return None
    secret = secret_of(request)
    if not secret:
        raise Unauthenticated(
            f"{path_of(request)} needs a token (Authorization: Bearer rft_...) or a login"
        )
    caller = _known(engine, request, secret)
    _check(request, caller, need)
    return caller


def _known(engine: sa.Engine, request: Request, secret: str) -> Caller:
    """Whose secret that is.

    A page is made of several reads, one after the other: who makes it is looked up, and counted
    as one request, with the first of them. A write always looks.
    """
    admitted: dict[str, Caller] = request.scope.get(ADMITTED) or {}
    is_read = request.method in SAFE_METHODS
    if is_read and secret in admitted:
        return admitted[secret]
    with transaction(engine) as session:
        caller = identify(session, secret)
        over = _over_rate(session, caller) if caller else None
    if caller is None:
        raise Unauthenticated("the token or login is unknown, expired or revoked")
    if over is not None:
        raise over
    if is_read and ADMITTED in request.scope:
        request.scope[ADMITTED][secret] = caller
    return caller


def _over_rate(session: Session, caller: Caller) -> RateLimited | None:
    limit = caller.requests_per_minute
    if limit is None:
        return None
    done_count, seconds_left = rates.count(
        session, f"requests:{caller.kind}:{caller.row_id}", _RATE_SECONDS
    )
    if done_count <= limit:
        return None
    return RateLimited(
        f"{caller.name} has made {limit} requests within a minute, as many as this project allows",
        retry_after_seconds=seconds_left,
    )


def _check(request: Request, caller: Caller, need: Need) -> None:
    method, path = request.method, path_of(request)
    if caller.kind == "link":
        if method not in SAFE_METHODS:
            raise Forbidden("a share link allows reading one batch only")
        if not _is_shared(path, caller.batch):
            raise NotFound(f"this link does not share {path}")
        return
    if caller.kind == "session" and method not in SAFE_METHODS:
        check_origin(request)
        if request.headers.get(FORM_KEY_HEADER) != caller.form_key:
            raise Forbidden(f"a login writes with its form key in {FORM_KEY_HEADER} only")
    if need == "login" and noun_of(path) in WITHOUT_PROJECT:
        return
    if caller.is_admin and noun_of(path) in WITHOUT_PROJECT:
        return
    if caller.project_id is None:
        raise Forbidden(f"{caller.name} is in no project, or has chosen none")
    for scope in scopes_for(method, path):
        caller.check_has(scope, f"{method} {path}")


def _is_shared(path: str, batch: str | None) -> bool:
    """Whether a link to ``batch`` opens ``path``: the batch, its comparison in every form."""
    comparison = f"{ROOT}/comparisons/{batch}"
    of_batch = f"{ROOT}/batches/{batch}"
    whole = {f"{ROOT}/me", of_batch, f"{of_batch}/runs", comparison}
    form = path.removeprefix(f"{comparison}.")
    return path in whole or (form != path and "/" not in form)


def _note(engine: sa.Engine, request: Request, caller: Caller, message: Message) -> None:
    route = request.scope.get("route")
    headers = Headers(scope=message)
    detail: dict[str, Any] = {
        "status": message["status"],
        "request_id": request.scope.get(errors.REQUEST_ID),
        "path": path_of(request),
    }
    with transaction(engine) as session:
        audit.note(
            session,
            actor=caller.name,
            action=f"{request.method} {getattr(route, 'path', path_of(request))}",
            subject=headers.get("location") or path_of(request),
            project_id=caller.project_id,
            address=address_of(request),
            **detail,
        )
