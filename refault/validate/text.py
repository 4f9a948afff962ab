"""A report in 72 columns."""

from __future__ import annotations

from typing import Final

from refault.compare import layout
from refault.trace.hostlog.events import UNKNOWN, HostEvent
from refault.validate.counting import COUNTS
from refault.validate.phases import Phase
from refault.validate.sequence import Difference
from refault.validate.validating import Report, operation_of

_NAME_WIDTH: Final = 16
_SIDE_WIDTH: Final = 5
_COUNT_WIDTH: Final = 8
_BASES: Final = {
    "marks": "Phases end at marks of the trace and of the host.",
    "cr3": "Phases are so many writes of CR3 each, counted on both sides from the start of each.",
    "time": "Phases are equal shares of each side's own time: ours counts operations, the host's "
    "nanoseconds, so that they need not mean the same work.",
    "whole": "One phase: the sides have no measure in common.",
}
_VERDICTS: Final = {
    "agree": "All counts agree, in every phase.",
    "incomplete": "All counts agree as far as the log goes, but it is not complete.",
}


def to_text(report: Report, *, trace: str, log: str, variant: str, width: int = 72) -> str:
    """The report, with everything that was compared; ``trace`` and ``log`` are names to show."""
    facts = report.facts
    kernel = f", Linux {facts.kernel}" if facts.kernel else ""
    lines = [
        *layout.wrap(f"refault validate: {trace} under {variant} beside {log}", width),
        "=" * width,
        "",
        *layout.wrap(
            f"Ours: {report.event_count:,} events, {report.operation_count:,} operations, "
            "replayed. "
            f"Host: {facts.form}{kernel}, {facts.event_count:,} events, recorded.",
            width,
        ),
    ]
    if gaps := facts.gaps():
        lines += layout.wrap(f"The log is not complete: {gaps}.", width)
    for loss in report.losses:
        lines += layout.wrap(layout.clean(loss), width, first="Of the trace: ", indent="  ")
    lines += [*layout.wrap(_BASES[report.basis], width), "", _head()]
    phases = [*report.phases, *([report.totals] if len(report.phases) > 1 else [])]
    for phase in phases:
        lines += ["-" * width] if phase is report.totals and len(phases) > 1 else []
        lines += _rows(phase, report.tolerance)
    lines += ["", *_conclusion(report, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _head() -> str:
    counts = "".join(layout.right(name, _COUNT_WIDTH) for name in _SHORT.values())
    return " " * (_NAME_WIDTH + _SIDE_WIDTH) + counts


_SHORT: Final = dict(zip(COUNTS, ("faults", "get", "new", "sync", "unsync", "zap"), strict=True))


def _rows(phase: Phase, tolerance: float) -> list[str]:
    """Both sides of a phase, one line each; a star stands behind what differs."""
    parted = phase.parted(tolerance)
    found = []
    for side, counts, name in (("ours", phase.ours, phase.name), ("host", phase.host, "")):
        numbers = "".join(
            layout.right(
                f"{count}{'*' if each in parted and side == 'host' else ' '}", _COUNT_WIDTH
            )
            for each, count in zip(COUNTS, counts, strict=True)
        )
        found.append(f"{layout.left(name, _NAME_WIDTH)}{layout.left(side, _SIDE_WIDTH)}{numbers}")
    return found


def _conclusion(report: Report, width: int) -> list[str]:
    lines: list[str] = []
    parted = report.parted
    if parted is None:
        lines += layout.wrap(_VERDICTS[report.verdict], width)
    else:
        phase, names = parted
        told = ", ".join(
            f"{_SHORT[name]} {ours} against the host's {host}"
            for name, ours, host in zip(COUNTS, phase.ours, phase.host, strict=True)
            if name in names
        )
        lines += layout.wrap(f"They part first in phase {phase.name}: {told}.", width)
    if report.first is not None:
        lines += _difference(report.first, width)
    return lines


def _difference(found: Difference, width: int) -> list[str]:
    lines = layout.wrap(
        f"Event by event they are the same for {found.number} counted events. The next:", width
    )
    ours = "the replay has ended" if found.ours is None else _shown(found.ours)
    if found.ours is not None:
        ours += f", operation {operation_of(found.ours)}"
    host = "the log has ended" if found.host is None else _shown(found.host)
    if found.host is not None and found.host.time_ns != UNKNOWN:
        seconds, rest = divmod(found.host.time_ns, 10**9)
        host += f", at {seconds}.{rest // 1000:06d}"
    for side, text in (("ours", ours), ("host", host)):
        lines += layout.wrap(text, width, first=f"  {side}  ", indent="        ")
    if found.is_after_loss:
        lines += layout.wrap("Events were lost before it, which may be the reason.", width)
    return lines


def _shown(event: HostEvent) -> str:
    fields = " ".join(
        f"{key} {value:x}" if isinstance(value, int) else f"{key} {value}"
        for key in ("address", "error_code", "gfn", "level", "created")
        if (value := event.fields.get(key)) is not None
    )
    return f"{event.name} {fields}".strip()
