"""Sends queued webhook messages: signed, bounded, and only to checked addresses.

A message is a POST of JSON with these headers::

    X-Refault-Event: batch.finished
    X-Refault-Delivery: 0193…            the same in every attempt: drop duplicates
    X-Refault-Timestamp: 1795570000      seconds since 1970, of this attempt
    X-Refault-Signature: v1=<hex>        HMAC-SHA256 under the secret, of timestamp "." body

Only the status of the answer counts: 2xx is delivered, 410 gives the message
up, all else is retried later. Redirects are not followed: their target would
be an unchecked address.

Neither the receiver nor its address is trusted. Each attempt has a thread of its own, an error
ends that message's attempt only, and an attempt that exceeds its time is abandoned.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import hmac
import http.client
import logging
import queue
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import ClassVar

from db.repositories import webhooks
from db.repositories.webhooks import Due
from db.session import transaction
from refault.errors import InvalidRequest
from refault.printable import printable
from services.shared import outbound
from services.shared.outbound import Network, Target
from worker.resources import Resources

_log = logging.getLogger(__name__)

_GONE = 410
_ANSWER_BYTES_MAX = 4096
_ERROR_LENGTH_MAX = 500

AT_ONCE_MAX = 8
AT_ONCE_MAX_OF_PROJECT = 2
"""Concurrent attempts per project, so that its slow receivers take only its own share."""

LEFT_BEHIND_MAX = 64
"""Abandoned attempts whose threads have not ended: a resolver may take minutes."""

ROUND_MAX = 200
"""Messages of one round; further due ones are for the next."""

_GRACE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt: a status, or the error."""

    status: int | None = None
    error: str = ""
    is_final: bool = False

    @property
    def has_arrived(self) -> bool:
        """Whether the receiver has the message."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004  # any 2xx


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of ``X-Refault-Signature``."""
    signed = timestamp.encode() + b"." + body
    return f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def deliver(resources: Resources) -> int:
    """Sends due messages, round-robin over projects; returns how many arrived.

    Any number may run at once.
    """
    arrived_count = _Round(resources).run()
    with transaction(resources.engine) as session:
        webhooks.forget_old(session)
    return arrived_count


class _Attempt(threading.Thread):
    """One attempt. It never raises; :attr:`outcome` is set before it is put in the queue."""

    # Abandoned attempts of all rounds, by project.
    left_behind: ClassVar[collections.Counter[uuid.UUID]] = collections.Counter()
    _counting: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self, due: Due, networks: Sequence[Network], seconds: float, ended: queue.Queue[_Attempt]
    ) -> None:
        # A daemon, so that a slow receiver does not delay the end of the process.
        super().__init__(name=f"webhook {due.delivery_id}", daemon=True)
        self.due = due
        self.outcome = Outcome()
        self.deadline = time.monotonic() + seconds + _GRACE_SECONDS
        self._networks = networks
        self._seconds = seconds
        self._ended = ended
        self._is_over = self._is_left = False

    def run(self) -> None:
        outcome = Outcome(error="the attempt was broken off")
        try:
            outcome = _outcome_of(self.due, self._networks, self._seconds)
        finally:
            with self._counting:
                self._is_over = True
                if not self._is_left:
                    self.outcome = outcome
                else:
                    self.left_behind[self.due.project_id] -= 1
            self._ended.put(self)

    def leave(self) -> None:
        """Stops waiting; the thread ends when its blocking call does."""
        with self._counting:
            if not self._is_over:
                self._is_left = True
                self.left_behind[self.due.project_id] += 1
                self.outcome = Outcome(error=f"no answer within {self._seconds:g} s")


