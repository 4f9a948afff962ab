"""Batches and traces as rows of lists."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from refault.client import BatchDocument, Page, TraceDocument
from refault.compare.titles import PLANNED
from services.dashboard.formats import duration, with_minus
from services.dashboard.verdicts import shown, state_sign

_REASON_MAX = 110
_GUESTS = {
    "long": "64-bit guest",
    "long5": "64-bit guest with five levels",
    "pae": "PAE guest",
    "32bit": "32-bit guest",
    "nonpaging": "guest without paging",
    "mixed": "guest that changes modes",
}
# The sentence of a batch that has ended without a verdict of its own.
_ENDED = {"failed": "some runs failed", "cancelled": "cancelled"}


def rows_of(page: Page[Any], shape: Any) -> dict[str, Any]:
    """The rows of a page of a list, and the cursor of the next."""
    return {
        "rows": [shape(item) for item in page["items"]],
        "next_cursor": page["next_cursor"],
    }


def batch_row(batch: BatchDocument) -> dict[str, Any]:
    """A batch as lists show it: its verdict once it is over, its progress before."""
    progress = batch["progress"]
    is_open = batch["state"] in {"queued", "running"}
    return {
        "code": batch["code"],
        "title": batch.get("title", ""),
        "is_open": is_open,
        "badge": _badge(batch),
        "note": _note(batch),
        "plan": batch["plan"],
        "is_stale": batch["is_stale"],
        "alarm_count": batch["integrity_alarms"],
        "patch_sets": _named_some(batch["patch_sets"], batch["patch_set_count"])
        + PLANNED.get(batch["plan"], ""),
        "traces": _named_some(batch["traces"], batch["trace_count"]),
        "finished": progress["finished"],
        "total": progress["total"],
        "cached": progress["cached"],
        "submitter": maker(batch.get("submitted_by")),
        "created_at": batch["created_at"],
        **(_pace(batch) if is_open else {}),
    }


def trace_row(trace: TraceDocument) -> dict[str, Any]:
    """A trace as lists show it."""
    return {**trace, "guest_title": guest(trace)}


def guest(trace: TraceDocument) -> str:
    """The kind of guest, and its vCPUs."""
    vcpus = "1 vCPU" if trace["vcpu_count"] == 1 else f"{trace['vcpu_count']} vCPUs"
    return f"{guest_mode(trace['guest_mode'])}, {vcpus}"


def guest_mode(name: str) -> str:
    """The kind of guest in words."""
    return _GUESTS.get(name, name)


def maker(name: str | None) -> str:
    """Who made it: ``anna``, ``token ci``; a dash where nobody knows."""
    return (name or "–").removeprefix("user ")


def _badge(batch: BatchDocument) -> dict[str, str]:
    """Sign, word and tone: of the verdict, else of the state."""
    verdict = batch.get("verdict")
    if verdict is not None:
        return shown(verdict["status"])._asdict()
    if batch["state"] == "done":
        # It is over, and whether all is well with it is not known.
        return {"title": "being judged", "sign": "…", "tone": "missing"}
    sign, tone = state_sign(batch["state"])
    return {"title": batch["state"], "sign": sign, "tone": tone}


def _note(batch: BatchDocument) -> str:
    """Why it has this verdict: the first cell of it."""
    verdict = batch.get("verdict")
    told = [_ENDED[batch["state"]]] if batch["state"] in _ENDED else []
    if verdict and verdict["reasons"]:
        reason = verdict["reasons"][0]
        because = f": {reason['text']}" if reason["text"] else ""
        more = verdict["reason_count"] - 1
        told.append(f"{reason['label']} on {reason['trace_name']}{because}")
        if more:
            told.append(f"{more:,} more {'cell' if more == 1 else 'cells'} like it")
    return with_minus(shorten("; ".join(told), _REASON_MAX, placeholder=" …"))


def _pace(batch: BatchDocument) -> dict[str, Any]:
    """How far a batch is, how fast, and for how long yet."""
    progress = batch["progress"]
    pace: Mapping[str, Any] = batch.get("pace") or {}
    rate, left = pace.get("events_per_second"), pace.get("seconds_left")
    return {
        "events_done": progress.get("events_done") or 0,
        "events_total": progress.get("events_total") or 0,
        "rate": None if rate is None else f"{rate:,.0f} events a second",
        "left": "waits for a worker" if left is None else f"about {duration(left)} left",
    }


def _named_some(entries: Sequence[Mapping[str, Any]], count: int) -> str:
    """The first names, and how many more there are."""
    names = ", ".join(entry["name"] for entry in entries)
    left = count - len(entries)
    return f"{names} and {left} more" if left > 0 else names
