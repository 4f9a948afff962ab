"""Streams of a batch's events: one poll per batch, however many watch it.

::

    stream ──┐                        ┌── polls of the batch
    stream ──┼── wakes when there is ◄┤
    stream ──┘   a new event          └── is access still granted? once per credential

Polls run in a few threads of their own, so that no request waits for them; the number of
streams is bounded per credential, per project and in all.
"""

import abc
import asyncio
import dataclasses
import itertools
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from fastapi.sse import ServerSentEvent

from db.models import BatchEvent
from db.models.batches import BATCH_FINAL_STATES
from services.api.batches.schemas import StepEvent
from services.api.refusals import RateLimited

POLL_SECONDS_MIN = 0.02
"""The first poll intervals of a watched batch, which may be a short one."""

_log = logging.getLogger("refault.api")

STEPS_KEPT = 500
_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Look:
    """The state of a batch and its last events."""

    newest_id: int
    now: StepEvent
    # Every step after this one up to the newest is in ``steps``.
    known_from: int
    steps: tuple[BatchEvent, ...] = ()

    def after(self, last_seen: int) -> list[BatchEvent] | None:
        """The steps after a given one; None if they must be read from the database."""
        if last_seen < self.known_from:
            return None
        return [step for step in self.steps if step.id > last_seen]


@dataclasses.dataclass(frozen=True)
class Source:
    """Polls a batch; the functions run in a thread."""

    batch_id: uuid.UUID
    look: Callable[[Look | None], Look]
    steps_after: Callable[[int], Sequence[BatchEvent]]
    told: Callable[[BatchEvent, StepEvent], StepEvent]


@dataclasses.dataclass(frozen=True)
class Watching:
    """The credential of a stream; ``may_go_on`` runs in a thread."""

    credential: Hashable
    name: str
    project_id: Hashable
    may_go_on: Callable[[], bool]


