"""Lets hosts execute one stream of rows on threads, without waiting for each other.

Each host has a lane: it takes the parts of the rows in order, and no thread waits for all hosts to
finish a part. A barrier there would cost a third of the speed of two cores, because every hand-over
between threads waits for the interpreter lock.

The calling thread makes the rows and waits, but executes none: a thread inside a kernel handles no
signal and checks for no cancellation until the operation ends.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from refault.replay.operations import Operations

    Part = tuple[Operations, int, int]

#: Parts of the rows that may be made ahead of the slowest host.
PARTS_AHEAD = 8
#: Parts a host executes before its thread looks for the host farthest behind.
PARTS_AT_ONCE = 4
#: How long a thread that has executed a part waits for the interpreter while rows are made: less
#: than a part takes. Python's own five milliseconds are several parts.
PATIENCE_SECONDS = 0.0005
#: Buffers the maker of the rows needs: those ahead, and the one it is filling.
BUFFERS = PARTS_AHEAD + 1
#: How long the calling thread waits before it calls ``look`` again.
LOOK_SECONDS = 0.05


class Executes(Protocol):
    """What a lane holds: a host, as far as lanes see it."""

    def execute(self, ops: Operations, count: int) -> None:
        """Execute the first ``count`` rows."""

    def abort(self) -> None:
        """Make ``execute`` end soon, wherever it is; the host cannot be used any more."""


def execute(
    hosts: Sequence[Executes],
    rows: Iterator[Part],
    threads: int,
    *,
    is_rest: Callable[[int], bool] | None = None,
    look: Callable[[], object] = lambda: None,
) -> Generator[Part]:
    """Let every host execute all rows; yields each part ``(rows, how many, events taken)``.

    The calling thread makes the rows, up to ``PARTS_AHEAD`` parts before the slowest host. Where
    ``is_rest``, given the events taken, is true, all hosts have finished all parts so far when the
    part is yielded; resting at every part is slowest. ``look`` is called with every part, and at
    least every ``LOOK_SECONDS`` while an operation lasts. What it raises, what a host raises and
    the exception of a signal are raised here, after the hosts were aborted. However the generator
    ends, no thread outlives it.
    """
    lanes = _Lanes(hosts, look)
    helpers = [
        threading.Thread(target=lanes.work, name=f"lanes {i}", daemon=True)
        for i in range(min(threads, len(hosts)))
    ]
    patience = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE_SECONDS)
    try:
        for helper in helpers:
            helper.start()
        for part in rows:
            lanes.add(part)
            if is_rest is not None and is_rest(part[2]):
                lanes.rest()
            yield part
        lanes.close()
    except BaseException:
        lanes.stop()
        raise
    finally:
        for helper in helpers:
            if helper.ident is not None:
                helper.join()
        sys.setswitchinterval(patience)
    lanes.check()


class _Lanes:
    """What the threads share, all of it under one condition."""

    def __init__(self, hosts: Sequence[Executes], look: Callable[[], object]) -> None:
        self._hosts = hosts
        self._look = look
        self._changed = threading.Condition()
        self._idle = set(range(len(hosts)))
        self._next = [0] * len(hosts)  # the part each host is at, or takes next
        self._parts: dict[int, Part] = {}  # a ring: part modulo PARTS_AHEAD
        self._part_count = 0
        self._is_complete = False
        self._is_stopped = False
        self._error: BaseException | None = None

    # --- the calling thread ---------------------------------------------------------------

    def add(self, part: Part) -> None:
        """Offer a part; returns when there is room for another."""
        self._look()
        with self._changed:
            self._parts[self._part_count % PARTS_AHEAD] = part
            self._part_count += 1
            self._changed.notify_all()
        self._wait_until(lambda: self._part_count - self._slowest() < PARTS_AHEAD)

    def rest(self) -> None:
        """Wait until every host has finished all parts so far."""
        self._wait_until(lambda: self._slowest() == self._part_count)

    def close(self) -> None:
        """Wait for the end: no part follows."""
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()
        self.rest()

    def stop(self) -> None:
        """Abort all hosts."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for host in self._hosts:
            host.abort()

    def check(self) -> None:
        """Raise what a host raised."""
        if self._error:
            raise self._error

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_stopped or is_so(), LOOK_SECONDS):
                    break
            self._look()
        self.check()

    def _slowest(self) -> int:
        return min(self._next, default=self._part_count)

    # --- the threads of the lanes -------------------------------------------------------------

    def work(self) -> None:
        """Take steps until none is left."""
        with self._changed:
            while not self._is_stopped and not (
                self._is_complete and self._slowest() == self._part_count
            ):
                # The host that is farthest behind.
                host = min(self._idle, key=self._next.__getitem__, default=None)
                if host is not None and self._next[host] < self._part_count:
                    self._step(host)
                else:
                    self._changed.wait()

    def _step(self, host: int) -> None:
        """Let a host execute its next parts: a few at once, since each hand-over costs time."""
        self._idle.remove(host)
        part_count = min(self._part_count, self._next[host] + PARTS_AT_ONCE)
        self._changed.release()
        try:
            while self._next[host] < part_count and not self._is_stopped:
                ops, count, _ = self._parts[self._next[host] % PARTS_AHEAD]
                self._hosts[host].execute(ops, count)
                self._next[host] += 1
        except BaseException as error:  # noqa: BLE001  # the calling thread raises it
            self._error = error
        finally:
            self._changed.acquire()
        self._is_stopped |= self._error is not None
        self._idle.add(host)
        self._changed.notify_all()
