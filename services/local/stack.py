"""The whole service as processes on loopback: started in order, watched, stopped in reverse.

::

    lock ─► Valkey, Postgres ─► migrations ─► API, workers, upkeep ─► ready
                                                  │
    stop: upkeep, workers, API, Valkey, Postgres ◄──┘
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from db import schema, session
from db.repositories import patches, simulators, worker_starts
from services.local import broker, postgres
from services.local.errors import StackError
from services.local.first_account import FirstAccount
from services.local.folder import DataFolder
from services.local.processes import Command, Process, describe_exit, free_port
from services.shared import semaphores

CHECKOUT = Path(__file__).resolve().parents[2]
WORKER_COUNT = 2
# The first start compiles the simulator.
WORKER_START_SECONDS = 1800.0
API_START_SECONDS = 600.0
API_START_TRIES = 4
RESTARTS_MAX = 5
# A part that has not stopped by then is killed, which costs at most a lease.
PART_STOP_SECONDS = 8.0

# As worker/lifecycle.py logs it.
_STEP = re.compile(r"compiling .*, [0-9]+ of [0-9]+")

# Everything is on one machine: poll often, with short timeouts.
WORKER_SETTINGS = {
    "REFAULT_LEASE_SECONDS": "20",
    "REFAULT_HEARTBEAT_SECONDS": "0.5",
    "REFAULT_SWEEP_SECONDS": "2",
    "REFAULT_RESEND_SECONDS": "10",
    "REFAULT_STOP_SECONDS": "0",
}


class Stack:
    """A running service; use as a context manager, from the main thread.

    Raises:
        StackError: from :meth:`start` and :meth:`watch`, with the log of the part that failed.
    """

    def __init__(
        self,
        data: Path,
        *,
        worker_count: int = WORKER_COUNT,
        port: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = DataFolder(data)
        self.url = ""
        self.access: FirstAccount | None = None
        self.workers: list[Process] = []
        self.restart_count = 0
        self.was_ready = False
        self._worker_count = worker_count
        self._wanted_port = port
        self._settings = {**WORKER_SETTINGS, **(settings or {})}
        self._parts: list[Process] = []
        self._beside: list[Process] = []
        self.postgres: postgres.Postgres | None = None
        self.broker: broker.Broker | None = None
        self.engine: sa.Engine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Iterator[str]:
        """Starts everything; yields a phrase per step."""
        if reason := semaphores.why_none():
            raise StackError(reason)
        yield "opening the data folder"
        self.folder.open()
        # Left over from a killed starter.
        self.folder.path("run", "service.json").unlink(missing_ok=True)
        environment = self._environment()
        yield "starting Postgres and Valkey"
        self.broker = broker.start(self.folder, environment)
        self._parts.append(self.broker.process)
        self.postgres = postgres.start(self.folder, environment)
        self._parts.append(self.postgres.process)
        yield "migrating the database"
        self._migrate()
        yield "starting the API"
        first = self._add_worker(1)
        self._start_api()
        # Commands find the service as soon as it answers: a run they ask for waits for a worker.
        self._tell_where(is_ready=False)
        yield f"the pages are at {self.url}"
        yield f"starting {self._worker_count} workers (the first start compiles the simulator)"
        # The first compiles the kernels, and the others load them from the cache.
        yield from self._compiling(first)
        for number in range(2, self._worker_count + 1):
            self._add_worker(number)
        self._parts.append(self._start_upkeep())
        self._tell_where(is_ready=True)
        self.was_ready = True

    def _tell_where(self, *, is_ready: bool) -> None:
        told = {"url": self.url, "pid": os.getpid(), "token": self.token, "is_ready": is_ready}
        path = self.folder.path("run", "service.json")
        self.folder.write_private(path, json.dumps(told) + "\n")

    @property
    def token(self) -> str:
        """The token of this stack's own clients."""
        if self.access is None:
            raise StackError("the stack has not been started")
        return self.access.token

    def watch(self) -> None:
        """Checks the parts: dead workers and upkeep are restarted, other deaths are errors."""
        for process in list(self._parts):
            if process.exit_code is None:
                continue
            how = describe_exit(process.exit_code)
            if process not in self.workers and process.part != "upkeep":
                raise process.failure(f"ended with {how}")
            self.restart_count += 1
            if self.restart_count > RESTARTS_MAX:
                raise process.failure(
                    f"ended with {how}, and {RESTARTS_MAX} have already been replaced"
                )
            process.stop()
            self._replace(process)

    def run_beside(self, name: str, *arguments: str) -> Process:
        """Starts a Python program that is no part of the stack, and ends with it at the latest.

        It has the environment that every part has, without the database and the broker.
        """
        process = self._python(name, self._environment(), *arguments)
        self._beside.append(process)
        return process

    def part(self, name: str) -> Process:
        """The part of that name: ``api``, ``worker-1``, ``upkeep``, ``postgres`` or ``valkey``."""
        return next(process for process in self._parts if process.part == name)

    def revive(self, name: str) -> None:
        """Restarts a dead part in its folder and at its port, without waiting for it."""
        dead = self.part(name)
        dead.stop()
        alive = Process(dead.command)
        self._parts[self._parts.index(dead)] = alive
        if dead in self.workers:
            self.workers[self.workers.index(dead)] = alive

    def stop(self) -> None:
        """Stops everything in reverse order; idempotent."""
        if self.engine is not None:
            self.engine.dispose()
        for process in self._beside:
            process.stop()
        self._beside.clear()
        # Workers first and together: each requeues its shards while the database is up.
        early = [process for process in self._parts if self._uses_database(process)]
        for process in reversed(early):
            process.request_stop()
        for process in reversed(self._parts):
            process.stop()
        self._parts.clear()
        self.workers.clear()
        if self.folder.is_open:
            self.folder.path("run", "service.json").unlink(missing_ok=True)
        self.folder.close()

    def environment(self) -> dict[str, str]:
        """The environment of this stack's processes; holds passwords."""
        if self.postgres is None or self.broker is None:
            raise StackError("the stack has not been started")
        return {
            **self._environment(),
            "REFAULT_DATABASE_URL": self.postgres.url(),
            "REFAULT_BROKER_URL": self.broker.url,
            "REFAULT_BLOBS": str(self.folder.path("blobs")),
            **self._settings,
        }

    def _environment(self) -> dict[str, str]:
        """A minimal environment; everything a part writes goes into the data folder."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        chosen = {
            name: value
            for name, value in os.environ.items()
            if name in ("REFAULT_INTERPRETED", "REFAULT_BOUNDSCHECK", "REFAULT_BUILDS")
        }
        return {
            **kept,
            **chosen,
            "HOME": str(self.folder.path("tmp")),
            "TMPDIR": str(self.folder.path("tmp")),
            "XDG_CACHE_HOME": str(self.folder.path("cache")),
            "REFAULT_CACHE": os.environ.get("REFAULT_CACHE", str(self.folder.path("cache"))),
            "REFAULT_KERNELS": os.environ.get("REFAULT_KERNELS", str(self.folder.path("kernels"))),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
        }

    def _migrate(self) -> None:
        if self.postgres is None:
            raise StackError("the stack has not been started")
        self.engine = session.create_engine(self.postgres.url(), pool_size=2)
        schema.upgrade(self.engine)
        with session.transaction(self.engine) as opened:
            patches.copy_catalogue(opened)
            # We hold the folder's lock, so any worker still registered is dead.
            simulators.all_ended(opened)
            worker_starts.all_over(opened)
        self.access = FirstAccount.ensure(self.folder, self.engine)

    def _start_api(self) -> None:
        for tries_left in reversed(range(API_START_TRIES)):
            port = self._wanted_port or free_port()
            environment = {
                **self.environment(),
                "REFAULT_HOST": "127.0.0.1",
                "REFAULT_PORT": str(port),
            }
            process = self._python("api", environment, "-m", "services.api")
            self.url = f"http://127.0.0.1:{port}"
            try:
                process.wait_until(self._api_is_ready, API_START_SECONDS)
            except StackError:
                process.stop()
                taken = "ddress already in use" in process.tail()
                if taken and self._wanted_port:
                    raise StackError(
                        f"port {port} is taken: choose another with --port, or omit it for any"
                    ) from None
                if taken and tries_left:
                    continue
                raise
            self._parts.append(process)
            return

    def _api_is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as response:  # noqa: S310
                return bool(response.status == 200)  # noqa: PLR2004
        except (urllib.error.URLError, OSError):
            return False

    def _add_worker(self, number: int) -> Process:
        # Remapped, SIGTERM makes the worker requeue its shards and exit instead of finishing them.
        environment = {**self.environment(), "REMAP_SIGTERM": "SIGQUIT"}
        part = f"worker-{number}"
        arguments = ("-m", "worker", "--hostname", f"{part}@%h")
        # SIGKILL: if the starter is dead, so is the broker, and the leases of shards expire.
        process = self._python(part, environment, *arguments, death_signal=signal.SIGKILL)
        self.workers.append(process)
        self._parts.append(process)
        return process

    def _start_upkeep(self) -> Process:
        return self._python(
            "upkeep", self.environment(), "-m", "worker.upkeep", death_signal=signal.SIGKILL
        )

    def _replace(self, process: Process) -> None:
        self._parts.remove(process)
        if process.part == "upkeep":
            self._parts.append(self._start_upkeep())
            return
        number = int(process.part.rpartition("-")[2])
        self.workers.remove(process)
        if self.engine is not None:
            with session.transaction(self.engine) as opened:
                name = simulators.name_of_pid(opened, process.pid)
                if name is not None:
                    simulators.ended(opened, name, in_order=False)
        self._add_worker(number)

    def _compiling(self, worker: Process) -> Iterator[str]:
        """Waits until a worker has registered; yields what it compiles meanwhile, and how far."""
        told = ""
        while not self._is_registered(worker.pid):
            worker.wait_until(
                lambda told=told: self._is_registered(worker.pid) or _step_of(worker) != told,  # type: ignore[misc]
                WORKER_START_SECONDS,
            )
            step = _step_of(worker)
            if step != told:
                told = step
                yield step

    def _is_registered(self, pid: int) -> bool:
        if self.engine is None:
            return False
        with session.transaction(self.engine) as opened:
            return simulators.name_of_pid(opened, pid) is not None

    def _python(
        self,
        part: str,
        environment: dict[str, str],
        *arguments: str,
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> Process:
        return Process(
            Command(
                part=part,
                arguments=[sys.executable, *arguments],
                log=self.folder.log_path(part),
                environment=environment,
                folder=CHECKOUT,
                death_signal=death_signal,
                stop_seconds=PART_STOP_SECONDS,
                inherited=(self.folder.lock_descriptor,),
            )
        )

    @staticmethod
    def _uses_database(process: Process) -> bool:
        return process.part not in ("postgres", "valkey")


def _step_of(worker: Process) -> str:
    """The last step of its warm-up that a worker has logged."""
    found = _STEP.findall(worker.tail())
    return found[-1] if found else ""


def pause() -> None:
    """Sleeps between two checks of the parts."""
    time.sleep(0.2)
