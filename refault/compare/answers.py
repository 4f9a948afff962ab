"""The question of a plan, answered in sentences: which patch, or what each is needed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refault.compare import layout
from refault.compare.stages import values_of
from refault.compare.steps import (
    COSTS_MORE,
    NAMED_MAX,
    NO_EFFECT,
    TAKE,
    UNKNOWN,
    Step,
    named,
    traces_of,
)


def answer(plan: str, steps: Sequence[Step]) -> str | None:
    """The answer to "which patch?" in a sentence; None where there is nothing to say."""
    known = [step for step in steps if step.merge != UNKNOWN]
    if not known:
        return None
    broken = [step for step in known if step.breaks]
    if plan == "ablation":
        return _needed(known)
    if plan == "matrix":
        return _everywhere(known)
    if broken:
        first = broken[0]
        others = [step.stage.title for step in broken[1:]]
        more = f" So {'does' if len(others) == 1 else 'do'} {named(others)}." if others else ""
        where = f" It enters with column {first.stage.now.label}." if first.stage.number else ""
        return f"{first.stage.subject} {first.headline}.{where}{more}"
    for word in (COSTS_MORE, TAKE):
        found = [step for step in known if step.merge == word]
        if found:
            rest = [step.stage.title for step in found[1:]]
            more = f" So {'does' if len(rest) == 1 else 'do'} {named(rest)}." if rest else ""
            told = found[0].sentence
            return f"Nothing breaks. {found[0].stage.subject} {told}.{more}"
    return "No step breaks anything, and none moves a cost notably."


_DOES = {COSTS_MORE: "costs more", TAKE: "is worth it", NO_EFFECT: "has no effect"}


def _everywhere(steps: Sequence[Step]) -> str | None:
    """What each patch set of a matrix does, and under which of the values."""
    sets = list(dict.fromkeys(step.stage.now.patch_set for step in steps))
    told = []
    for each in sets[:NAMED_MAX]:
        own = [step for step in steps if step.stage.now.patch_set == each]
        broken = [step for step in own if step.breaks]
        if broken:
            first = f"{each.name} goes wrong {_under(broken, own)}: it {broken[0].headline}"
            told.append(f"{first}.")
            continue
        parts = [
            f"{_DOES[word]} {_under(found, own)}"
            for word in (COSTS_MORE, TAKE, NO_EFFECT)
            if (found := [step for step in own if step.merge == word])
        ]
        told.append(f"{each.name} {', and '.join(parts)}.")
    if len(sets) > NAMED_MAX:
        told.append(f"The table has {len(sets) - NAMED_MAX} more patch sets.")
    return " ".join(told) or None


def _under(some: Sequence[Step], every: Sequence[Step]) -> str:
    if len(some) == len(every):
        return "under every combination"
    return f"under {named([values_of(step.stage.now) or 'the first' for step in some])}"


def _needed(steps: Sequence[Step]) -> str:
    """What an ablation shows: what each patch is needed for."""
    needed = [step for step in steps if step.repairs]
    harmful = [step for step in steps if step.breaks]
    told = [f"{step.stage.subject} {step.defect}." for step in harmful[:NAMED_MAX]]
    for step in needed[:NAMED_MAX]:
        wrong = step.repairs[0]
        told.append(
            f"The others need {step.stage.title}: without it {traces_of(step.repairs)} "
            f"{'goes' if len(step.repairs) == 1 else 'go'} wrong "
            f"({wrong.reason})."
        )
    if not told:
        useful = [step.stage.title for step in steps if step.merge == TAKE]
        idle = [step.stage.title for step in steps if step.merge == NO_EFFECT]
        told.append("Nothing goes wrong without any one of the patches.")
        if useful:
            told.append(f"It costs more without {named(useful)}.")
        if idle:
            told.append(f"Nothing changes without {named(idle)}.")
    return " ".join(told)


def steps_text(steps: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Which to merge, as plain text: each step as JSON, with its word and what it does."""
    lines = ["Which to merge, each against the column without it"]
    for step in steps:
        title = "" if step["title"] == step["label"] else f"{step['title']}: "
        text = f"{title}{step['merge'].upper()}; {step['sentence']}."
        lines += layout.wrap(text, width, first=f"  {step['label']}  ", indent="      ")
    return lines
