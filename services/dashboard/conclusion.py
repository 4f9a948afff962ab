"""The box at the top of a batch's page: the verdict and its reasons.

The API gives the project's verdict, the same as a CI job gets; the page only adds sentences.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from textwrap import shorten
from typing import Any

from refault.compare import Verdict
from refault.compare.titles import engine_word
from services.dashboard.decision import decision
from services.dashboard.formats import counted, with_minus
from services.dashboard.verdicts import EXITS, SENTENCES, TALLIES, shown

REASONS_SHOWN = 6
_REASON_MAX = 160
# Of a verb whose third person has no mere s.
_OF_ONE = {"cannot": "cannot", "gave": "gave", "do": "does", "have": "has"}
# Labels of a series' prefixes: 1, 1-2, 1-3, …
_PREFIX = re.compile(r"[0-9]+(-[0-9]+)?")


def conclusion(
    document: Mapping[str, Any], link_to: Callable[[str], str], *, is_running: bool
) -> dict[str, Any] | None:
    """The conclusion of a batch's comparison ``document``; None while there is none.

    ``link_to`` gives the address of a trace's section.
    """
    overview, verdict = document["overview"], document["verdict"]
    counts = Counter(name for trace in overview["traces"] for name in trace["verdicts"][1:])
    base_counts = Counter(trace["verdicts"][0] for trace in overview["traces"])
    known = {
        Verdict(name): count
        for name, count in counts.items()
        if Verdict(name) not in {Verdict.BASE, Verdict.MISSING}
    }
    status = Verdict(verdict["status"])
    if is_running and not known:
        return None
    # The verdict of the cells with results tells more than that some are missing.
    is_told_otherwise = status is Verdict.MISSING and known
    worst = overview["worst"] if is_told_otherwise else next(iter(verdict["reasons"]), None)
    answer = _answer(document, is_running=is_running)
    decided = decision(document["batch"], document.get("steps") or ()) if answer else None
    said = (decided and decided["sentence"]) or answer
    return {
        "decision": decided,
        "tone": shown(_weightiest(worst, status, document["batch"]["plan"])).tone,
        "sentence": with_minus(
            said or _sentence(worst, overview["columns"]) + _elsewhere(document, worst)
        ),
        "why": "" if said else with_minus(_why(worst)),
        "more": " ".join(
            filter(None, (_tally(known, is_running=is_running), _of_base(base_counts)))
        ),
        "badge": shown(status.value),
        "cells": counted(verdict["reason_count"], "cell"),
        "exit_code": verdict["exit_code"],
        "exit": _exit(verdict, document["batch"]["plan"]),
        "is_final": not is_running,
        **_reasons(verdict, link_to),
    }


def _answer(document: Mapping[str, Any], *, is_running: bool) -> str | None:
    """Which patch does it, where the plan can tell and all of it is known."""
    answer: str | None = document.get("answer")
    # An integrity alarm comes before any patch.
    untold = {Verdict.MISSING, Verdict.INTEGRITY}
    is_told = not is_running and Verdict(document["verdict"]["status"]) not in untold
    return answer if is_told else None


def _weightiest(worst: Mapping[str, Any] | None, status: Verdict, plan: str) -> str:
    """The verdict that gives the box its tone: of an ablation the one on the whole."""
    return worst["verdict"] if worst and plan != "ablation" else status.value


def _exit(verdict: Mapping[str, Any], plan: str) -> str:
    """The exit code in words."""
    if plan == "ablation" and verdict["exit_code"] == 0:
        return "the whole is no worse than without any of its patches"
    return EXITS[verdict["exit_code"]]


def _sentence(worst: Mapping[str, Any] | None, columns: Sequence[Mapping[str, Any]]) -> str:
    """The worst verdict and its place, as a sentence."""
    if worst is None:
        return "Nothing to compare."
    known = {column["label"]: column["labels"] for column in columns}
    labels = known.get(worst["label"], [worst["label"]])
    does = SENTENCES[Verdict(worst["verdict"])]
    if _is_one(labels):
        verb, _, rest = does.partition(" ")
        does = f"{_OF_ONE.get(verb, verb + 's')} {rest}"
    return f"{_subject(labels)} {does} on {worst['trace_name']}."


def _why(worst: Mapping[str, Any] | None) -> str:
    """The reasons of the worst verdict, clause by clause."""
    # An error may be long; the trace's section shows it in full.
    clauses = ((worst and worst["text"]) or "").split("; ")
    return "; ".join(shorten(clause, _REASON_MAX, placeholder=" …") for clause in clauses)


def _elsewhere(document: Mapping[str, Any], worst: Mapping[str, Any] | None) -> str:
    """That a column differs from the base in more than patches: then no patch alone did it."""
    if worst is None:
        return ""
    batch, overview = document["batch"], document["overview"]
    of_digest = {column["variant"]["digest"]: column for column in batch["columns"]}
    first = of_digest.get(overview["columns"][0]["variant_digest"])
    column = of_digest.get(worst["variant_digest"])
    if first is None or column is None or column is first:
        return ""
    here, there = (each["variant"]["engine"] for each in (column, first))
    if here != there:
        return f" It is computed by another engine ({engine_word(here)}): no patch did it."
    if batch["plan"] == "matrix" or "patch_sets" not in batch:
        return ""
    bases = {row["id"]: row["base"] for row in batch["patch_sets"]}
    base = bases[column["patch_set_id"]]
    if base != bases[first["patch_set_id"]]:
        return f" It has another base ({base}): no patch alone did it."
    return ""


def _tally(known: Mapping[Verdict, int], *, is_running: bool) -> str:
    """How many cells have each verdict."""
    if not known:
        return ""
    listed = ", ".join(f"{count} {TALLIES[verdict]}" for verdict, count in known.items())
    lead = "So far, of" if is_running else "Of"
    return f"{lead} {counted(sum(known.values()), 'cell')} compared with the base: {listed}."


def _of_base(counts: Mapping[str, int]) -> str:
    """What is wrong with the base by itself, which is held against nothing."""
    wrong = {Verdict(name): count for name, count in counts.items() if Verdict(name).is_alarming}
    if not wrong:
        return ""
    listed = ", ".join(f"{count} {TALLIES[verdict]}" for verdict, count in wrong.items())
    return f"The base itself, on {counted(sum(counts.values()), 'trace')}: {listed}."


def _reasons(verdict: Mapping[str, Any], link_to: Callable[[str], str]) -> dict[str, Any]:
    """The cells behind the verdict, each with a link to its explanation."""
    told = [
        {
            "label": reason["label"],
            "trace": reason["trace_name"],
            "href": link_to(reason["trace_digest"]),
            "text": with_minus(reason["text"]),
        }
        for reason in verdict["reasons"][:REASONS_SHOWN]
    ]
    return {"reasons": told, "reasons_left": verdict["reason_count"] - len(told)}


def _is_one(labels: Sequence[str]) -> bool:
    """Whether a column is one patch or one named thing, and not several patches."""
    return len(labels) == 1 and (labels[0] == "1" or not _PREFIX.fullmatch(labels[0]))


def _subject(labels: Sequence[str]) -> str:
    """A column as the subject of a sentence: ``Patches 1-3``, or the name of a patch set."""
    if any(_PREFIX.fullmatch(label) is None for label in labels):
        return " = ".join(labels)
    noun = "Patch" if labels == ["1"] else "Patches"
    return f"{noun} {' and '.join(labels)}"
