"""What the rules of the patches share: numbers as words, and the questions they ask of cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from refault.compare import COSTS
from refault.compare.audited import Failure
from refault.compare.layout import counted
from refault.compare.percent import percent_text
from refault.thread.evidence import Answer, Cell, Evidence, Standing
from refault.thread.topics import PLAIN, Setting

#: A change of a counter below this share of the base's is no change to speak of.
PERMILLE = 10


def same_machine(evidence: Evidence) -> Answer:
    """No functional change: the patch sets nothing, so its runs are the base's."""
    text = evidence.topic.posted.text
    if all(cell.is_same_machine for cell in evidence.every(text)):
        return Answer(
            Standing.BORNE_OUT, "It is the same machine: every operation, counter and page alike."
        )
    return _as_to_guest(evidence, text)


def _as_to_guest(evidence: Evidence, text: str) -> Answer:
    differs = [cell for cell in evidence.every(text) if cell.column.is_same_to_guest is False]
    if differs:
        return Answer(Standing.REFUTED, f"The guest sees something else {places(differs)}.")
    return Answer(Standing.BORNE_OUT, "Guest and host see the same of every operation.")


def not_measured(text: str) -> Callable[[Evidence], Answer]:
    """The rule of what no replay can decide."""
    return lambda evidence: Answer(Standing.NOT_MEASURED, text)  # noqa: ARG005 - a rule's form


def nowhere(what: str) -> Answer:
    """The answer where the traces never come to the point."""
    return Answer(Standing.NOT_SEEN, what)


def places(cells: Iterable[Cell]) -> str:
    """The traces of some cells, with their setting: ``on a and b``."""
    told = [placed(cell) for cell in cells]
    return f"on {listed(list(dict.fromkeys(told)))}"


def placed(cell: Cell) -> str:
    """The trace of a cell, with its setting."""
    return f"{cell.trace} ({cell.setting.short})" if cell.setting.short else cell.trace


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:  # noqa: PLR2004 - one word has no and
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def change(counter: str, delta: int, base: int) -> str:
    """``exits +1298 (+1.3%)``, or ``exits unchanged``."""
    if not delta:
        return f"{counter} unchanged"
    percent = percent_text(delta, base)
    return f"{counter} {delta:+,d}" + (f" ({percent})" if percent else "")


def changes(evidence: Evidence, text: str, counters: Sequence[str]) -> str:
    """What counters do under a form, trace by trace, without what stays as it is."""
    told = []
    for cell in evidence.of(text):
        moved = [
            change(name, cell.delta(name), cell.base_value(name))
            for name in counters
            if cell.delta(name)
        ]
        told.append(f"{', '.join(moved) or f'{listed(counters)} unchanged'} on {cell.trace}")
    return "; ".join(told)


def sampled_text(samples: Sequence[int]) -> str:
    """A gauge over a run, as a clause."""
    told = gauge_numbers(samples)
    return (
        f"some in {told['above_zero']} of {counted(told['samples'], 'sample')}, median "
        f"{told['median']}, most {told['most']}"
    )


def gauge_numbers(samples: Sequence[int]) -> dict[str, int]:
    """A gauge over a run: how often it is above 0, its median (the higher of two) and its most."""
    ordered = sorted(samples)
    return {
        "samples": len(ordered),
        "above_zero": sum(map(bool, ordered)),
        "median": ordered[len(ordered) // 2],
        "most": ordered[-1],
    }


def rises(cell: Cell, counters: Iterable[str] = COSTS) -> list[str]:
    """The counters that are higher than the base's by more than PERMILLE."""
    if not cell.is_comparable:
        return []
    return [name for name in counters if _beyond(cell.delta(name), cell.base_value(name))]


def falls(cell: Cell, counters: Iterable[str] = COSTS) -> list[str]:
    """The counters that are lower than the base's by more than PERMILLE."""
    if not cell.is_comparable:
        return []
    return [name for name in counters if _beyond(-cell.delta(name), cell.base_value(name))]


def _beyond(delta: int, base: int) -> bool:
    return delta * 1000 > PERMILLE * base


def failing(cells: Iterable[Cell], *checks: str) -> list[Cell]:
    """The cells that fail one of these checks where their base does not, unexplained."""
    return [cell for cell in cells if any(f.check in checks for f in cell.new_failures)]


def first_failure(cell: Cell) -> Failure:
    """The unexplained failure that came first."""
    return min(cell.new_failures, key=lambda failure: failure.operation_index)


def broken_text(cells: Sequence[Cell], *, is_titled: bool = False) -> str:
    """What a form breaks, trace by trace: the first check that fails, and what the guest saw.

    ``is_titled`` says of each check what it is, once.
    """
    told, titled = [], set()
    for cell in cells:
        parts = []
        if cell.new_failures:
            first = first_failure(cell)
            others = len(cell.new_failures) - 1
            title = f" ({first.title})" if is_titled and first.check not in titled else ""
            titled.add(first.check)
            parts.append(f"{first.check}{title} fails at operation {first.operation_index}")
            if others:
                fail = "fail" if others > 1 else "fails"
                parts.append(f"{counted(others, 'more check')} {fail} later")
        if cell.wrong_accesses > 0:
            since = ""
            if cell.difference is not None:
                since = f" from operation {cell.difference.operation_index} on"
            comes = "come" if cell.wrong_accesses > 1 else "comes"
            wrong = counted(cell.wrong_accesses, "access")
            parts.append(f"{wrong}{since} {comes} out otherwise than the real guest saw")
        if cell.stop:
            parts.append(f"the host breaks ({cell.stop})")
        told.append(f"{places([cell])}: {listed(parts)}")
    return "; ".join(told)


def moved_text(delta: int, what: str = "exits") -> str:
    """What a counter does over all traces, as a clause: ``exits do not change``."""
    return f"{what} change by {delta:+,d} over all traces" if delta else f"{what} do not change"


def unsound(evidence: Evidence, text: str, setting: Setting | None = None) -> list[Cell]:
    """The cells in which a form breaks what its base keeps."""
    cells = evidence.every(text) if setting is None else evidence.of(text, setting)
    return [cell for cell in cells if cell.is_unsound]


def breaks_something(evidence: Evidence, text: str) -> tuple[list[Cell], str]:
    """Where a form is unsound, and what it breaks there, as a sentence."""
    cells = unsound(evidence, text)
    told = broken_text(cells)
    return cells, f"{told[:1].upper()}{told[1:]}." if told else ""


def repairs(cells: Iterable[Cell], check: str) -> list[Cell]:
    """The cells that pass a check which their base fails."""
    return [cell for cell in cells if any(f.check == check for f in cell.repaired)]


def fails_still(cells: Iterable[Cell], check: str) -> list[Cell]:
    """The cells that fail a check, as their base does or not."""
    return [
        cell
        for cell in cells
        if cell.column.audit is not None and check in cell.column.audit.failed
    ]


__all__ = [
    "PLAIN",
    "breaks_something",
    "broken_text",
    "change",
    "changes",
    "failing",
    "fails_still",
    "falls",
    "first_failure",
    "gauge_numbers",
    "listed",
    "not_measured",
    "nowhere",
    "placed",
    "places",
    "repairs",
    "rises",
    "same_machine",
    "sampled_text",
    "unsound",
]
