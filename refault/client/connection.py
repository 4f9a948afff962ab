"""How both clients connect, wait and connect again."""

from __future__ import annotations

import ipaddress
import time
import uuid
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TypedDict

import httpx

from refault.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

# The event after which a batch has no more to say.
LAST_EVENT = "finished"
# The cookie of who has logged in with a browser, and the header their forms are known by.
SESSION_COOKIE = "refault_session"
FORM_KEY_HEADER = "x-csrf-token"
RECONNECT_COUNT = 5

# The service checks the whole trace before it answers.
UPLOAD_TIMEOUT = httpx.Timeout(300, connect=5)
# The service sends a comment every 15 s; four missing ones mean a dead connection.
STREAM_TIMEOUT = httpx.Timeout(60, connect=5)
# A request whose answer was lost on the way is sent again so often.
RESEND_COUNT = 1
# The longest a busy service is waited for, all its Retry-After taken together.
PATIENCE_S = 60.0
TIMEOUT_S = 60.0
# How often what has no stream of events is asked for.
POLL_S = 1.0

_CONNECT_TIMEOUT_S = 5.0
_PORTS = {"http": 80, "https": 443}
_PORT_LIMIT = 1 << 16
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class ConnectionOptions(TypedDict):
    """What ``httpx.Client`` and ``httpx.AsyncClient`` are given alike."""

    base_url: str
    headers: dict[str, str]
    timeout: httpx.Timeout
    trust_env: bool
    follow_redirects: bool


def options(
    base_url: str, token: str | None = None, timeout_s: float = TIMEOUT_S
) -> ConnectionOptions:
    """The options for a service at ``base_url``; loopback is reached without the proxy.

    ``InvalidRequest`` for an address or a token that no request could carry.
    """
    # As they are: how far a compressed answer goes shows only when it is there.
    headers = {"user-agent": "refault-client", "accept-encoding": "identity"}
    if token is not None:
        if not (token.isascii() and token.isprintable() and " " not in token and token):
            raise InvalidRequest("the token holds characters no token has; copy it again")
        headers["authorization"] = f"Bearer {token}"
    return ConnectionOptions(
        base_url=base_url,
        headers=headers,
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S)),
        trust_env=not is_loopback(base_url),
        follow_redirects=False,  # or the token would go wherever an answer says
    )


def headers_of(method: str, given: Mapping[str, str]) -> dict[str, str]:
    """The headers of one request: a POST carries a key, so that sent twice it is done once."""
    if method != "POST":
        return dict(given)
    return {"idempotency-key": uuid.uuid4().hex, **given}


def retry_delay_s(response: httpx.Response, waited_s: float) -> float | None:
    """How long a busy service wants to be left alone; None if the answer stands.

    Only where the service says so by ``Retry-After``, and not beyond ``PATIENCE_S`` in all.
    """
    told = response.headers.get("retry-after", "").strip()
    if response.status_code not in _BUSY or not told:
        return None
    if told.isascii() and told.isdecimal():
        delay_s = float(told)
    else:
        try:
            delay_s = parsedate_to_datetime(told).timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return None
    delay_s = max(delay_s, 0.1)
    return delay_s if waited_s + delay_s <= PATIENCE_S else None


def reconnect_delay_s(broken_count: int) -> float:
    """How long to wait after so many connections that brought nothing: 0.2 s doubling to 5 s."""
    return min(5.0, 0.2 * 2.0**broken_count)


def stream_ended(batch: str) -> Unavailable:
    """The exception for a stream that ends again and again without the batch having finished."""
    return Unavailable(
        f"the events of batch {batch} keep ending early; "
        f"`GET /api/v1/batches/{batch}` says where it stands"
    )


def is_loopback(base_url: str) -> bool:
    """Whether the address is one of this machine; ``InvalidRequest`` if it is none."""
    host = address_of(base_url)[1]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address_of(base_url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of an address, so that two spellings of one are equal.

    It is read by what will send the request, so nobody can write one that is
    two different ones to two readers. ``InvalidRequest`` if it is none.
    """
    try:
        url = httpx.URL(base_url)
        port = url.port or _PORTS.get(url.scheme, 0)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidRequest(f"{base_url}: not an address: {error}") from error
    is_more = bool(url.userinfo or url.query or url.fragment)
    if not url.host or is_more or not 0 < port < _PORT_LIMIT:
        raise InvalidRequest(f"{base_url}: not an address; it looks like http://HOST:PORT")
    return url.scheme, url.host, port, url.path.rstrip("/")
