"""An answer of the API passed on as it comes: a file of any size takes no memory here."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_KEPT_HEADERS = (b"host", b"x-forwarded-for", b"if-none-match")


class PassedOn(Response):
    """The API's answer to a GET of ``path`` by whoever has ``token``, in place of a page."""

    def __init__(
        self, api: ASGIApp, request: Request, path: str, query: Mapping[str, object], token: str
    ) -> None:
        super().__init__()
        told = {name: value for name, value in query.items() if value is not None}
        headers = [
            (name, value) for name, value in request.scope["headers"] if name in _KEPT_HEADERS
        ]
        self._api = api
        # As of a request that came there: nothing of the page's own routing.
        self._scope: Scope = {
            name: request.scope[name]
            for name in ("type", "asgi", "http_version", "scheme", "server", "client")
            if name in request.scope
        } | {
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(told).encode(),
            "headers": [*headers, (b"authorization", f"Bearer {token}".encode("latin-1"))],
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asks the API, whose answer goes straight on; ``scope`` is that of the page."""
        del scope
        await self._api(self._scope, receive, send)
