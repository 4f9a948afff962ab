"""Start and stop of a worker process: compile, register, heartbeat, deregister.

::

    main process   worker_init ── compile, register ──► pool forks ──► consumer loop: heartbeat
                       └── announces what it compiles (worker/starting.py)
                                                          │
    pool process                    worker_process_init ──┘ drops inherited connections

The engines are compiled before the pool forks, so its processes and their
replacements share the compiled kernels.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import logging.config
import os
import socket
import threading
import time
from functools import partial
from typing import Any

import celery
from celery import bootsteps, signals

from db.repositories import simulators, worker_starts
from db.session import transaction
from refault.errors import RefaultError
from refault.replay.compile.cache import cache_folder
from services.shared import logs, nudging, tracing
from worker import deaths, memory
from worker.resources import Resources
from worker.settings import load
from worker.starting import Announcing, Work

_log = logging.getLogger(__name__)
_opened: list[Resources] = []

broker_is_lost = threading.Event()
"""A message could not be acknowledged: the consumer loop must reconnect."""


def resources() -> Resources:
    """The resources of this process; only in a running worker."""
    if not _opened:
        raise RuntimeError("no worker runs in this process: start one with `python -m worker`")
    return _opened[-1]


class Heartbeat(bootsteps.StartStopStep):
    """The consumer loop's own timer writes the heartbeat, so that a hung loop has none."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._entry: Any = None
        self._silent = deaths.Silent()
        self._look_due = 0.0
        self._pool = consumer.pool

    def start(self, consumer: Any) -> None:
        """Starts with every (re)connection to the broker."""
        self._entry = consumer.timer.call_repeatedly(
            resources().settings.heartbeat_seconds, self._beat
        )

    def stop(self, consumer: Any) -> None:
        """Stops with every loss of the connection."""
        del consumer
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def _beat(self) -> None:
        if broker_is_lost.is_set():
            broker_is_lost.clear()
            # The loop propagates connection errors and reconnects.
            raise ConnectionError("a message could not be given back to the broker")
        held = resources()
        try:
            with transaction(held.engine) as session:
                simulators.heartbeat(session, held.name)
            # Three questions to the database, which need no answer at every heartbeat.
            if (now := time.monotonic()) >= self._look_due:
                self._look_due = now + deaths.LOOK_SECONDS
                self._silent.look(held, self._pool.info["processes"])
        except RefaultError as error:
            _log.warning("no heartbeat: %s", error)
        except Exception:  # noqa: BLE001  # the consumer loop must not end for it
            _log.exception("no heartbeat")


def install(app: celery.Celery) -> None:
    """Connects the steps below to Celery's signals."""
    app.steps["consumer"].add(Heartbeat)

    def start(**_: Any) -> None:
        _start(app)

    signals.setup_logging.connect(_start_logging, weak=False)
    signals.worker_init.connect(start, weak=False)
    signals.worker_process_init.connect(_start_pool_process, weak=False)
    signals.worker_process_shutdown.connect(_stop_pool_process, weak=False)
    signals.worker_shutting_down.connect(_announce_stop, weak=False)
    signals.worker_shutdown.connect(_stop, weak=False)


def _start_logging(**_: Any) -> None:
    """A connected handler keeps Celery from configuring logging."""
    logging.config.dictConfig(logs.configuration("worker", load().log_level))


def _start(app: celery.Celery) -> None:
    # Imported late: upkeep and health checks load this module without a compiler and its arrays.
    from refault.engines import ENGINES  # noqa: PLC0415
    from refault.profile import gathering  # noqa: PLC0415
    from refault.replay.session import warm_up  # noqa: PLC0415
    from refault.replay.source import SEMANTICS_VERSION  # noqa: PLC0415
    from worker import kernels  # noqa: PLC0415

    # Celery sets up logging after this, and what is compiled is told at once.
    _start_logging()
    settings = load()
    kernels.check_walls(settings)
    # A user's code is run by nobody who was not told to.
    offered = {
        name: engine for name, engine in ENGINES.items() if settings.builds or name != "kernel"
    }
    steps: list[Work] = [
        (f"the engine {name}", partial(warm_up, [name])) for name in sorted(offered)
    ]
    steps.append(("the accounts of runs", partial(gathering.warm_up, offered)))
    held = Resources.open(
        settings,
        simulators={name: engine.digest for name, engine in offered.items()},
        publish=lambda messages: nudging.publish(app, messages),
        cache=cache_folder(),
    )
    with Announcing(held) as announcing:
        announcing.do(steps)
    _opened.append(held)
    # Leftovers of killed workers of this host; upkeep may run on another one.
    held.snapshots.sweep_incoming()
    with transaction(held.engine) as session:
        worker_starts.over(session, held.name)
        simulators.register(
            session,
            name=held.name,
            simulators=held.simulators,
            semantics_version=SEMANTICS_VERSION,
            host=socket.gethostname(),
            pid=os.getpid(),
            can_build=settings.builds and not kernels.what_is_missing(),
        )
    # Frozen before the fork: pool processes share these pages, and no collector touches them.
    gc.collect()
    gc.freeze()
    names = (f"{engine} {digest[:12]}" for engine, digest in held.simulators.items())
    _log.info("worker %s has %s", held.name, ", ".join(names))


def _start_pool_process(**_: Any) -> None:
    resources().after_fork()
    memory.limit(resources().limits)
    tracing.start("worker", resources().settings.otel_endpoint)
    # By number: Celery has replaced sys.stderr by a logger.
    faulthandler.enable(file=2)


def _stop_pool_process(**_: Any) -> None:
    tracing.stop()


def _announce_stop(**_: Any) -> None:
    _log.info("worker %s was told to stop", resources().name)


def _stop(**_: Any) -> None:
    """Ends the registration: the next sweep requeues its shards, without counting a loss."""
    if not _opened:
        return
    held = _opened.pop()
    with contextlib.suppress(RefaultError), transaction(held.engine) as session:
        simulators.ended(session, held.name, in_order=True)
    held.close()
