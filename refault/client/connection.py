"""How both clients connect, wait and connect again."""

from __future__ import annotations

import ipaddress
from typing import TypedDict

import httpx

from refault.errors import Unavailable

# The event after which a batch has no more to say.
LAST_EVENT = "finished"
# The cookie of who has logged in with a browser, and the header their forms are known by.
SESSION_COOKIE = "refault_session"
FORM_KEY_HEADER = "x-csrf-token"
RECONNECT_COUNT = 5

_TIMEOUT = httpx.Timeout(60, connect=5)
# The service checks the whole trace before it answers.
UPLOAD_TIMEOUT = httpx.Timeout(300, connect=5)
# The service sends a comment every 15 s; four missing ones mean a dead connection.
STREAM_TIMEOUT = httpx.Timeout(60, connect=5)


class ConnectionOptions(TypedDict):
    """What ``httpx.Client`` and ``httpx.AsyncClient`` are given alike."""

    base_url: str
    headers: dict[str, str]
    timeout: httpx.Timeout
    trust_env: bool


def options(base_url: str, token: str | None = None) -> ConnectionOptions:
    """The options for a service at ``base_url``; loopback is reached without the proxy."""
    headers = {"user-agent": "refault-client"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return ConnectionOptions(
        base_url=base_url,
        headers=headers,
        timeout=_TIMEOUT,
        trust_env=not _is_loopback(httpx.URL(base_url).host),
    )


def reconnect_delay_s(broken_count: int) -> float:
    """How long to wait after so many connections that brought nothing: 0.2 s doubling to 5 s."""
    return min(5.0, 0.2 * 2.0**broken_count)


def stream_ended(batch: str) -> Unavailable:
    """The exception for a stream that ends again and again without the batch having finished."""
    return Unavailable(
        f"the events of batch {batch} keep ending early; "
        f"`GET /api/v1/batches/{batch}` says where it stands"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
