"""Traces as JSON."""

import uuid
from typing import Any

from pydantic import ConfigDict, Field

from services.api.schemas import Digest, Document, Time

_EXAMPLE: dict[str, Any] = {
    "id": "019ab5d0-7a3e-7c41-9d0e-3f6b1c2d4e5f",
    "digest": "9b1c3c8f0d6f4a5e8e1f7d2a4b6c8e0f1a3b5c7d9e0f2a4b6c8d0e1f3a5b7c9d",
    "name": "workload-1vcpu",
    "content": "capture",
    "guest_mode": "long",
    "vcpu_count": 1,
    "size_bytes": 912384,
    "event_count": 4812733,
    "instruction_count": 2210934857,
    "truncated": False,
    "events_by_kind": {"ACCESS": 4720116, "TABLE_STORE": 61022, "CR": 5120},
    "created_at": "2026-11-24T11:21:07.412Z",
}


class TraceSummary(Document):
    """A stored trace as lists show it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: uuid.UUID
    digest: Digest
    name: str
    content: str = Field(description="`capture` of a guest, or `operations` as they stand")
    guest_mode: str
    vcpu_count: int
    size_bytes: int
    event_count: int
    instruction_count: int
    truncated: bool = Field(description="The file ended before its closing index")
    events_by_kind: dict[str, int]
    created_at: Time


class TraceDetail(TraceSummary):
    """A stored trace with its header."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE | {"header": {"capture_tool": "qemu-plugin"}}]}
    )

    header: dict[str, Any]
