"""Uploads as JSON."""

import uuid
from typing import Any

from pydantic import ConfigDict, Field

from services.api.schemas import Digest, Document, Time

_EXAMPLE: dict[str, Any] = {
    "id": "019ab5d0-7a3e-7c41-9d0e-3f6b1c2d4e5f",
    "state": "open",
    "size_bytes": 1073741824,
    "offset_bytes": 536870912,
    "digest": "9b1c3c8f0d6f4a5e8e1f7d2a4b6c8e0f1a3b5c7d9e0f2a4b6c8d0e1f3a5b7c9d",
    "error": None,
    "error_offset": None,
    "trace_id": None,
    "tree": None,
    "created_at": "2026-11-24T11:21:07.412Z",
    "expires_at": "2026-11-25T11:21:07.412Z",
}


class UploadDocument(Document):
    """An upload in several requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: uuid.UUID
    state: str = Field(
        description="`open`, `done` (see `trace_id` or `tree`) or `refused` (see `error`)"
    )
    size_bytes: int
    offset_bytes: int = Field(description="How many bytes are safe; resume at this offset")
    digest: Digest | None = Field(description="The announced sha256 of the file")
    error: str | None
    error_offset: int | None = Field(description="Byte of the trace with the first error")
    trace_id: uuid.UUID | None
    tree: Digest | None = Field(description="Digest of the packed tree that it became")
    created_at: Time
    expires_at: Time
