"""This process's database engine and blob store, and what a worker says about itself."""

from __future__ import annotations

import logging
import os
import socket
from functools import cache

import sqlalchemy as sa

from db import session
from db.blobs import BlobStore
from db.repositories import simulators
from refault.errors import Unavailable
from refault.mmu.engine import SEMANTICS_VERSION, simulator_digest, warm_up
from worker.settings import settings

log = logging.getLogger("refault.worker")


@cache
def engine() -> sa.Engine:
    """The pool of this process."""
    return session.create_engine(settings().database_url, pool_size=2)


@cache
def blobs() -> BlobStore:
    """The folder of trace files."""
    return BlobStore(settings().blobs)


def forget() -> None:
    """Drop connections inherited from a parent process, without closing the parent's own."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)
    engine.cache_clear()


def register(name: str) -> None:
    """Compile the kernels, then tell the database which simulator this worker has.

    Batches are planned for a registered simulator, so none waits for a compiler.
    """
    warm_up()
    with session.transaction(engine()) as opened:
        simulators.register(
            opened,
            name=name,
            digest=simulator_digest(),
            semantics_version=SEMANTICS_VERSION,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
    log.info("worker %s has simulator %s", name, simulator_digest()[:12])


def heartbeat(name: str) -> None:
    """Say that the consumer's loop turns; an unreachable database is waited for."""
    try:
        with session.transaction(engine()) as opened:
            simulators.heartbeat(opened, name)
    except (Unavailable, sa.exc.SQLAlchemyError) as error:
        log.warning("no heartbeat of %s: %s", name, error)


def deregister(name: str) -> None:
    """Say goodbye, if the database still listens."""
    try:
        with session.transaction(engine()) as opened:
            simulators.stopped(opened, name)
    except (Unavailable, sa.exc.SQLAlchemyError) as error:
        log.warning("worker %s could not sign off: %s", name, error)
