"""Hands the bytes of a body from the event loop to a worker thread.

::

    request ── gathered ──► a thread, if there is one for it ──► written, checked
       ▲                                                            │
       └──────────── no thread waits while the sender does ◄────────┘

The consumer is a generator: it is sent the bytes piece by piece, empty at the end, and runs in a
thread from one piece to the next. So an upload holds a thread only while there are bytes to write
and check, however slow its sender is.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from services.api.deps import Resources

TakenT = TypeVar("TakenT")
Taking = Generator[None, bytes, TakenT]
Piece = tuple[bytes, Exception | None]

GATHERED_BYTES = 512 * 1024


async def take(request: Request, resources: Resources, taking: Taking[TakenT]) -> TakenT:
    """The result of the generator ``taking`` for the bytes of a body.

    It starts before the first byte. Errors of the body (ClientDisconnect, or an HTTPException of
    ``bodies.py``) are raised in it, so that it can keep the bytes before.
    """
    driven = _Driven(taking)
    run = partial(anyio.to_thread.run_sync, limiter=resources.upload_slots)
    stream = aiter(request.stream())
    ahead: asyncio.Task[Piece] | None = None
    try:
        await run(driven.begin)
        # Each hand-over costs as much as checking a small piece, so pieces are joined; the first
        # is handed over alone, as it may already show that this is not a trace.
        wanted_bytes = 1
        while not driven.is_done:
            piece, failure = await (ahead or _next(stream, wanted_bytes))
            ahead = None
            if wanted_bytes > 1 and piece and failure is None:
                ahead = asyncio.create_task(_next(stream, wanted_bytes))
            if piece or failure is None:
                await run(partial(driven.send, piece))
            if failure is not None and not driven.is_done:
                await run(partial(driven.fail, failure))
            # One buffer for all uploads bounds their memory together.
            wanted_bytes = max(2, GATHERED_BYTES // max(1, resources.bodies.coming_count))
        return driven.result
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait([ahead])
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(driven.close)


async def _next(stream: AsyncIterator[bytes], wanted_bytes: int) -> Piece:
    """At least the wanted bytes, up to a chunk more; fewer at the end, then none.

    An error comes after them: the consumer gets the bytes first and can then handle it.
    """
    gathered: list[bytes] = []
    try:
        while wanted_bytes > 0 and (chunk := await anext(stream, None)) is not None:
            gathered.append(chunk)
            wanted_bytes -= len(chunk)
    except Exception as error:  # noqa: BLE001
        return b"".join(gathered), error
    return b"".join(gathered), None


class _Driven(Generic[TakenT]):
    """A generator driven from threads, one at a time, even if one was not awaited."""

    def __init__(self, taking: Taking[TakenT]) -> None:
        self._taking = taking
        self._lock = threading.Lock()
        self._result: list[TakenT] = []

    @property
    def is_done(self) -> bool:
        return bool(self._result)

    @property
    def result(self) -> TakenT:
        return self._result[0]

    def begin(self) -> None:
        self._advance(partial(next, self._taking))

    def send(self, piece: bytes) -> None:
        self._advance(partial(self._taking.send, piece))

    def fail(self, error: Exception) -> None:
        self._advance(partial(self._taking.throw, error))

    def close(self) -> None:
        with self._lock:
            self._taking.close()

    def _advance(self, step: Callable[[], None]) -> None:
        with self._lock:
            try:
                step()
            except StopIteration as ended:
                self._result.append(ended.value)
