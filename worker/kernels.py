"""Users' kernels: whether this worker builds and runs them, and the programs a replay needs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from collections.abc import Sequence

from db.repositories import programs
from db.session import transaction
from db.shards.messages import QUEUE_BUILDS, QUEUE_QUESTIONS, QUEUE_SHARDS
from refault.catalogue import Variant
from refault.errors import NoCompiler, NotFound, ReplayRefused
from refault.golden.faithful import captures
from refault.linux.compiler import find_compiler
from refault.linux.confine import what_is_open
from refault.linux.store import Build, Store
from worker.resources import Resources
from worker.settings import Settings

_log = logging.getLogger(__name__)


def queues(settings: Settings) -> list[str]:
    """The queues a worker listens to: that of builds too, if it can build."""
    if not settings.builds:
        return [QUEUE_SHARDS, QUEUE_QUESTIONS]
    missing = what_is_missing()
    if missing:
        _log.warning("this worker runs users' kernels and does not build them: %s", missing)
        return [QUEUE_SHARDS, QUEUE_QUESTIONS]
    return [QUEUE_SHARDS, QUEUE_QUESTIONS, QUEUE_BUILDS]


def check_walls(settings: Settings) -> None:
    """Ends the process where users' code would be unwalled, however it was started."""
    if settings.builds and (reason := what_is_open()):
        sys.stderr.write(
            f"the worker cannot start: REFAULT_BUILDS is on, and {reason}; users' kernels are "
            "neither built nor run without these walls: use another machine, or set it to false\n"
        )
        raise SystemExit(2)


def what_is_missing() -> str:
    """Why this machine cannot build; empty if it can."""
    with contextlib.suppress(NoCompiler):
        find_compiler()
        if not captures():
            return "the captures are not there that every kernel is held to (demo/traces)"
        return "" if shutil.which("git") else "git is not there to apply patches with"
    return "no C compiler is there: install gcc and libc6-dev"


def provide(resources: Resources, variants: Sequence[Variant]) -> None:
    """Fetch the programs of these variants that are not in this machine's store.

    Raises:
        ReplayRefused: one is gone, as its kernel was deleted.
    """
    store = Store()
    for digest in {variant.build for variant in variants if variant.build}:
        if store.get(digest) is None:
            _fetch(resources, store, digest)


def _fetch(resources: Resources, store: Store, digest: str) -> None:
    try:
        with transaction(resources.engine) as session:
            row = programs.named(session, digest)
            build, file_digest = Build.from_dict(row.body), row.file_digest
        store.take(build, resources.blobs.fetch(file_digest))
    except NotFound as error:
        raise ReplayRefused(str(error)) from error
