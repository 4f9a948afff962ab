"""The page of a run, from the documents of the API: cells, sentences and links."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from refault.client import RunDocument
from refault.client.run_documents import RunDetailDocument
from refault.compare.timelines import VIEWS
from refault.compare.titles import WRONG, engine_word
from services.dashboard.audits import audit_of, look_at
from services.dashboard.formats import change, grouped, with_minus
from services.dashboard.run_charts import VIEW_WORDS, Course, attribution_of, beside_of, timeline_of
from services.dashboard.trace_section import INSPECTED
from services.dashboard.verdicts import shown, state_sign

_FINDINGS_SHOWN = 8
_OPEN = ("queued", "running")


def page_of(
    run: RunDetailDocument,
    *,
    siblings: Sequence[RunDocument],
    comparison: Mapping[str, Any],
    timelines: Mapping[str, Any] | None,
    attribution: Mapping[str, Any] | None,
    course: Course,
) -> dict[str, Any]:
    """Everything the template of the page needs."""
    batch, label = comparison["batch"], ", ".join(run["labels"])
    labels = _labels(batch)
    mine, base = _columns(run, comparison)
    refusal = mine.get("refusal") if mine else None
    variant = run["variant"]
    text = variant["text"] if variant["engine"] in INSPECTED else None
    sign, tone = state_sign(run["state"])
    return {
        "label": label,
        "sign": sign,
        "tone": tone,
        "is_open": run["state"] in _OPEN,
        "engine": engine_word(variant["engine"]),
        "verdict": None if mine is None else shown(mine["verdict"]["name"]),
        "reason": "" if mine is None else with_minus(mine["reason"]),
        "base_label": None if base is None else base["label"],
        "retryable_count": batch["retryable_count"] if not batch["is_stale"] else 0,
        "again": None if batch["is_stale"] or refusal else _again(run),
        "refusal": refusal,
        **_split(_groups(run, comparison, mine)),
        "timeline": timelines and timeline_of(run["id"], timelines, course),
        "beside": beside_of(run, siblings, labels, course),
        "views": [
            {"name": name, "word": VIEW_WORDS[name], "is_chosen": name == course.view}
            for name in VIEWS
        ],
        "split": course.split,
        "attribution": attribution and attribution_of(run["id"], attribution, course),
        "findings": _findings(run, text),
        "audit": _audit(run, label, text),
        "provenance": _provenance(run),
        "commands": _commands(run, siblings),
        "look": None if text is None else _asking(run, variant=text),
        "diverge": _diverge(run, siblings),
    }


def _again(run: RunDetailDocument) -> str:
    """The cell as the form that runs it again names it."""
    cell = {"trace": run["trace_digest"], "variant": run["variant"]["digest"]}
    return urlencode(cell | ({"crashed": "yes"} if run["state"] == "crashed" else {}))


def _labels(batch: Mapping[str, Any]) -> dict[str, str]:
    """The labels of each variant of the batch."""
    found: dict[str, list[str]] = {}
    for column in batch["columns"]:
        found.setdefault(column["variant"]["digest"], []).append(column["label"])
    return {digest: ", ".join(labels) for digest, labels in found.items()}


def _columns(
    run: RunDetailDocument, comparison: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The run's column of the comparison, and the base if that is another."""
    [compared] = comparison["comparisons"] or [None]
    if compared is None:
        return None, None
    columns = compared["columns"]
    for column in columns:
        if column["variant_digest"] == run["variant"]["digest"]:
            return column, columns[0] if column is not columns[0] else None
    return None, None


# --- counters -----------------------------------------------------------------------------------


