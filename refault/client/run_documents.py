"""The JSON document of one run."""

from __future__ import annotations

from typing import Any, TypedDict

from refault.client.documents import RunDocument


class RunAuditDocument(TypedDict):
    """The audit of a run; ``report`` is null until ``state`` is ``done``."""

    level: str
    state: str
    error: str | None
    report: dict[str, Any] | None


class RunDetailDocument(RunDocument, total=False):
    """One run with its result, and how it came by it; services of before send less."""

    simulator_digest: str
    is_stale: bool
    has_integrity_alarm: bool
    batch_code: str
    trace_name: str
    labels: list[str]
    base_id: str | None
    worker: str | None
    attempt: int | None
    started_at: str | None
    computed_at: str | None
    crash: str | None
    audit: RunAuditDocument | None
