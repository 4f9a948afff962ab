"""Whether this worker can build and run users' kernels, and the programs a replay needs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence

from db.repositories import programs
from db.session import transaction
from refault.catalogue import Variant
from refault.errors import NoCompiler, NotFound, ReplayRefused
from refault.linux.compiler import find_compiler
from refault.linux.confine import what_is_open
from refault.linux.store import Build, Store
from worker.resources import Resources


def what_is_missing() -> str:
    """Why this machine must not build, or cannot; empty if it can.

    Other people's code is never compiled or run here without its walls.
    """
    if reason := what_is_open():
        return reason
    with contextlib.suppress(NoCompiler):
        find_compiler()
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
