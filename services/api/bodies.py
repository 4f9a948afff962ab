"""Bodies of requests: how large, how slow, and how many at once. Every request's passes here.

A body that comes slowly holds a connection, and memory of ours, for as long as its sender likes. So
its sender may keep us waiting for a while, and for longer only by sending: time is earned by bytes.
And whoever has many bodies on their way at once gets no further one in: a credential, a project,
who shows no credential (by address), and all together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

import anyio
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from services.api.callers import CALLER, Caller

# A body of the largest batch is a tenth of it; uploads have a limit of their own.
BYTES_MAX = 1024 * 1024
# Until then, and for a moment, a body takes no place.
SMALL_BYTES = 64 * 1024
_RETRY_SECONDS = 5


class Bodies:
    """The bodies that are on their way to this process."""

    def __init__(self, *, wait_seconds: float, bytes_per_second: int, count_max: int) -> None:
        self._wait_seconds = wait_seconds
        self._bytes_per_second = bytes_per_second
        self._count_max = count_max
        self._coming: Counter[Hashable] = Counter()

    def of(self, scope: Scope, receive: Receive, *, is_bounded: bool) -> Body:
        """The body of one request; ``is_bounded`` if it may have no more than BYTES_MAX."""
        return Body(self, scope, receive, is_bounded=is_bounded)

    @property
    def coming_count(self) -> int:
        """How many are begun and not at their end."""
        return self._coming["all"]

    def seconds_for(self, received_bytes: int) -> float:
        """How long a sender may have kept us waiting, once so much came."""
        return self._wait_seconds + received_bytes / self._bytes_per_second

    def begin(self, scope: Scope) -> list[Hashable]:
        """Takes a place, for :meth:`end`; a 429 where there is none."""
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
        self._coming += Counter()  # forgets who sends nothing

    @staticmethod
    def _owners(scope: Scope) -> list[tuple[Hashable, int, str]]:
        """Who sends, and which part of all places they may have."""
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
        """The next message; HTTPException (408, 413, 429) for a body that may not go on."""
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
        """Nothing more of it comes, or is wanted."""
        self._is_over = True
        places, self._places = self._places, []
        self._bodies.end(places)

    async def _next(self) -> Message:
        """Only time that is spent waiting for the sender counts, none of ours."""
        allowed = self._bodies.seconds_for(self._received_bytes)
        began_at = anyio.current_time()
        coming = asyncio.ensure_future(self._receive())
        try:
            left = allowed - self._waited_seconds
            if not self._places:
                # A small one is mostly here by now, and needs none.
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
