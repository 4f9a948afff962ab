"""Our verdict on a form: first whether it is sound, then what it repairs, then what it costs."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

from refault.compare import COSTS, Verdict
from refault.thread.evidence import Cell, end_of, stop_text
from refault.thread.rules import broken_text, change, falls, listed, places, rises


class Mark(enum.Enum):
    """One form on one trace, in one word; the worst first."""

    UNSOUND = "UNSOUND"
    OTHERWISE = "guest sees"
    STILL = "breaks too"
    KNOWN = "known bug"
    MIXED = "mixed"
    COSTS = "costs more"
    REPAIRS = "repairs"
    SAVES = "saves"
    UNCHANGED = "unchanged"
    IDENTICAL = "identical"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Mark).index(self)


#: What each word means, for the reader of the report.
MEANINGS = {
    Mark.UNSOUND: "a check fails that holds under the base, and no known defect explains it",
    Mark.OTHERWISE: "guest or host see something else than under the base, and no check says which "
    "is right",
    Mark.STILL: "the host breaks, as it does under the base",
    Mark.KNOWN: "it meets a defect that kernels of the time had (F-X1 to F-X6), where the base "
    "does not",
    Mark.MIXED: "some costs rise by more than 1 %, others fall",
    Mark.COSTS: "a cost rises by more than 1 %",
    Mark.REPAIRS: "what is wrong under the base is right: a check, or a host that breaks",
    Mark.SAVES: "a cost falls by more than 1 %",
    Mark.UNCHANGED: "no cost moves by more than 1 %",
    Mark.IDENTICAL: "every counter, outcome and page as under the base",
}


#: By whether some cost rises, and whether some cost falls.
_COSTS = {
    (True, True): Mark.MIXED,
    (True, False): Mark.COSTS,
    (False, True): Mark.SAVES,
    (False, False): Mark.UNCHANGED,
}
_COST_WORDS = {
    Mark.MIXED: "costs mixed",
    Mark.COSTS: "costs more",
    Mark.SAVES: "saves",
    Mark.UNCHANGED: "costs unchanged",
}


class Judged(NamedTuple):
    """The verdict on a form over all traces and settings: a word, and the reason."""

    mark: Mark
    word: str
    reason: str


def mark_of(cell: Cell) -> Mark:
    """The word for a form on one trace."""
    if cell.is_same_machine:
        return Mark.IDENTICAL
    words = (
        (Mark.UNSOUND, cell.is_unsound),
        (Mark.STILL, cell.both_stop),
        (Mark.IDENTICAL, cell.column.verdict is Verdict.IDENTICAL),
        (Mark.KNOWN, bool(cell.known_failures)),
        (Mark.REPAIRS, bool(cell.repaired or cell.base_stop)),
        (Mark.OTHERWISE, cell.column.is_same_to_guest is False),
    )
    found = next((mark for mark, holds in words if holds), None)
    return found or _COSTS[bool(rises(cell)), bool(falls(cell))]


def judged(cells: Sequence[Cell]) -> Judged:
    """The verdict over all cells of a form."""
    marks = [mark_of(cell) for cell in cells]
    bad = [cell for cell in cells if cell.is_unsound]
    if bad:
        return Judged(Mark.UNSOUND, "UNSOUND", f"{_capital(broken_text(bad, is_titled=True))}.")
    if all(mark is Mark.IDENTICAL for mark in marks):
        if all(cell.is_same_machine for cell in cells):
            return Judged(Mark.IDENTICAL, "no functional change", "It is the same machine.")
        return Judged(
            Mark.IDENTICAL,
            "changes nothing here",
            "Every counter, outcome and shadow page is as under the base.",
        )
    told = []
    mended = [cell for cell in cells if cell.repaired or cell.base_stop]
    if mended:
        told.append(_repair_text(mended))
    otherwise = [c for c, mark in zip(cells, marks, strict=True) if mark is Mark.OTHERWISE]
    if otherwise:
        told.append(f"guest or host see something else {places(otherwise)}")
    known = [cell for cell in cells if cell.known_failures]
    if known:
        names = dict.fromkeys(f.name for cell in known for f in cell.known_failures)
        told.append(f"meets {listed(list(names))} {places(known)}, where the base does not")
    still = [cell for cell in cells if cell.both_stop]
    if still:
        ends = [stop_text(end) for cell in still if (end := end_of(cell.column)) is not None]
        told.append(f"the host still breaks {places(still)} ({listed(ends)})")
    if any(cell.is_comparable for cell in cells):
        told.append(_cost_text(cells))
    return Judged(
        _of_all(marks, mended), _word(cells, marks, mended), f"{_capital('; '.join(told))}."
    )


def _of_all(marks: Sequence[Mark], mended: Sequence[Cell]) -> Mark:
    worst = min(marks, key=lambda mark: mark.rank)
    return Mark.REPAIRS if mended and worst.rank > Mark.KNOWN.rank else worst


def _word(cells: Sequence[Cell], marks: Sequence[Mark], mended: Sequence[Cell]) -> str:
    """The verdict in a few words."""
    plain = [cell for cell in cells if not cell.setting.words]
    more = any(rises(cell) for cell in plain)
    less = any(falls(cell) for cell in plain)
    cost = _COST_WORDS[_COSTS[more, less]]
    if mended:
        return "repairs" if cost == "costs unchanged" else f"repairs, {cost}"
    if Mark.STILL in marks:
        return "the host still breaks"
    if Mark.OTHERWISE in marks:
        return "changes what is seen"
    if Mark.KNOWN in marks:
        return f"meets a known bug, {cost}"
    return f"sound here, {cost}"


def _repair_text(cells: Sequence[Cell]) -> str:
    checks = {f.name: f.title for cell in cells for f in cell.repaired}
    ends = dict.fromkeys(cell.base_stop for cell in cells if cell.base_stop)
    told = [*(f"{name}, {title}" for name, title in checks.items()), *ends]
    return f"what is wrong under the base is right {places(cells)}: {'; '.join(told)}"


def _cost_text(cells: Sequence[Cell]) -> str:
    """What costs do where they move by more than 1 %, trace by trace."""
    told = []
    for cell in cells:
        if cell.setting.words or cell.stop or cell.base_stop:
            continue
        moved = [name for name in COSTS if name in {*rises(cell), *falls(cell)}]
        if moved:
            numbers = [change(name, cell.delta(name), cell.base_value(name)) for name in moved]
            told.append(f"{', '.join(numbers)} {places([cell])}")
    return f"costs: {'; '.join(told)}" if told else "no cost moves by more than 1 %"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
