"""``Idempotency-Key``: a POST sent twice is carried out once and gets the same answer.

``db/repositories/requests.py`` has the lifetime of a key. Only a successful request uses its key: a
refused one has changed nothing, and can be corrected and sent with the same key.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute

from db.repositories import requests
from refault.errors import InvalidRequest
from services.api.deps import Resources, resources_of
from services.api.refusals import KeyReused, UploadTooLarge

HEADER = "idempotency-key"
REPLAYED = "idempotency-replayed"
PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "description": (
        "Kept 24 hours: the same request with the same key is not repeated but answered as "
        "before, with `Idempotency-Replayed: true`; another request with it is a 422, and a 409 "
        "while the first one is being answered"
    ),
}
_KEY = re.compile(r"[!-~]{1,200}")
_DONE = range(200, 300)
_KEPT_HEADERS = ("content-type", "location")

Handler = Callable[[Request], Awaitable[Response]]


class OnceRoute(APIRoute):
    """A route whose POST is carried out once per key; for ``APIRouter(route_class=...)``."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The framework's handler, called only if there is no answer yet."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if request.method != "POST" or key is None:
                return await handler(request)
            if not _KEY.fullmatch(key):
                raise InvalidRequest(
                    "Idempotency-Key: expected 1 to 200 visible ASCII characters without spaces, "
                    f"got {key[:100]!r}"
                )
            return await _once(key, _Digested(request.scope, request.receive), handler)

        return handle


class _Digested(Request):
    """A request that digests its query and its body."""

    def __init__(self, scope: Any, receive: Any) -> None:
        super().__init__(scope, receive)
        self._sha256 = hashlib.sha256(scope["query_string"] + b"\n")
        self._body_ended = False

    async def stream(self) -> AsyncIterator[bytes]:  # type: ignore[override]
        """The body, digested as it is read."""
        async for chunk in super().stream():
            if not self._body_ended:
                self._sha256.update(chunk)
            yield chunk
        self._body_ended = True

    async def digest(self, limit_bytes: int) -> str:
        """The digest, after the unread rest of the body was read and dropped."""
        if not self._body_ended:
            size_bytes = 0
            async for chunk in self.stream():
                size_bytes += len(chunk)
                if size_bytes > limit_bytes:
                    raise UploadTooLarge(f"the body is longer than {limit_bytes} bytes")
        return self._sha256.hexdigest()


async def _once(key: str, request: _Digested, handler: Handler) -> Response:
    resources = resources_of(request)
    limit_bytes = resources.settings.upload_limit_bytes
    claim = await _in_transaction(resources, requests.claim, key, quote(request.scope["path"]))
    if isinstance(claim, requests.Answer):
        if claim.request_digest != await request.digest(limit_bytes):
            raise KeyReused(
                f"Idempotency-Key {key!r} belongs to another request to {request.url.path}: "
                "use a new key for a new request"
            )
        headers = claim.response["headers"] | {REPLAYED: "true"}
        return Response(claim.response["body"], claim.status, headers=headers)
    try:
        response = await handler(request)
        if response.status_code not in _DONE:
            await _in_transaction(resources, requests.release, claim)
            return response
        given = requests.Answer(
            await request.digest(limit_bytes),
            response.status_code,
            {
                "headers": {
                    name: value for name, value in response.headers.items() if name in _KEPT_HEADERS
                },
                "body": bytes(response.body).decode(),
            },
        )
        await _in_transaction(resources, requests.answer, claim, given)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _in_transaction(resources, requests.release, claim)
        raise
    return response


async def _in_transaction(resources: Resources, do: Callable[..., Any], *arguments: Any) -> Any:
    def work() -> Any:
        with resources.transaction() as session:
            return do(session, *arguments)

    return await anyio.to_thread.run_sync(work)
