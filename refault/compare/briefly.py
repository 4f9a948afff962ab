"""What one step of a plan does, in a dozen words: for whoever has ten seconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from refault.compare.audited import Beside
from refault.compare.verdicts import MOVES

if TYPE_CHECKING:
    from refault.compare.steps import Step, StepCell

# Where a reason goes on with places, further checks or further counters.
_FURTHER = re.compile(r" \(|; |, ")


def brief(step: Step) -> str:
    """What goes wrong with the patch first, else what it mends, else what it costs or saves."""
    if step.breaks:
        return _broken(step)
    mended = ""
    if step.repairs:
        what = f"mends {' and '.join(step.mends)}" if step.mends else "repairs what was wrong"
        mended = f"{what} on {_on(step.repairs)}"
    cost = _cost(step)
    told = [cost, mended] if step.merge == "costs more" else [mended or cost]
    return "; ".join(filter(None, told)) or step.sentence


def _cost(step: Step) -> str:
    """What moved most against it, on one trace; empty where nothing did."""
    moved = [cell for cell in step.cells if cell.judgement.verdict in MOVES]
    if not moved:
        return ""
    worst = min(moved, key=lambda cell: cell.judgement.verdict.rank)
    first = _FURTHER.split(worst.reason, maxsplit=1)[0]
    return f"{MOVES[worst.judgement.verdict]}: {first} on {worst.trace.name}"


def _broken(step: Step) -> str:
    """Which rule of the MMU no longer holds, and what of it the guest sees."""
    cell = step.breaks[0]
    before, now = (
        cell.trace.evidence[each.variant_digest] for each in (step.stage.before, step.stage.now)
    )
    stopped = before.facts.stopped if before.facts else None
    beside = Beside.of(now.audit, before.audit, stopped.operation_index if stopped else None)
    told = []
    if beside is not None and beside.new:
        # A known exception is told only where there is nothing else.
        first = next((each for each in beside.new if each.exception is None), beside.new[0])
        told.append(f"no longer holds: “{first.title}” ({first.check})")
    wrong = sum(now.facts.disagreements) if now.facts else 0
    before_wrong = sum(before.facts.disagreements) if before.facts else 0
    if wrong > before_wrong:
        count = wrong - before_wrong
        told.append(f"the guest sees {count:,} wrong {'access' if count == 1 else 'accesses'}")
    if not told:
        told.append(_FURTHER.split(cell.reason, maxsplit=1)[0])
    return f"on {_on(step.breaks)}: {'; '.join(told)}"


def _on(cells: tuple[StepCell, ...]) -> str:
    first = cells[0].trace.name
    return first if len(cells) == 1 else f"{first} and {len(cells) - 1} more"
