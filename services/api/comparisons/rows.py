"""The verdicts of one trace, kept: a batch that is watched is judged again for each run that ends.

Of thousands of cells a few are others than the last time. What a row is judged by is immutable, so
an equal row, thresholds and weights give the verdicts of before.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from refault.compare import Evidence, Judgement, Scale, Threshold, judge
from services.api.comparisons.moves import Moves, moves_of

CELLS_KEPT = 20_000
"""Cells of all kept rows: with facts that comparisons keep anyway, 500 bytes each."""


class Row(NamedTuple):
    """The verdicts of one trace, the base's first, and its numbers."""

    judgements: list[Judgement]
    moves: Moves


_lock = threading.Lock()
_kept: OrderedDict[Hashable, Row] = OrderedDict()
_count = 0


def row_of(evidence: tuple[Evidence, ...], threshold: Threshold, scale: Scale) -> Row:
    """The verdicts on the columns of one trace, which nobody changes."""
    if any(each.audit is not None for each in evidence):
        # Audits are documents of any size: they are neither compared nor kept here.
        return _made(evidence, threshold, scale)
    limits = tuple(sorted(threshold.limits.items(), key=lambda item: item[0]))
    key = (evidence, threshold.permille, threshold.operations, limits, scale)
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
            return found
    made = _made(evidence, threshold, scale)
    _keep(key, made)
    return made


def _made(evidence: tuple[Evidence, ...], threshold: Threshold, scale: Scale) -> Row:
    return Row(judge(list(evidence), threshold, scale), moves_of([each.facts for each in evidence]))


def _keep(key: Hashable, made: Row) -> None:
    global _count  # noqa: PLW0603  # of this module's one store, under its lock
    with _lock:
        if key in _kept:
            return
        _kept[key] = made
        _count += len(made.judgements)
        while _count > CELLS_KEPT and len(_kept) > 1:
            _, oldest = _kept.popitem(last=False)
            _count -= len(oldest.judgements)
