"""Periodic clean-up by the API, on whose host the bytes of uploads are."""

import logging
from collections.abc import Callable

import anyio
import anyio.to_thread

from db import orphans
from refault.errors import RefaultError
from services.api.batches import verdicts
from services.api.deps import Resources
from services.api.kernels import trees
from services.api.traces import editing
from services.api.uploads import service as uploads

_log = logging.getLogger("refault.api")
JUDGE_SECONDS = 5.0


async def tidy_up_for_ever(resources: Resources) -> None:
    """Sweeps now and then periodically; a failed sweep is retried at the next period."""
    while True:
        await anyio.to_thread.run_sync(tidy_up, resources)
        await anyio.sleep(resources.settings.upload_sweep_seconds)


def tidy_up(resources: Resources) -> None:
    """One sweep: uploads of dead processes, expired uploads, trees, traces, orphaned blobs."""
    duties = (
        resources.blobs.sweep_incoming,
        lambda: uploads.sweep(resources),
        lambda: _drop_unused_trees(resources),
        lambda: editing.apply_retention(resources),
        lambda: _remove_orphans(resources),
    )
    for duty in duties:
        _done(duty)


async def judge_for_ever(resources: Resources) -> None:
    """Judges the batches that are over and have no verdict, now and then periodically."""
    while True:
        await anyio.to_thread.run_sync(_done, lambda: verdicts.judge_waiting(resources))
        await anyio.sleep(JUDGE_SECONDS)


def _done(duty: Callable[[], object]) -> None:
    """A duty, whose defects end neither the others nor the loop."""
    try:
        duty()
    except (RefaultError, OSError):
        _log.warning("housekeeping was interrupted; the next sweep continues", exc_info=True)
    except Exception:  # noqa: BLE001  # see above
        _log.exception("housekeeping failed")


def _drop_unused_trees(resources: Resources) -> None:
    dropped_count = trees.drop_unused(resources)
    if dropped_count:
        _log.info("%d trees of which no kernel was made were removed", dropped_count)


def _remove_orphans(resources: Resources) -> None:
    for digest in orphans.remove(resources.engine, resources.blobs):
        _log.warning("blob %s was left by a process that died: removed", digest[:12])
