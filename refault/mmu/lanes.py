"""Several hosts execute one stream of rows on several threads, none waiting for another.

Each host has a lane: it takes the parts of the rows in order, and nobody waits for all hosts to
be through with a part. A barrier there would cost a third of what two cores can give, because
every hand-over between threads waits for the interpreter lock.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from refault.mmu.operations import Operations

#: Parts of the rows that may be made ahead of the slowest host.
PARTS_AHEAD = 8
#: Parts a host executes before its thread looks for the host farthest behind.
PARTS_AT_ONCE = 4
#: How long a thread that has executed a part may wait for the interpreter while rows are made:
#: less than a part takes, and Python's own five milliseconds are several.
PATIENCE_SECONDS = 0.0005
#: Buffers the maker of the rows needs: those ahead, and the one it is filling.
BUFFERS = PARTS_AHEAD + 1


class Executes(Protocol):
    """What a lane holds: a host, as far as lanes see it."""

    def execute(self, ops: Operations, count: int) -> None:
        """Execute the first ``count`` rows."""


def execute(
    hosts: Sequence[Executes],
    rows: Iterator[tuple[Operations, int, int]],
    threads: int,
    *,
    is_rest: Callable[[int], bool] | None = None,
) -> Generator[int]:
    """Let every host execute all rows; the events taken so far, once for each part of the rows.

    The calling thread makes the rows, up to ``PARTS_AHEAD`` parts before the slowest host. Where
    ``is_rest`` says so of the events taken, all hosts are through with all parts so far when the
    number is handed out; everywhere is the dearest. What a host raises is raised here. However the
    generator ends, no thread outlives it.
    """
    lanes = _Lanes(hosts)
    helpers = [
        threading.Thread(target=lanes.work, name=f"lanes {i}", daemon=True)
        for i in range(1, threads)
    ]
    patience = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE_SECONDS)
    for helper in helpers:
        helper.start()
    try:
        for ops, count, events in rows:
            lanes.add(ops, count)
            if is_rest is not None and is_rest(events):
                lanes.rest()
            yield events
        lanes.close()
        lanes.work()
    except BaseException:
        lanes.stop()
        raise
    finally:
        for helper in helpers:
            helper.join()
        sys.setswitchinterval(patience)
    lanes.check()


class _Lanes:
    """What the threads share, all of it under one condition."""

    def __init__(self, hosts: Sequence[Executes]) -> None:
        self._hosts = hosts
        self._changed = threading.Condition()
        self._idle = set(range(len(hosts)))
        self._next = [0] * len(hosts)  # the part each host is at, or takes next
        self._parts: dict[int, tuple[Operations, int]] = {}  # a ring: part modulo PARTS_AHEAD
        self._part_count = 0
        self._is_complete = False
        self._is_stopped = False
        self._error: BaseException | None = None

    def add(self, ops: Operations, count: int) -> None:
        """Offer a part; comes back when there is a place for another."""
        with self._changed:
            self._parts[self._part_count % PARTS_AHEAD] = ops, count
            self._part_count += 1
            self._changed.notify_all()
            while not self._is_stopped and self._part_count - min(self._next) >= PARTS_AHEAD:
                self._step_or_wait()
        self.check()

    def close(self) -> None:
        """No part follows."""
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody wants the rest."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what a host raised."""
        if self._error:
            raise self._error

    def work(self) -> None:
        """Take steps until none is left."""
        with self._changed:
            while not self._is_stopped and not (self._is_complete and self._are_through()):
                self._step_or_wait()

    def rest(self) -> None:
        """Take steps until every host is through with the parts there are."""
        with self._changed:
            while not self._is_stopped and not self._are_through():
                self._step_or_wait()
        self.check()

    def _are_through(self) -> bool:
        return min(self._next) == self._part_count

    def _step_or_wait(self) -> None:
        """Take a step of whichever host is farthest behind, or wait for one to come free."""
        host = min(self._idle, key=self._next.__getitem__, default=None)
        if host is not None and self._next[host] < self._part_count:
            self._step(host)
        else:
            self._changed.wait()

    def _step(self, host: int) -> None:
        """Let a host execute the parts there are for it: each hand-over costs, so a few at once."""
        self._idle.remove(host)
        part_count = min(self._part_count, self._next[host] + PARTS_AT_ONCE)
        self._changed.release()
        try:
            while self._next[host] < part_count and not self._is_stopped:
                self._hosts[host].execute(*self._parts[self._next[host] % PARTS_AHEAD])
                self._next[host] += 1
        except BaseException as error:  # noqa: BLE001  # the calling thread raises it
            self._error = error
        finally:
            self._changed.acquire()
        self._is_stopped |= self._error is not None
        self._idle.add(host)
        self._changed.notify_all()
