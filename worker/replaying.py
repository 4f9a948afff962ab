"""From a trace and variants to outcomes: one decode for all, or one each when something breaks."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from db.repositories.results import Outcome
from refault import compare
from refault.catalogue import Variant
from refault.errors import RefaultError, ReplayCancelled
from refault.mmu import engine
from refault.results import RunResult

CRASH_LINES = 12

Replay = Callable[..., list[RunResult]]


def outcomes(
    trace: Path,
    variants: Sequence[Variant],
    *,
    progress: Callable[[int, int], None],
    is_cancelled: Callable[[], bool],
    replay: Replay = engine.replay,
) -> list[Outcome]:
    """One outcome per variant, in order.

    If the replay of all together fails, each is replayed alone, so that one
    variant's failure costs the others nothing but time.

    Raises:
        ReplayCancelled: ``is_cancelled`` said so.
        MemoryError, OSError: not the simulator's doing; another attempt may succeed.
    """
    try:
        results = replay(trace, variants, progress=progress, is_cancelled=is_cancelled)
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


def _checked(result: RunResult) -> Outcome:
    """The result, if it keeps the conservation laws; raises ConservationError."""
    compare.check(result)
    return Outcome(result.variant_digest, result=result)


def _describe(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return "\n".join(lines[-CRASH_LINES:])
