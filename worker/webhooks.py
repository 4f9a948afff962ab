"""Sends what waits for webhooks: signed, bounded, and to no address that was not judged.

A message is a POST of JSON with these headers::

    X-Refault-Event: batch.finished
    X-Refault-Delivery: 0193…            the same in every attempt: whoever has it may drop the copy
    X-Refault-Timestamp: 1795570000      seconds since 1970, of this attempt
    X-Refault-Signature: v1=<hex>        HMAC-SHA256 under the secret, of timestamp "." body

Only the status of the answer counts: 2xx is "arrived", 410 is "never again",
all else is tried again later. Redirects are not followed: they would lead
where nobody has looked.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence

from db import outbound
from db.outbound import Network, Target
from db.repositories import webhooks
from db.repositories.webhooks import Due
from db.session import transaction
from refault.errors import InvalidRequest
from worker.resources import Resources

_log = logging.getLogger(__name__)

_GONE = 410
_ANSWER_BYTES_MAX = 4096


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of ``X-Refault-Signature``."""
    signed = timestamp.encode() + b"." + body
    return f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def deliver(resources: Resources) -> int:
    """Sends every message that is due; answers how many arrived. Any number may run at once."""
    settings = resources.settings
    networks = outbound.parse_networks(settings.webhook_networks)
    arrived_count = 0
    while True:
        with transaction(resources.engine) as session:
            # One at a time: a slow receiver must not outlive the claims behind it.
            taken = webhooks.take_due(session, limit=1)
        if not taken:
            break
        for due in taken:
            arrived_count += _attempt(resources, due, networks, settings.webhook_timeout_seconds)
    with transaction(resources.engine) as session:
        webhooks.forget_old(session)
    return arrived_count


def _attempt(resources: Resources, due: Due, networks: Sequence[Network], seconds: float) -> bool:
    status: int | None = None
    error = ""
    is_final = False
    try:
        status = send(due, networks, seconds)
    except InvalidRequest as refused:
        error, is_final = str(refused), True
    except (OSError, http.client.HTTPException) as failure:
        error = f"{type(failure).__name__}: {failure}"
    has_arrived = status is not None and 200 <= status < 300  # noqa: PLR2004  # any 2xx
    if status is not None and not has_arrived:
        error = f"the receiver answered {status}"
        is_final = status == _GONE
    fields = {"delivery": str(due.delivery_id), "attempt": due.attempt, "status": status}
    with transaction(resources.engine) as session:
        if has_arrived and status is not None:
            webhooks.arrived(session, due, status)
        else:
            webhooks.failed(session, due, error, status=status, is_final=is_final)
    level = logging.INFO if has_arrived else logging.WARNING
    _log.log(level, "webhook %s: %s", due.event, error or status, extra={"fields": fields})
    return has_arrived


def send(due: Due, networks: Sequence[Network], seconds: float) -> int:
    """One attempt; the status of the answer.

    Raises:
        InvalidRequest: the URL leads where webhooks may not go.
        OSError, http.client.HTTPException: nobody answered, too late, or not in HTTP.
    """
    target = outbound.parse_url(due.url)
    address = outbound.resolve(target, networks)
    body = due.body.encode()
    timestamp = str(int(time.time()))
    headers = {
        "Host": target.authority,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "refault-webhooks/1",
        "Connection": "close",
        "X-Refault-Event": due.event,
        "X-Refault-Delivery": str(due.delivery_id),
        "X-Refault-Timestamp": timestamp,
        "X-Refault-Signature": signature(due.secret, timestamp, body),
    }
    with _connected(target, address, seconds) as connection:
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as answer:
            # Politeness only; what it says is of no interest.
            answer.read(_ANSWER_BYTES_MAX)
            return answer.status


@contextlib.contextmanager
def _connected(
    target: Target, address: str, seconds: float
) -> Iterator[http.client.HTTPConnection]:
    """A connection to that very address, cut when the time is up whatever it is doing.

    A timeout per read is not enough: who sends a byte a second would hold us for ever.
    """
    plain = socket.create_connection((address, target.port), timeout=seconds)
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    connection = http.client.HTTPConnection(target.host, target.port, timeout=seconds)
    stream: socket.socket = plain
    try:
        timer.start()
        if target.scheme == "https":
            # The certificate is for the name, whatever address it had.
            context = ssl.create_default_context()
            plain.settimeout(seconds)
            stream = context.wrap_socket(
                plain, server_hostname=target.host, do_handshake_on_connect=False
            )
            plain = stream
            stream.do_handshake()
        connection.sock = stream
        yield connection
    except (OSError, http.client.HTTPException) as error:
        if is_late.is_set():
            raise TimeoutError(f"no answer within {seconds:g} s") from error
        raise
    finally:
        timer.cancel()
        connection.close()
        stream.close()
