"""The one number of each cell of a matrix: how far the exits moved, or how much was wrong.

Read from facts, so that a matrix of thousands of cells reads no result.
"""

from collections.abc import Sequence
from typing import NamedTuple

from refault.compare.percent import percent_text
from refault.compare.summary import HEADLINE
from refault.facts import Facts
from refault.results import COUNTERS

_HEADLINE = COUNTERS.index(HEADLINE)


class Moves(NamedTuple):
    """The numbers of one trace's cells, the base's first; None where there is none to tell.

    ``changes`` are of the exits against the base, as text in percent. ``wrong`` counts accesses
    that the guest saw otherwise than the real one; where there are none, findings.
    """

    exits: list[int | None]
    changes: list[str | None]
    wrong: list[int | None]


def moves_of(facts: Sequence[Facts | None]) -> Moves:
    """The numbers of the cells with these facts."""
    exits = [None if each is None else each.counters[_HEADLINE] for each in facts]
    wrong = [
        None if each is None else sum(each.disagreements) or each.finding_count for each in facts
    ]
    base = facts[0]
    return Moves(exits, [None, *(_change(each, base) for each in facts[1:])], wrong)


def _change(facts: Facts | None, base: Facts | None) -> str | None:
    if facts is None or base is None or facts.engine != base.engine:
        return None
    if facts.stopped is not None or base.stopped is not None:
        # The counters of a run that stopped early stand for less of the trace.
        return None
    now, before = facts.counters[_HEADLINE], base.counters[_HEADLINE]
    return None if now is None or before is None else percent_text(now - before, before)
