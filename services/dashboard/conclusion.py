"""The box at the top of a batch's page: what it comes to, and why.

The API answers the project's verdict, the one a CI job ends with; the page adds sentences and
decides nothing.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from refault.compare import Verdict
from services.dashboard.formats import counted
from services.dashboard.verdicts import EXITS, SENTENCES, TALLIES, shown

REASONS_SHOWN = 6
_REASON_MAX = 160
# The verdict on a cell, its column, and the name of its trace.
_Judged = tuple[Verdict, Mapping[str, Any], str]
# Labels of a series: so many of its first patches.
_PREFIX = re.compile(r"[0-9]+(-[0-9]+)?")


def conclusion(document: Mapping[str, Any], *, is_running: bool) -> dict[str, Any] | None:
    """What the comparison ``document`` of a batch comes to; None while there is nothing to say."""
    comparisons, verdict = document["comparisons"], document["verdict"]
    judged = [
        (Verdict(column["verdict"]["name"]), column, entry["trace"]["name"])
        for entry in comparisons
        for column in entry["columns"]
    ]
    known = [entry for entry in judged if entry[0] not in {Verdict.BASE, Verdict.MISSING}]
    status = Verdict(verdict["status"])
    if is_running and not known:
        return None
    worst: _Judged | None
    if status is Verdict.MISSING and known:
        # What the others say is worth more than that some are missing.
        worst = min(known, key=lambda entry: entry[0].rank)
    else:
        worst = _first(verdict["reasons"], comparisons)
    return {
        "tone": shown((worst[0] if worst else status).value).tone,
        "sentence": _sentence(worst),
        "more": _tally(known, is_running=is_running),
        "badge": shown(status.value),
        "cells": counted(verdict["reason_count"], "cell"),
        "exit_code": verdict["exit_code"],
        "exit": EXITS[verdict["exit_code"]],
        "is_final": not is_running,
        **_reasons(verdict, comparisons),
    }


def _first(
    reasons: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]
) -> _Judged | None:
    """The first cell that the verdict rests on."""
    for reason in reasons:
        for entry in comparisons:
            for column in entry["columns"]:
                if entry["trace"]["digest"] == reason["trace_digest"] and (
                    column["label"] == reason["label"]
                ):
                    return Verdict(reason["verdict"]), column, entry["trace"]["name"]
    return None


def _sentence(worst: _Judged | None) -> str:
    """The worst verdict, where it is and why."""
    if worst is None:
        return "There is nothing to compare."
    verdict, column, trace_name = worst
    # An error may be long; the trace's own section has all of it.
    reason = shorten(column["reason"] or "", _REASON_MAX, placeholder=" …")
    why = f": {reason}" if reason else ""
    sentence = f"{_subject(column['labels'])} {SENTENCES[verdict]} on {trace_name}{why}"
    return sentence if sentence.endswith("…") else f"{sentence}."


def _tally(known: Sequence[_Judged], *, is_running: bool) -> str:
    """How many cells of each kind there are."""
    if not known:
        return ""
    counts = Counter(verdict for verdict, _, _ in known)
    listed = ", ".join(f"{count} {TALLIES[verdict]}" for verdict, count in counts.items())
    lead = "So far, of" if is_running else "Of"
    return f"{lead} {counted(len(known), 'cell')} held against the base: {listed}."


def _reasons(
    verdict: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The cells that made the verdict, each with the place on the page where it is explained."""
    anchors = {entry["trace"]["digest"]: number for number, entry in enumerate(comparisons, 1)}
    told = [
        {
            "label": reason["label"],
            "trace": reason["trace_name"],
            "anchor": f"trace-{anchors.get(reason['trace_digest'], 1)}",
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
