"""What audits found, on the page of a batch: every failed check, with where and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from refault.client import BatchDocument
from services.dashboard.formats import counted

_VIEWS = ("gva", "gfn")


def audits_of(batch: BatchDocument) -> str:
    """How far the audits of a batch are; empty if it has none."""
    audits = batch.get("audits")
    if audits is None:
        return ""
    over = f"audits ({audits['level']}): {audits['done']} of {audits['total']} done"
    return over + (f", {audits['failed']} without an answer" if audits["failed"] else "")


def is_auditing(batch: BatchDocument) -> bool:
    """Whether audits of finished runs are still to come; a cancelled batch waits for none."""
    audits = batch.get("audits")
    if audits is None or batch["state"] == "cancelled":
        return False
    return audits["done"] + audits["failed"] < audits["total"]


def audit_of(comparison: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any] | None:
    """The audits of a trace's columns; None where none is there yet.

    ``texts`` has what ``-v`` names each variant, by digest.
    """
    section = comparison.get("audit")
    if section is None:
        return None
    labels = [column["label"] for column in comparison["columns"]]
    reports = list(zip(labels, section["reports"], strict=True))
    levels = dict.fromkeys(report["level"] for _, report in reports if report is not None)
    rows = [_row(failed["check"], failed["title"], reports, texts) for failed in section["failed"]]
    sound = [label for label, report in reports if report is not None and not report["broken"]]
    missing = [label for label, report in reports if report is None]
    rest = f"No check failed in {', '.join(sound)}. " if sound else ""
    rest += f"Not audited: {', '.join(missing)}." if missing else ""
    return {
        "title": f"Audit ({', '.join(levels)})",
        "rows": rows,
        "rest": rest.strip(),
    }


def alone(report: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The answer of one audit: in a sentence whether anything failed, and what."""
    texts = {report["variant_digest"]: label}
    titles = {broken["check"]: broken["title"] for broken in report["broken"]}
    rows = [_row(check, title, [(label, report)], texts) for check, title in titles.items()]
    known = sum(all(found["exception"] for found in row["found"]) for row in rows)
    told = counted(len(rows), "check") + " failed" if rows else "No check failed"
    if known:
        told += ", all known exceptions" if known == len(rows) else f", {known} by known exceptions"
    return {
        "kind": "audit",
        "title": told,
        "looked": f"{counted(report['sweeps'], 'sweep')} of the whole MMU and "
        f"{counted(report['accesses'], 'access')} checked, over "
        f"{counted(report['operation_count'], 'operation')}.",
        "stopped": report["stopped"],
        "rows": rows,
    }


def audited_of(comparison: Mapping[str, Any]) -> frozenset[str]:
    """The digests of the variants of which a check failed on this trace."""
    reports = comparison.get("audit", {}).get("reports", ())
    return frozenset(report["variant_digest"] for report in reports if report and report["broken"])


def look_at(
    trace: str, variant: str | None, place: Mapping[str, Any], **view: str | None
) -> str | None:
    """The link to a form that asks for the MMU right after a finding; None for no variant."""
    if variant is None:
        return None
    asked = {
        "trace": trace,
        "variant": variant,
        "operation": int(place["operation_index"]) + 1,
        "vcpu": place["vcpu"],
        **view,
    }
    return "/questions/new?" + urlencode(
        {name: value for name, value in asked.items() if value is not None}
    )


def _row(
    check: str,
    title: str,
    reports: list[tuple[str, Mapping[str, Any] | None]],
    texts: Mapping[str, str],
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
            "look": look_at(
                report["trace_digest"],
                texts.get(report["variant_digest"]),
                broken,
                **_view(broken),
            ),
        }
        for label, report in reports
        if report is not None
        for broken in report["broken"]
        if broken["check"] == check
    ]
    return {"check": check, "title": title, "found": found}


def _view(broken: Mapping[str, Any]) -> dict[str, str | None]:
    """What a view of the finding shows: its address, or its table."""
    return {broken["address_kind"]: broken["address"]} if broken["address_kind"] in _VIEWS else {}
