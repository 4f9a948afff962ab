"""``refault replay --audit``: whether and how closely the runs of a trace are audited."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refault.audits import LEVELS, Level
from refault.cli.progress import Bars
from refault.errors import InvalidParameter
from refault.trace import TraceReader

if TYPE_CHECKING:
    from refault.audits import AuditReport
    from refault.catalogue import Variant

OFF, CLOSEST = LEVELS[0], LEVELS[-1]

#: A trace of operations of at most so many events is audited unless asked otherwise.
EVENTS_MAX = 100_000

HELP = (
    f"Audit the variants: {', '.join(LEVELS)}. Default: {CLOSEST} for at most "
    f"{EVENTS_MAX:,} operations, which have no witness, and {OFF} for anything else."
)


def asked_level(name: str | None, traces: Sequence[Path]) -> Level | None:
    """The level of ``--audit``; None leaves it to each trace.

    Raises:
        InvalidParameter: there is no such level, or a trace can be read only once.
    """
    if name is None:
        return None
    level = Level(name)
    for path in traces:
        if level.name != OFF and not path.is_file():
            raise InvalidParameter(f"--audit {name}: {path} can be read only once; use a file")
    return level


def level_for(path: Path, event_count: int, asked: Level | None, *, is_logged: bool) -> Level:
    """How closely the runs of a trace are audited; one whose events are logged only if asked."""
    if asked is not None:
        return asked
    if is_logged or event_count > EVENTS_MAX or not path.is_file():
        return Level(OFF)
    with TraceReader(path, allow_truncated=True) as reader:
        return Level(CLOSEST if reader.header.content == "operations" else OFF)


def audited(
    path: Path, variants: Sequence[Variant], level: Level, bars: Bars
) -> dict[str, AuditReport]:
    """The audits by the digest of the variant: of the model whole, of other engines' outcomes."""
    if level.name == OFF:
        return {}
    from refault.engines.audit import auditing

    task = bars.add_task(f"{path.name}: audit", total=None)
    reports = auditing.audit(
        path,
        variants,
        level,
        threads=min(len(variants), len(os.sched_getaffinity(0))),
        progress=lambda done, total: bars.update(task, completed=done, total=total or None),
    )
    return {report.variant_digest: report for report in reports}
