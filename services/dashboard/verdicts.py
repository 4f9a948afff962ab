"""Display of a verdict: a word, a sign and a tone; never a colour alone."""

from typing import NamedTuple

from refault.compare import Verdict


class Shown(NamedTuple):
    """A verdict on a page. ``tone`` is a class of the style sheet."""

    title: str
    sign: str
    tone: str


_SHOWN = {
    Verdict.INTEGRITY: Shown("Integrity alarm", "‼", "alarm"),
    Verdict.BROKEN_INVARIANT: Shown("Broken invariant", "✕", "alarm"),
    Verdict.GUEST_VISIBLE_CHANGE: Shown("Guest sees a change", "✕", "alarm"),
    Verdict.CRASHED: Shown("Crashed", "✕", "alarm"),
    Verdict.REGRESSION: Shown("Regression", "▲", "more"),
    Verdict.MIXED_WORSE: Shown("Mixed, worse on balance", "▲", "more"),
    Verdict.MIXED: Shown("Mixed", "◆", "same"),
    Verdict.REPAIR: Shown("Repair", "✓", "less"),
    Verdict.IMPROVEMENT: Shown("Improvement", "▼", "less"),
    Verdict.UNCHANGED: Shown("Unchanged", "≈", "same"),
    Verdict.IDENTICAL: Shown("Identical", "=", "same"),
    Verdict.WITNESSED: Shown("As witnessed", "◇", "same"),
    Verdict.MISSING: Shown("No result", "…", "missing"),
    Verdict.BASE: Shown("Base", "○", "base"),
}

SENTENCES = {
    Verdict.INTEGRITY: "cannot be trusted",
    Verdict.BROKEN_INVARIANT: "break an invariant",
    Verdict.GUEST_VISIBLE_CHANGE: "change what the guest sees",
    Verdict.CRASHED: "gave no result",
    Verdict.REGRESSION: "cost more",
    Verdict.MIXED_WORSE: "cost less in part and more on balance",
    Verdict.MIXED: "cost more in part and less in part",
    Verdict.REPAIR: "repair what the base breaks",
    Verdict.IMPROVEMENT: "do better",
    Verdict.UNCHANGED: "change no cost notably",
    Verdict.IDENTICAL: "change nothing",
    Verdict.WITNESSED: "agree with the real guest",
    Verdict.MISSING: "have no result",
}
"""The predicate of a column, between its name and the trace's."""

TALLIES = {
    Verdict.INTEGRITY: "with an integrity alarm",
    Verdict.BROKEN_INVARIANT: "with a broken invariant",
    Verdict.GUEST_VISIBLE_CHANGE: "where the guest sees a change",
    Verdict.CRASHED: "without a result",
    Verdict.REGRESSION: "worse",
    Verdict.MIXED_WORSE: "mixed and worse on balance",
    Verdict.MIXED: "mixed",
    Verdict.REPAIR: "repaired",
    Verdict.IMPROVEMENT: "better",
    Verdict.UNCHANGED: "unchanged",
    Verdict.IDENTICAL: "identical",
    Verdict.WITNESSED: "as witnessed",
}
"""The predicate of cells, after their number."""

EXITS = {
    0: "nothing is worse than this project allows",
    1: "the answer is no",
    5: "no verdict: a cell has no result",
}
"""The meaning of the exit codes of a batch's verdict."""

_STATES = {
    "queued": ("…", "missing"),
    "running": ("…", "base"),
    "done": ("✓", "same"),
    "failed": ("✕", "alarm"),
    "cancelled": ("–", "missing"),
    # Of builds of kernels.
    "built": ("✓", "same"),
    "refused": ("✕", "alarm"),
}


def shown(value: str) -> Shown:
    """The display of the verdict of that name."""
    return _SHOWN[Verdict(value)]


def state_sign(state: str) -> tuple[str, str]:
    """Sign and tone of the state of a batch, a kernel or a build."""
    return _STATES.get(state, ("?", "missing"))
