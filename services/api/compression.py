"""Compresses answers for callers that take gzip: :func:`compressed`.

Only whole answers that say how long they are, of kinds that gain by it. A stream of events has no
length and is passed on as it comes. What a page keeps secret is masked where it is made
(``services/dashboard/masks.py``); answers to POST and those about the caller's own credentials are
never compressed, so that their length tells nothing of a secret.
"""

import re
import zlib
from typing import Final

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

LEAST_BYTES: Final = 1_000
MOST_BYTES: Final = 16 << 20
"""More is passed on as it is: it would be held twice."""

# A quarter of the time of level 6, for a tenth more bytes.
_LEVEL = 3
_NO_WEIGHT = re.compile(r"0(\.0{0,3})?")
_GZIP = 16 + zlib.MAX_WBITS
# From here on other requests would wait for it.
_THREAD_BYTES = 64 << 10
_KINDS = frozenset(
    {
        "application/json",
        "application/problem+json",
        "application/javascript",
        "image/svg+xml",
        "text/css",
        "text/csv",
        "text/html",
        "text/javascript",
        "text/markdown",
        "text/plain",
    }
)
# Their answers hold form keys and tokens.
_FILES = "/static/"
_BY_PATH = "http.response.pathsend"
_SECRET_PATHS = ("/api/v1/me", "/api/v1/sessions", "/api/v1/tokens")


def compressed(scope: Scope, send: Send) -> Send:
    """``send`` for this request: it compresses what is worth it."""
    accepted = Headers(scope=scope).get("accept-encoding", "")
    is_asked = scope["method"] == "GET" and _takes_gzip(accepted)
    if not is_asked or scope["path"].startswith(_SECRET_PATHS):
        return send
    if scope["path"].startswith(_FILES):
        # A server would send the file by itself, past this room.
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {name: extensions[name] for name in extensions if name != _BY_PATH}
    return _Compressor(send).send


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding takes gzip (RFC 9110, 12.5.3): a weight of 0 refuses it."""
    weights: dict[str, bool] = {}
    for each in accepted.lower().split(","):
        name, *parameters = (word.strip() for word in each.split(";"))
        weight = next((word[2:].strip() for word in parameters if word.startswith("q=")), "1")
        weights[name] = _NO_WEIGHT.fullmatch(weight) is None
    named = [weights[name] for name in ("gzip", "x-gzip") if name in weights]
    return any(named) if named else weights.get("*", False)


class _Compressor:
    """One answer: held until it is whole, if it is one to compress."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        """Pass a message on, or hold it."""
        if message["type"] == "http.response.start" and _is_worth_it(message):
            self._start = message
            return
        if self._start is not None and message["type"] != "http.response.body":
            start, self._start = self._start, None
            await self._send(start)
        if self._start is None:
            await self._send(message)
            return
        self._parts.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        start, self._start = self._start, None
        body = b"".join(self._parts)
        packed = (
            await anyio.to_thread.run_sync(_packed, body)
            if len(body) > _THREAD_BYTES
            else _packed(body)
        )
        headers = MutableHeaders(scope=start)
        headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(packed))
        headers.add_vary_header("accept-encoding")
        tag = headers.get("etag", "")
        if tag.startswith('"'):
            # The same content in other bytes.
            headers["etag"] = f"W/{tag}"
        await self._send(start)
        await self._send({"type": "http.response.body", "body": packed})


def _is_worth_it(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    length = headers.get("content-length", "")
    return (
        start["status"] == 200  # noqa: PLR2004
        and kind in _KINDS
        and "content-encoding" not in headers
        and length.isdecimal()
        and LEAST_BYTES <= int(length) <= MOST_BYTES
    )


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(body) + packer.flush()
