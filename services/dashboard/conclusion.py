"""The box at the top of a batch's page: the verdict and its reasons.

The API gives the project's verdict, the same as a CI job gets; the page only adds sentences.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from textwrap import shorten
from typing import Any

from refault.compare import Verdict
from services.dashboard.formats import counted
from services.dashboard.verdicts import EXITS, SENTENCES, TALLIES, shown

REASONS_SHOWN = 6
_REASON_MAX = 160
# Labels of a series' prefixes: 1, 1-2, 1-3, …
_PREFIX = re.compile(r"[0-9]+(-[0-9]+)?")


def conclusion(
    document: Mapping[str, Any], link_to: Callable[[str], str], *, is_running: bool
) -> dict[str, Any] | None:
    """The conclusion of a batch's comparison ``document``; None while there is none.

    ``link_to`` gives the address of a trace's section.
    """
    overview, verdict = document["overview"], document["verdict"]
    counts = Counter(name for trace in overview["traces"] for name in trace["verdicts"])
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
    return {
        "tone": shown(worst["verdict"] if worst else status.value).tone,
        "sentence": _sentence(worst, overview["columns"]),
        "more": _tally(known, is_running=is_running),
        "badge": shown(status.value),
        "cells": counted(verdict["reason_count"], "cell"),
        "exit_code": verdict["exit_code"],
        "exit": EXITS[verdict["exit_code"]],
        "is_final": not is_running,
        **_reasons(verdict, link_to),
    }


def _sentence(worst: Mapping[str, Any] | None, columns: Sequence[Mapping[str, Any]]) -> str:
    """The worst verdict, its place and reason, as a sentence."""
    if worst is None:
        return "Nothing to compare."
    # An error may be long; the trace's section shows it in full.
    reason = shorten(worst["text"] or "", _REASON_MAX, placeholder=" …")
    why = f": {reason}" if reason else ""
    labels = {column["label"]: column["labels"] for column in columns}[worst["label"]]
    does = SENTENCES[Verdict(worst["verdict"])]
    sentence = f"{_subject(labels)} {does} on {worst['trace_name']}{why}"
    return sentence if sentence.endswith("…") else f"{sentence}."


def _tally(known: Mapping[Verdict, int], *, is_running: bool) -> str:
    """How many cells have each verdict."""
    if not known:
        return ""
    listed = ", ".join(f"{count} {TALLIES[verdict]}" for verdict, count in known.items())
    lead = "So far, of" if is_running else "Of"
    return f"{lead} {counted(sum(known.values()), 'cell')} compared with the base: {listed}."


def _reasons(verdict: Mapping[str, Any], link_to: Callable[[str], str]) -> dict[str, Any]:
    """The cells behind the verdict, each with a link to its explanation."""
    told = [
        {
            "label": reason["label"],
            "trace": reason["trace_name"],
            "href": link_to(reason["trace_digest"]),
            "text": reason["text"],
        }
        for reason in verdict["reasons"][:REASONS_SHOWN]
    ]
    return {"reasons": told, "reasons_left": verdict["reason_count"] - len(told)}


def _subject(labels: Sequence[str]) -> str:
    """A column as the subject of a sentence: ``Patches 1-3``, or the name of a patch set."""
    if any(_PREFIX.fullmatch(label) is None for label in labels):
        return " = ".join(labels)
    noun = "Patch" if labels == ["1"] else "Patches"
    return f"{noun} {' and '.join(labels)}"
