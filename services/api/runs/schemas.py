"""Runs as JSON."""

import uuid
from typing import Any, Literal

from pydantic import Field

from services.api.patch_sets.schemas import Variant
from services.api.schemas import Digest, Document, Time

RunState = Literal["queued", "running", "done", "cached", "crashed", "failed", "cancelled"]


class RunSummary(Document):
    """One trace under one variant, without its result."""

    id: uuid.UUID
    batch_id: uuid.UUID
    trace_id: uuid.UUID
    trace_digest: Digest
    variant: Variant
    state: str = Field(
        description="queued, running, done, cached (was known), crashed, failed, cancelled"
    )
    error: str | None
    has_integrity_alarm: bool = Field(description="Computed again, its result had other bytes")
    created_at: Time
    finished_at: Time | None


class RunDetail(RunSummary):
    """One run with its result."""

    simulator_digest: Digest = Field(description="The version of the variant's engine")
    is_stale: bool = Field(description="The workers run another version of that engine now")
    result: dict[str, Any] | None = Field(description="Counters, semantics, findings, digests")
    result_digest: Digest | None = Field(
        description="sha256 of the result; equal results have equal digests"
    )
    integrity_alarm: dict[str, Any] | None = Field(
        description="Set when the same digests once gave other bytes: do not trust its numbers"
    )


class RunTimeline(Document):
    """How a run's counters went over the guest's time."""

    key: Digest = Field(description="sha256 of the document's key: trace, variant, engine")
    digest: Digest = Field(description="sha256 of the document: equal keys name equal bytes")
    timeline: dict[str, Any] = Field(
        description="unit, interval, series by name (columns of equal length), marks"
    )


class RunAttribution(Document):
    """What a run's counters came from."""

    key: Digest = Field(description="sha256 of the document's key: trace, variant, engine")
    digest: Digest = Field(description="sha256 of the document: equal keys name equal bytes")
    attribution: dict[str, Any] = Field(
        description="totals, views (cause, region, address_space, mark), tables, memory"
    )
