"""The JSON documents of questions, and of audits in a batch."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class QuestionDocument(TypedDict):
    """What was asked of a trace and variants; lists leave ``answer`` and ``text`` out."""

    id: str
    kind: str
    trace: dict[str, Any]
    variants: list[dict[str, Any]]
    options: dict[str, Any]
    state: str
    error: str | None
    document: str
    bytes_done: int
    bytes_total: int
    attempt: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    answer: NotRequired[dict[str, Any] | None]
    text: NotRequired[str | None]


class AuditsDocument(TypedDict):
    """How far the audits of a batch are."""

    level: str
    total: int
    done: int
    failed: int