class _Round:
    """Takes, sends and records until nothing is due or the round is full."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._seconds = resources.settings.webhook_timeout_seconds
        self._networks = outbound.parse_networks(resources.settings.webhook_networks)
        self._ended: queue.Queue[_Attempt] = queue.Queue()
        self._under_way: set[_Attempt] = set()

    def run(self) -> int:
        """Returns how many messages arrived."""
        arrived_count = taken_count = 0
        while True:
            while taken_count < ROUND_MAX and self._has_room() and self._take_one():
                taken_count += 1
            if not self._under_way:
                return arrived_count
            arrived_count += self._wait_for_one()

    def _has_room(self) -> bool:
        is_patient = _Attempt.left_behind.total() < LEFT_BEHIND_MAX
        return is_patient and len(self._under_way) < AT_ONCE_MAX

    def _take_one(self) -> bool:
        counts = collections.Counter(attempt.due.project_id for attempt in self._under_way)
        counts.update(_Attempt.left_behind)
        busy = [project for project, count in counts.items() if count >= AT_ONCE_MAX_OF_PROJECT]
        with transaction(self._resources.engine) as session:
            # Counted and committed before the first byte: an attempt that kills its sender must
            # count as well.
            taken = webhooks.take_due(session, busy_projects=busy)
        if not taken:
            return False
        attempt = _Attempt(taken[0], self._networks, self._seconds, self._ended)
        self._under_way.add(attempt)
        attempt.start()
        return True

    def _wait_for_one(self) -> bool:
        """Records the next attempt that ends, or the oldest if it takes too long."""
        oldest = min(self._under_way, key=lambda attempt: attempt.deadline)
        try:
            attempt = self._ended.get(timeout=max(0.0, oldest.deadline - time.monotonic()))
        except queue.Empty:
            attempt = oldest
            attempt.leave()
        if attempt not in self._under_way:
            return False
        self._under_way.remove(attempt)
        self._record(attempt.due, attempt.outcome)
        return attempt.outcome.has_arrived

    def _record(self, due: Due, outcome: Outcome) -> None:
        fields = {
            "delivery": str(due.delivery_id),
            "attempt": due.attempt,
            "status": outcome.status,
        }
        with transaction(self._resources.engine) as session:
            if outcome.has_arrived and outcome.status is not None:
                webhooks.arrived(session, due, outcome.status)
            else:
                webhooks.failed(
                    session, due, outcome.error, status=outcome.status, is_final=outcome.is_final
                )
        level = logging.INFO if outcome.has_arrived else logging.WARNING
        told = outcome.error or outcome.status
        _log.log(level, "webhook %s: %s", due.event, told, extra={"fields": fields})


def _outcome_of(due: Due, networks: Sequence[Network], seconds: float) -> Outcome:
    try:
        status = send(due, networks, seconds)
    except InvalidRequest as refused:
        return Outcome(error=_shown(str(refused)), is_final=True)
    except TimeoutError as late:
        return Outcome(error=f"no answer within {seconds:g} s ({late})")
    except Exception as failure:  # noqa: BLE001  # whatever a stranger's address or answer raises
        return Outcome(error=_shown(f"{type(failure).__name__}: {failure}"))
    if 200 <= status < 300:  # noqa: PLR2004  # any 2xx
        return Outcome(status)
    return Outcome(status, f"the receiver answered {status}", is_final=status == _GONE)


def _shown(error: str) -> str:
    """An error made printable, as it may quote the receiver."""
    return printable(error[:_ERROR_LENGTH_MAX])


def send(due: Due, networks: Sequence[Network], seconds: float) -> int:
    """One attempt; the status of the answer.

    Raises:
        InvalidRequest: the URL's address is not allowed.
        OSError, http.client.HTTPException: no answer, a timeout, or an invalid answer.
    """
    deadline = time.monotonic() + seconds
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
    with _connected(target, address, deadline) as connection:
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as answer:
            status = answer.status
            # Read for politeness only; content and errors do not matter.
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                answer.read(_ANSWER_BYTES_MAX)
            return status


@contextlib.contextmanager
def _connected(
    target: Target, address: str, deadline: float
) -> Iterator[http.client.HTTPConnection]:
    """A connection to a given address, cut after a total time.

    A timeout per read is not enough: a receiver that sends a byte a second would hold us for ever.
    """
    seconds = max(0.001, deadline - time.monotonic())
    plain = socket.create_connection((address, target.port), timeout=seconds)
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    connection = http.client.HTTPConnection(target.host, target.port, timeout=seconds)
    stream: socket.socket = plain
    try:
        timer.start()
        if target.scheme == "https":
            # The certificate is checked for the name, not the address.
            context = ssl.create_default_context()
            plain.settimeout(seconds)
            stream = context.wrap_socket(
                plain, server_hostname=target.host, do_handshake_on_connect=False
            )
            plain = stream
            if is_late.is_set():
                # The timer closed the socket that the TLS stream has taken over.
                raise TimeoutError
            stream.do_handshake()
        connection.sock = stream
        yield connection
    except (OSError, http.client.HTTPException) as error:
        if is_late.is_set():
            raise TimeoutError("the time was up") from error
        raise
    finally:
        timer.cancel()
        connection.close()
        stream.close()
