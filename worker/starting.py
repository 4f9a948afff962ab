"""Says in the database what a starting worker compiles, and how far it is: :class:`Announcing`.

::

    compiles ──► step, kernel ──► step, kernel ──► … ──► registers, and the row goes
                    │                │
    thread          └── a second ────┴── a second ── …   row of ``worker_starts``
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from db.repositories import worker_starts
from db.repositories.worker_starts import Step
from db.session import transaction
from refault.compiling import told
from worker.resources import Resources

_log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a change is written; without one, the heartbeat is."""

STOP_SECONDS = 10.0
"""The longest that the end waits for a database that does not answer."""

Work = tuple[str, Callable[[], object]]


class Announcing:
    """A thread that writes the row while kernels are compiled; a context manager.

    Compiling gives up the GIL often enough for it. A database that cannot be reached is no reason
    not to compile: it is asked again. The row is left at the end: whoever registers the worker
    removes it in the same transaction, so that nobody sees neither.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._step: Step | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(STOP_SECONDS)

    def do(self, steps: Sequence[Work]) -> None:
        """Compile one thing after the other."""
        with told(self._tell):
            for number, (what, compile_it) in enumerate(steps, 1):
                # The starter of a service on one machine shows these lines
                # (services/local/stack.py).
                _log.info("compiling %s, %d of %d", what, number, len(steps))
                done = self._step or Step(what, number, len(steps))
                self._step = dataclasses.replace(done, what=what, number=number)
                compile_it()

    def _tell(self, done: int, total: int) -> None:
        if self._step is not None:
            self._step = dataclasses.replace(self._step, kernels_done=done, kernels_total=total)

    def _run(self) -> None:
        pause = min(LOOK_SECONDS, self._resources.settings.heartbeat_seconds)
        looks = max(1, int(self._resources.settings.heartbeat_seconds / pause))
        written, count = None, 0
        while not self._over.wait(pause):
            step, count = self._step, count + 1
            if step is None or (step == written and count % looks):
                continue
            try:
                self._write(step)
                written = step
            except Exception as error:  # noqa: BLE001  # it must not end for it
                _log.warning("what is compiled could not be announced: %s", error)

    def _write(self, step: Step) -> None:
        with transaction(self._resources.engine) as session:
            worker_starts.announce(
                session,
                name=self._resources.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                step=step,
            )
