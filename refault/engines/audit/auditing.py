"""Runs a trace under variants of the model and reports which invariants broke."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from refault.audits import AuditReport, Level
    from refault.catalogue import Variant


def audit(
    trace: Path,
    variants: Sequence[Variant],
    level: Level,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    memory_bytes: int | None = None,
) -> list[AuditReport]:
    """One report for each variant, in their order.

    Raises:
        ReplayCancelled: ``is_cancelled`` said so.
        ReplayRefused: a variant is of another engine than the model, or the trace cannot be
            replayed.
        TraceError: the trace is damaged.
    """
    raise NotImplementedError
