"""Bounds on request bodies: size, rate, and number at once. Every request passes here.

A slow body holds a connection and memory for as long as its sender likes. So a body has a waiting
time, which each received byte extends. The number of bodies at once is bounded per credential,
per project, per address without a credential, and in all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

import anyio
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from services.api.callers import CALLER, Caller

# Ten times the body of the largest batch; uploads have a limit of their own.
BYTES_MAX = 1024 * 1024
# A body takes a place only beyond this size or time, so that ordinary requests need none.
SMALL_BYTES = 64 * 1024
_RETRY_SECONDS = 5


class Bodies:
    """The bodies this process is receiving."""

    def __init__(self, *, wait_seconds: float, bytes_per_second: int, count_max: int) -> None:
        self._wait_seconds = wait_seconds
        self._bytes_per_second = bytes_per_second
        self._count_max = count_max
        self._coming: Counter[Hashable] = Counter()

    def of(self, scope: Scope, receive: Receive, *, is_bounded: bool) -> Body:
        """The body of one request; ``is_bounded`` limits it to BYTES_MAX."""
        return Body(self, scope, receive, is_bounded=is_bounded)

    @property
    def coming_count(self) -> int:
        """How many bodies are being received."""
        return self._coming["all"]

    def seconds_for(self, received_bytes: int) -> float:
        """The total waiting time allowed after so many bytes, in seconds."""
        return self._wait_seconds + received_bytes / self._bytes_per_second

    def begin(self, scope: Scope) -> list[Hashable]:
        """Takes a place until :meth:`end`; a 429 if there is none."""
        owners = self._owners(scope)
        for owner, share, name in owners:
            limit = max(1, self._count_max // share)
            if self._coming[owner] >= limit:
                raise HTTPException(
                    429,
                    f"{name} is sending {limit} bodies at once, the maximum",
                    headers={"retry-after": str(_RETRY_SECONDS), "connection": "close"},
                )
        places = [owner for owner, _, _ in owners]
        self._coming.update(places)
        return places

    def end(self, places: list[Hashable]) -> None:
        """Gives a place back."""
        self._coming.subtract(places)
        self._coming += Counter()  # drops senders without bodies

    @staticmethod
    def _owners(scope: Scope) -> list[tuple[Hashable, int, str]]:
        """The sender, and its share of all places."""
        everybody = ("all", 1, "all callers together")
        caller = scope.get(CALLER)
        if not isinstance(caller, Caller):
            address = (scope.get("client") or ("unknown",))[0]
            return [(("address", address), 4, f"{address}, without a credential,"), everybody]
        return [
            ((caller.kind, caller.row_id), 8, caller.name),
            (("project", caller.project_id), 4, "this project"),
            everybody,
        ]


class Body:
    """The ``receive`` of one request."""

    def __init__(self, bodies: Bodies, scope: Scope, receive: Receive, *, is_bounded: bool) -> None:
        self._bodies = bodies
        self._scope = scope
        self._receive = receive
        self._is_bounded = is_bounded
        self._received_bytes = 0
        self._waited_seconds = 0.0
        self._places: list[Hashable] = []
        self._is_over = False

    async def receive(self) -> Message:
        """The next message; HTTPException (408, 413, 429) for a body beyond a bound."""
        if self._is_over:
            return await self._receive()
        message = await self._next()
        self._received_bytes += len(message.get("body", b""))
        if self._is_bounded and self._received_bytes > BYTES_MAX:
            raise HTTPException(413, f"the body has more than {BYTES_MAX} bytes")
        if not message.get("more_body", False):
            self.close()
        elif not self._places and self._received_bytes > SMALL_BYTES:
            self._places = self._bodies.begin(self._scope)
        return message

    def close(self) -> None:
        """The body has ended, or is not read any further."""
        self._is_over = True
        places, self._places = self._places, []
        self._bodies.end(places)

    async def _next(self) -> Message:
        """Only time spent waiting for the sender counts, not our own."""
        allowed = self._bodies.seconds_for(self._received_bytes)
        began_at = anyio.current_time()
        coming = asyncio.ensure_future(self._receive())
        try:
            left = allowed - self._waited_seconds
            if not self._places:
                # A small body has mostly arrived by now and needs no place.
                await asyncio.wait({coming}, timeout=min(left, allowed / 10))
                if not coming.done():
                    self._places = self._bodies.begin(self._scope)
            await asyncio.wait({coming}, timeout=max(0, left + began_at - anyio.current_time()))
            if coming.done():
                self._waited_seconds += anyio.current_time() - began_at
                return coming.result()
        finally:
            coming.cancel()
        raise HTTPException(
            408,
            f"the body was too slow: {self._received_bytes} bytes in {allowed:.3g} s of "
            "waiting, and no more since",
            headers={"connection": "close"},
        )
