"""From a trace and variants to outcomes: one decode for all, or one each when something breaks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from db.repositories.results import Outcome
from refault import compare
from refault.catalogue import Variant
from refault.errors import RefaultError, ReplayCancelled, SnapshotRefused
from refault.mmu import engine
from refault.results import RunResult
from worker.putting_aside import Keeper

CRASH_LINES = 12

Replay = Callable[..., list[RunResult]]


def outcomes(
    trace: Path,
    variants: Sequence[Variant],
    *,
    progress: Callable[[int, int], None],
    is_cancelled: Callable[[], bool],
    keeper: Keeper | None = None,
    replay: Replay = engine.replay,
) -> list[Outcome]:
    """One outcome per variant, in order.

    If the replay of all together fails, each is replayed alone, so that one
    variant's failure costs the others nothing but time. A ``keeper`` says where
    to go on from, and takes snapshots; alone, nobody does.

    Raises:
        ReplayCancelled: ``is_cancelled`` said so.
        MemoryError, OSError: not the simulator's doing; another attempt may succeed.
    """
    options: dict[str, Any] = {"progress": progress, "is_cancelled": is_cancelled}
    try:
        if keeper is None:
            results = replay(trace, variants, **options)
        else:
            results = _kept(trace, variants, options, keeper, replay)
        return [_checked(result) for result in results]
    except (ReplayCancelled, MemoryError, OSError):
        raise
    except RefaultError as error:
        if len(variants) == 1:
            return [Outcome(variants[0].digest, failure=str(error))]
    except Exception as error:  # noqa: BLE001  # whatever the simulator did wrong is an outcome
        if len(variants) == 1:
            return [Outcome(variants[0].digest, crash=_describe(error))]
    return [
        outcome
        for variant in variants
        for outcome in outcomes(
            trace, [variant], progress=progress, is_cancelled=is_cancelled, replay=replay
        )
    ]


def _kept(
    trace: Path,
    variants: Sequence[Variant],
    options: dict[str, Any],
    keeper: Keeper,
    replay: Replay,
) -> list[RunResult]:
    """From the snapshot, if there is one that can be used, or else from the beginning."""
    options = {**options, "on_snapshot": keeper.offer}
    found = keeper.found()
    if found is not None:
        try:
            return replay(trace, variants, resume_from=found, **options)
        except SnapshotRefused as error:
            keeper.refused(str(error))
    return replay(trace, variants, **options)


def _checked(result: RunResult) -> Outcome:
    """The result, if it keeps the conservation laws; raises ConservationError."""
    compare.check(result)
    return Outcome(result.variant_digest, result=result)


def _describe(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return "\n".join(lines[-CRASH_LINES:])