def _groups(
    run: RunDetailDocument, comparison: Mapping[str, Any], mine: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    result = run.get("result")
    if result is None or mine is None:
        return []
    [compared] = comparison["comparisons"]
    place = compared["columns"].index(mine)
    is_judged = not mine["verdict"]["is_alarming"]
    rows = [_counter(row, place, is_judged=is_judged) for row in compared["counters"]]
    costs = [row for row in rows if row["is_cost"]]
    seen = [_seen(row, place) for row in compared["semantics"]]
    answers = result.get("answers") or {}
    groups = [
        ("What the guest saw", seen),
        ("Host work, less is better", costs),
        ("Other counters", [row for row in rows if not row["is_cost"]]),
        ("Answers to the guest and the host", _plain(answers | (result.get("logs") or {}))),
        ("Events not replayed, or not as they were", _plain(result["skipped"])),
    ]
    return [{"title": title, "rows": found} for title, found in groups if found]


def _split(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The groups without counters that are zero here and under the base; and those, by name.

    Zeros of what the guest saw say something: they stay.
    """
    if not groups:
        return {"groups": [], "zeros": []}
    seen, *others = groups
    zeros = [row["name"] for group in others for row in group["rows"] if _is_zero(row)]
    kept = [
        {**group, "rows": [row for row in group["rows"] if not _is_zero(row)]} for group in others
    ]
    return {"groups": [seen, *(group for group in kept if group["rows"])], "zeros": zeros}


def _is_zero(row: Mapping[str, Any]) -> bool:
    return row["value"] == "0" and row["base"] in {"0", ""}


def _counter(row: Mapping[str, Any], place: int, *, is_judged: bool) -> dict[str, Any]:
    delta = row["changes"][place] if place else None
    told = "=" if delta == 0 else ""
    if delta:
        told = change(delta, row["percents"][place])
    tone = ""
    # No colour below the threshold, nor where the guest saw something wrong.
    if delta and row["is_cost"] and is_judged and row["notable"][place]:
        tone = "more" if delta > 0 else "less"
    return {
        "name": row["name"],
        "is_cost": row["is_cost"],
        "value": grouped(row["values"][place]),
        "base": grouped(row["values"][0]),
        "change": told,
        "tone": tone,
        "is_wrong": False,
    }


def _seen(row: Mapping[str, Any], place: int) -> dict[str, Any]:
    value = row["values"][place]
    return {
        "name": row["name"],
        "value": grouped(value),
        "base": grouped(row["values"][0]),
        "change": "",
        "tone": "",
        "is_wrong": bool(value) and row["name"] in WRONG,
    }


def _plain(numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {"name": name, "value": grouped(number), "base": "", "change": "", "tone": "",
         "is_wrong": False}
        for name, number in numbers.items()
    ]  # fmt: skip


# --- findings, provenance, commands -------------------------------------------------------------


def _findings(run: RunDetailDocument, text: str | None) -> dict[str, Any]:
    result = run.get("result") or {}
    found = list(result.get("findings") or ())
    stopped = result.get("stopped")
    if stopped is not None and stopped not in found:
        found.insert(0, stopped)
    rows = [
        {
            **entry,
            "is_last": entry == stopped,
            "look": look_at(run["trace_digest"], text, entry, gva=entry["gva"]),
        }
        for entry in found
    ]
    return {
        "count": grouped(max(result.get("finding_count") or 0, len(found))),
        "is_all": (result.get("finding_count") or 0) <= len(found),
        "kept": len(found),
        "rows": rows[:_FINDINGS_SHOWN],
        "more": rows[_FINDINGS_SHOWN:],
    }


def _audit(run: RunDetailDocument, label: str, text: str | None) -> dict[str, Any] | None:
    audit = run.get("audit")
    if audit is None:
        return None
    report = audit["report"]
    told = None
    if report is not None:
        checks = {each["check"]: each["title"] for each in report["broken"]}
        section = {
            "reports": [report],
            "failed": [{"check": name, "title": title} for name, title in checks.items()],
        }
        texts = {} if text is None else {run["variant"]["digest"]: text}
        told = audit_of({"columns": [{"label": label}], "audit": section}, texts)
    return {
        "level": audit["level"],
        "state": audit["state"],
        "is_open": audit["state"] in _OPEN,
        "error": audit["error"],
        "told": told,
        "report": report
        and {name: grouped(report[name]) for name in ("operation_count", "sweeps", "accesses")},
        "stopped": report and report["stopped"],
    }


def _provenance(run: RunDetailDocument) -> list[dict[str, Any]]:
    variant, result = run["variant"], run.get("result") or {}
    real = variant["golden_name"]
    is_model = variant["engine"] == "shadow"
    facts = [
        ("Trace", run["trace_digest"], "digest"),
        ("Variant", variant["name"], ""),
        ("Variant digest", variant["digest"], "digest"),
        ("Engine", engine_word(variant["engine"]), ""),
        ("Engine digest", run.get("simulator_digest"), "digest"),
        ("Real kernel code", real or ("never run with these patches" if is_model else "–"), ""),
        ("Result digest", run.get("result_digest"), "digest"),
        ("Outcome digest", result.get("outcome_digest"), "digest"),
        ("Page digest", result.get("page_digest"), "digest"),
        ("Computed by", run.get("worker"), ""),
        ("Result computed", run.get("computed_at"), "time"),
        ("Attempt", run.get("attempt"), ""),
        ("Attempt began", run.get("started_at"), "time"),
        ("Run ended", run.get("finished_at"), "time"),
        ("Attempt took", _took(run), ""),
        ("Run", run["id"], "digest"),
    ]
    return [
        {"name": name, "value": value, "kind": kind}
        for name, value, kind in facts
        if value not in {None, ""}
    ]


def _took(run: RunDetailDocument) -> str | None:
    began, ended = run.get("started_at"), run.get("finished_at")
    if not began or not ended:
        return None
    took = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    return f"{took.total_seconds():.1f} s, with the other runs of its shard"


def _pair(run: RunDetailDocument, siblings: Sequence[RunDocument]) -> dict[str, str]:
    """The fields of a question for the divergence of this run from its base."""
    base = next((each for each in siblings if each["id"] == run.get("base_id")), None)
    if base is None:
        return {}
    return {
        "trace": run["trace_digest"],
        "variant": base["variant"]["text"],
        "second": run["variant"]["text"],
    }


def _diverge(run: RunDetailDocument, siblings: Sequence[RunDocument]) -> str | None:
    pair = _pair(run, siblings)
    if not pair or run["state"] not in {"done", "cached"}:
        return None
    return "/questions/new?" + urlencode({"kind": "divergence", **pair})


def _asking(run: RunDetailDocument, **asked: str) -> str:
    return "/questions/new?" + urlencode({"trace": run["trace_digest"], **asked})


def _commands(run: RunDetailDocument, siblings: Sequence[RunDocument]) -> list[dict[str, str]]:
    file, text = f"{_file_of(run['trace_name'], run['trace_digest'])}.rft", run["variant"]["text"]
    pair = _pair(run, siblings)
    commands = [
        ("The same bytes, checked against this result", ["refault", "repro", run["id"]]),
        ("The same counters, from the trace’s file", ["refault", "replay", file, "-v", text]),
        ("The same timeline and attribution", ["refault", "profile", file, "-v", text]),
    ]
    if pair:
        words = ["refault", "diverge", file, pair["variant"], pair["second"]]
        commands.append(("Where it first differs from the base", words))
    return [
        {"title": title, "id": f"command-{number}", "text": shlex.join(words)}
        for number, (title, words) in enumerate(commands, 1)
    ]


def _file_of(name: str, digest: str) -> str:
    """The likely name of the file; the digest's beginning where it would need quoting."""
    return name if shlex.quote(name) == name and not name.startswith("-") else digest[:12]
