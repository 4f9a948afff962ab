"""The outermost layer of every request: id, log line, count, security headers, routing."""

import logging
import re
import secrets
from collections.abc import Mapping
from contextlib import nullcontext
from http import HTTPStatus

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import secrets as redaction
from refault.printable import printable
from services.api import errors
from services.api.bodies import Bodies
from services.api.compression import compressed
from services.api.errors import REQUEST_ID
from services.api.metrics import RequestMetrics, Stopwatch, route_of
from services.api.texts import refused_in
from services.api.uploads import protocol
from services.shared import logs, tracing

# Routes with large bodies, which are streamed and have a limit of their own.
UPLOAD_PATHS = re.compile(
    r"/api/v1/(traces|blobs/[^/]*|uploads(/[^/]*)?|patch_sets/from_mail|kernels|bundles)|/traces/new|/kernels/new|/bundles"
)
RESUMABLE_PATH = "/api/v1/uploads"
API_PATHS = ("/api/", "/healthz", "/readyz", "/metrics")
# Polled every few seconds by machines: logged at debug level only.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
# A name or an address, and perhaps a port. Anything else could change the path of addresses that
# are built from it.
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])?(:[0-9]{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_log = logging.getLogger("refault.api")

# An answer of the API is data: a browser tricked into rendering one must not execute anything.
_SAFETY: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; sandbox",
}


class Site:
    """An ASGI app: the API under its paths, the pages everywhere else.

    A caller's ``X-Request-Id`` is kept if it is short and plain, so that one
    id follows a request through several services.
    """

    def __init__(self, api: FastAPI, pages: ASGIApp | None) -> None:
        self.api = api
        self.pages = pages
        self._counted: RequestMetrics = api.state.request_metrics
        self._bodies: Bodies = api.state.resources.bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan of the API."""
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            refusal = PlainTextResponse("the Host header is invalid\n", 400)
            await refusal(scope, receive, send)
            return
        asked = headers.get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        scope[REQUEST_ID] = request_id
        status = 500
        watch = Stopwatch()
        send = compressed(scope, send)

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                if scope["path"].startswith(RESUMABLE_PATH):
                    headers.update(protocol.SPOKEN)
                for name, value in _SAFETY.items():
                    headers.setdefault(name, value)
            await send(message)

        is_api = self.pages is None or scope["path"].startswith(API_PATHS)
        answer = _refusal(scope, is_api=is_api) or (self.api if is_api else self.pages)
        is_upload = UPLOAD_PATHS.fullmatch(scope["path"]) is not None
        body = self._bodies.of(scope, receive, is_bounded=not is_upload)
        # The caller's trace is continued; it gets the route, not the address.
        span = tracing.span(
            scope["method"],
            {"refault.request_id": request_id, "http.request.method": scope["method"]},
            parent=headers.get("traceparent"),
            is_request=True,
        )
        is_told = scope["path"] not in _QUIET
        with logs.bound(request_id=request_id), span if is_told else nullcontext() as opened:
            try:
                await answer(scope, body.receive, send_marked)  # type: ignore[misc]
            finally:
                body.close()
                route = route_of(scope) if is_api else "page"
                self._tell(scope, route, status, watch.seconds)
                if opened is not None:
                    opened.tell(
                        {"http.route": route, "http.response.status_code": int(status)},
                        name=f"{scope['method']} {route}",
                        is_error=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
                    )

    def _tell(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        self._counted.observe(scope["method"], route, status, seconds)
        fields = {"route": route, "status": status, "seconds": round(seconds, 4)}
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        # The address of a shared page is its secret.
        place = printable(redaction.hidden(scope["path"]))
        line = f"{scope['method']} {place}: {status}"
        _log.log(level, "%s", line, extra={"fields": fields})


def _refusal(scope: Scope, *, is_api: bool) -> ASGIApp | None:
    """The answer to an address or a header with unprintable text."""
    found = refused_in(scope)
    if found is None:
        return None
    if is_api:
        return errors.unprintable(Request(scope), *found)
    return PlainTextResponse("{}: {}\n".format(*found), 422)