class Watchers:
    """All streams of this process. Call its methods from the event loop only."""

    def __init__(
        self,
        *,
        per_credential: int,
        in_all: int,
        poll_seconds: float,
        access_seconds: float,
    ) -> None:
        self._per_credential = per_credential
        self._in_all = in_all
        self._poll_seconds = poll_seconds
        self._access_seconds = access_seconds
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._asking = anyio.CapacityLimiter(1)
        self._streams: Counter[Hashable] = Counter()
        self._batches: dict[uuid.UUID, _Watched] = {}
        self._credentials: dict[Hashable, _Credential] = {}

    @asynccontextmanager
    async def stream(
        self, who: Watching, source: Source, last_seen: int
    ) -> AsyncIterator["Stream"]:
        """A place for one more stream.

        Raises RateLimited if the credential, its project, or the service has the maximum.
        """
        owners = [
            (who.credential, self._per_credential, who.name),
            (("project", who.project_id), max(1, self._in_all // 2), "this project"),
            ("all", self._in_all, "this service"),
        ]
        for owner, limit, name in owners:
            if self._streams[owner] >= limit:
                raise RateLimited(
                    f"{name} watches {limit} streams, the maximum: end one, or poll the batch",
                    retry_after_seconds=10,
                )
        self._streams.update(owner for owner, _, _ in owners)
        watched = self._batches.get(source.batch_id)
        if watched is None or watched.failure is not None:
            watched = self._batches[source.batch_id] = _Watched(
                source, self._poll_seconds, self._threads
            )
        credential = self._credentials.get(who.credential)
        if credential is None or credential.is_over:
            credential = self._credentials[who.credential] = _Credential(
                who.may_go_on, self._access_seconds, self._asking
            )
        stream = Stream(watched, credential, self._threads, last_seen)
        try:
            yield stream
        finally:
            self._streams.subtract(owner for owner, _, _ in owners)
            self._streams += Counter()  # drops credentials without streams
            if watched.leave(stream) and self._batches.get(source.batch_id) is watched:
                del self._batches[source.batch_id]
            if credential.leave(stream) and self._credentials.get(who.credential) is credential:
                del self._credentials[who.credential]
            with anyio.CancelScope(shield=True):
                # Their threads have ended when the last stream has.
                await watched.ended()
                await credential.ended()


class Stream:
    """One watcher of a batch, after step ``last_seen``, until the batch is over.

    Steps carry their number as the event's id. Between them, ``progress`` events without one say
    how far the replays are, and before the first replay what starting workers compile. The last is
    ``finished``; a stream whose access ended lacks it.
    """

    def __init__(
        self,
        watched: "_Watched",
        credential: "_Credential",
        threads: anyio.CapacityLimiter,
        last_seen: int,
    ) -> None:
        self.wake = asyncio.Event()
        self._watched = watched
        self._credential = credential
        self._threads = threads
        self._last_seen = last_seen
        # A poll from before this stream may not show what its caller has just done.
        self._first_look = watched.join(self)
        credential.join(self)

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """The events; ends with the batch, or with the right to watch it."""
        seen: object = None
        while True:
            await self.wake.wait()
            self.wake.clear()
            if self._credential.is_over:
                return
            if self._watched.failure is not None:
                raise self._watched.failure
            look = self._watched.last
            if look is None or self._watched.look_count < self._first_look:
                continue
            is_told = False
            async for step, newest_id in self._unseen(look):
                if self._credential.is_over:
                    return
                is_told = True
                # A batch may have ended earlier and been resumed or retried since.
                is_last = step.id == newest_id and step.body["state"] in BATCH_FINAL_STATES
                yield ServerSentEvent(
                    id=str(step.id),
                    event="finished" if is_last else "step",
                    data=self._watched.source.told(step, look.now).model_dump(mode="json"),
                )
                if is_last:
                    return
            if not is_told and look.now.state in BATCH_FINAL_STATES:
                # A client that resumes after the last step gets ``finished`` again.
                yield ServerSentEvent(event="finished", data=look.now.model_dump(mode="json"))
                return
            moves = (look.now.progress.events_done or 0, look.now.starting)
            if not is_told and moves != seen:
                yield ServerSentEvent(event="progress", data=look.now.model_dump(mode="json"))
            seen = moves

    async def _unseen(self, look: Look) -> AsyncIterator[tuple[BatchEvent, int]]:
        """Each step not sent yet, and the id of the newest."""
        while self._last_seen < look.newest_id:
            steps: Sequence[BatchEvent] | None = look.after(self._last_seen)
            if steps is None:
                read = self._watched.source.steps_after
                steps = await anyio.to_thread.run_sync(read, self._last_seen, limiter=self._threads)
            if not steps:
                return
            newest_id = max(look.newest_id, steps[-1].id)
            for step in steps:
                self._last_seen = step.id
                yield step, newest_id


class _Shared(abc.ABC):
    """Work shared by several streams, done by one task while any of them exists."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._task: asyncio.Task[None] | None = None
        # Unlike a task's cancel, this waits for the thread.
        self._scope = anyio.CancelScope()

    def leave(self, stream: Stream) -> bool:
        """Leave; whether that was the last stream."""
        self._streams.discard(stream)
        if not self._streams:
            self._scope.cancel()
        return not self._streams

    async def ended(self) -> None:
        """Returns at once while there are streams."""
        if not self._streams and self._task is not None:
            await asyncio.wait([self._task])

    def _join(self, stream: Stream) -> None:
        self._streams.add(stream)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._go_on())

    def _wake(self) -> None:
        for stream in self._streams:
            stream.wake.set()

    async def _go_on(self) -> None:
        with self._scope:
            await self._run()

    @abc.abstractmethod
    async def _run(self) -> None:
        """Poll until no stream is left."""


class _Watched(_Shared):
    """A batch that is polled for all its streams."""

    def __init__(self, source: Source, poll_seconds: float, threads: anyio.CapacityLimiter) -> None:
        super().__init__()
        self.source = source
        self.last: Look | None = None
        self.look_count = 0
        self.failure: Exception | None = None
        self._begun_count = 0
        self._poll_seconds = poll_seconds
        self._threads = threads
        self._is_asked = asyncio.Event()

    def join(self, stream: Stream) -> int:
        """The number of the first poll that began after the stream did."""
        self._join(stream)
        self._is_asked.set()
        return self._begun_count + 1

    async def _run(self) -> None:
        began_at = anyio.current_time()
        for number in itertools.count(1):
            self._begun_count = number
            self._is_asked.clear()
            try:
                self.last = await anyio.to_thread.run_sync(
                    self.source.look, self.last, limiter=self._threads
                )
            except Exception as error:  # noqa: BLE001  # each stream raises it
                self.failure = error
                self._wake()
                return
            self.look_count = number
            self._wake()
            # A short batch would be over before a long pause ends.
            pause = max((anyio.current_time() - began_at) / 4, POLL_SECONDS_MIN)
            with anyio.move_on_after(min(pause, self._poll_seconds)):
                await self._is_asked.wait()


class _Credential(_Shared):
    """Whether a token or a login still has access, checked once for all its streams."""

    def __init__(
        self, may_go_on: Callable[[], bool], seconds: float, asking: anyio.CapacityLimiter
    ) -> None:
        super().__init__()
        self.is_over = False
        self._may_go_on = may_go_on
        self._seconds = seconds
        self._asking = asking

    def join(self, stream: Stream) -> None:
        self._join(stream)

    async def _run(self) -> None:
        try:
            while True:
                await anyio.sleep(self._seconds)
                if not await anyio.to_thread.run_sync(self._may_go_on, limiter=self._asking):
                    break
        except Exception:  # noqa: BLE001
            # Fail closed: a client that has access reconnects.
            _log.warning(
                "the watchers' access could not be checked; the streams end", exc_info=True
            )
        self.is_over = True
        self._wake()
