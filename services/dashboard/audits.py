"""What audits found, on the page of a batch: every failed check, with where and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refault.client import BatchDocument
from services.dashboard.formats import counted


def audits_of(batch: BatchDocument) -> str:
    """How far the audits of a batch are; empty if it has none."""
    audits = batch.get("audits")
    if audits is None:
        return ""
    over = f"audits ({audits['level']}): {audits['done']} of {audits['total']} done"
    return over + (f", {audits['failed']} without an answer" if audits["failed"] else "")


def audit_of(comparison: Mapping[str, Any]) -> dict[str, Any] | None:
    """The audits of a trace's columns; None where none is there yet."""
    section = comparison.get("audit")
    if section is None:
        return None
    labels = [column["label"] for column in comparison["columns"]]
    reports = list(zip(labels, section["reports"], strict=True))
    levels = dict.fromkeys(report["level"] for _, report in reports if report is not None)
    rows = [_row(failed["check"], failed["title"], reports) for failed in section["failed"]]
    sound = [label for label, report in reports if report is not None and not report["broken"]]
    missing = [label for label, report in reports if report is None]
    rest = f"No check failed in {', '.join(sound)}. " if sound else ""
    rest += f"Not audited: {', '.join(missing)}." if missing else ""
    return {
        "title": f"Audit ({', '.join(levels)})",
        "rows": rows,
        "rest": rest.strip(),
    }


def _row(
    check: str, title: str, reports: list[tuple[str, Mapping[str, Any] | None]]
) -> dict[str, Any]:
    found = [
        {
            "label": label,
            "places": counted(broken["count"], "place"),
            "operation": broken["operation_index"],
            "event": broken["event_index"],
            "text": broken["operation"],
            "got": broken["got"],
            "want": broken["want"],
            "exception": broken["exception"],
            "cause": broken["cause"],
        }
        for label, report in reports
        if report is not None
        for broken in report["broken"]
        if broken["check"] == check
    ]
    return {"check": check, "title": title, "found": found}
