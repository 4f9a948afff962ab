"""From a trace and variants to outcomes: one replay for all, or one each after a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from db.repositories.results import Outcome
from refault import compare
from refault.catalogue import Variant
from refault.errors import (
    ConservationError,
    ReplayRefused,
    ResultError,
    SimulatorCrashed,
    SnapshotRefused,
    TraceError,
)
from refault.profile import gathering
from refault.profile.gathering import Gathered
from refault.results import RunResult
from worker.endings import WORDS_MAX
from worker.putting_aside import Keeper

NO_RESULT = (TraceError, ReplayRefused, ConservationError, ResultError)
"""Errors of the engine or its numbers by which a run cannot have a result."""

Replay = Callable[..., Sequence[RunResult | Gathered]]
"""A result for each variant, with the documents gathered beside it if there are any."""


def outcomes(
    trace: Path,
    variants: Sequence[Variant],
    *,
    progress: Callable[[int, int], None],
    is_cancelled: Callable[[], bool],
    memory_bytes: int | None = None,
    keeper: Keeper | None = None,
    replay: Replay = gathering.replay,
) -> list[Outcome]:
    """One outcome per variant, in order.

    If the replay of all together fails, each is replayed alone, so that one
    variant's failure costs the others only time, and memory that does not
    suffice for all may suffice for one. A ``keeper`` has the snapshot to
    resume from, and takes snapshots; replays of one variant have none.

    Only the engine makes an outcome: its results, :data:`NO_RESULT`, and the one exception by
    which a simulated host reports a defect. Any other exception, of a callback, the machine or the
    interpreter, says nothing of the variant and is propagated.
    """
    given: dict[str, Any] = {
        "progress": progress,
        "is_cancelled": is_cancelled,
        "memory_bytes": memory_bytes,
    }
    options = dict(given)
    found = None
    if keeper is not None:
        options["on_snapshot"] = keeper.offer
        found = keeper.found()
    try:
        results = _from(found, keeper, trace, variants, options, replay)
        return [_checked(result) for result in results]
    except (SimulatorCrashed, *NO_RESULT) as error:
        # The snapshot itself may be the cause, so the variant is replayed from the beginning.
        if len(variants) == 1 and found is None:
            return [_without_result(variants[0], error)]
    return [
        outcome
        for variant in variants
        for outcome in outcomes(trace, [variant], **given, replay=replay)
    ]


def _from(
    found: Path | None,
    keeper: Keeper | None,
    trace: Path,
    variants: Sequence[Variant],
    options: dict[str, Any],
    replay: Replay,
) -> Sequence[RunResult | Gathered]:
    """Replays from the snapshot, if there is a usable one, else from the beginning."""
    if found is not None and keeper is not None:
        try:
            return replay(trace, variants, resume_from=found, **options)
        except SnapshotRefused as error:
            keeper.refused(str(error))
    return replay(trace, variants, **options)


def _checked(found: RunResult | Gathered) -> Outcome:
    """The result, checked against the conservation laws; raises ConservationError."""
    result = found.result if isinstance(found, Gathered) else found
    compare.check(result)
    if not isinstance(found, Gathered):
        return Outcome(result.variant_digest, result=result)
    documents = (
        (found.timeline.key, found.timeline.to_bytes()),
        (found.attribution.key, found.attribution.to_bytes()),
    )
    return Outcome(result.variant_digest, result=result, documents=documents)


def _without_result(variant: Variant, error: Exception) -> Outcome:
    if isinstance(error, SimulatorCrashed):
        return Outcome(variant.digest, crash=str(error)[:WORDS_MAX])
    return Outcome(variant.digest, failure=str(error)[:WORDS_MAX])
