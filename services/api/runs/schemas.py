"""Runs as JSON."""

import uuid
from typing import Any, Literal

from pydantic import Field

from refault.compare.timelines import View
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


class RunAudit(Document):
    """The audit that the run's batch asked for."""

    level: str
    state: str = Field(description="queued, running, done or failed, as of a question")
    error: str | None
    report: dict[str, Any] | None = Field(
        description="As `refault audit --json` has it; null until it is done"
    )


class RunDetail(RunSummary):
    """One run with its result, and how it came by it."""

    batch_code: str
    trace_name: str
    labels: list[str] = Field(description="The columns of its batch that are of its variant")
    base_id: uuid.UUID | None = Field(
        description="The run of the same trace under the batch's base; null if this is it"
    )
    worker: str | None = Field(description="Who computed the result; null: no longer known")
    attempt: int | None = Field(description="Of its shard; null where the result was known")
    started_at: Time | None = Field(description="When that attempt began")
    computed_at: Time | None = Field(description="When the result was first stored")
    crash: str | None = Field(description="Of the simulator: the exception and where")
    audit: RunAudit | None = Field(description="Null where the batch is not audited")
    simulator_digest: Digest = Field(description="The version of the variant's engine")
    is_stale: bool = Field(description="The workers run another version of that engine now")
    result: dict[str, Any] | None = Field(description="Counters, semantics, findings, digests")
    result_digest: Digest | None = Field(
        description="sha256 of the result; equal results have equal digests"
    )
    integrity_alarm: dict[str, Any] | None = Field(
        description="Set when the same digests once gave other bytes: do not trust its numbers"
    )


class TimelinesBeside(Document):
    """Runs of one trace over the same slices of the guest's time."""

    runs: list[uuid.UUID]
    labels: list[str] = Field(description="What the batch calls each run's column")
    view: View
    unit: str = Field(description="instructions or events: what `ends` and marks are counted in")
    ends: list[int] = Field(description="Where each slice ends")
    counters: list[str]
    available: list[str] = Field(description="Every counter that all of the runs have")
    values: dict[str, list[list[int | None]]] = Field(
        description="By counter, then by run, then by slice; null: the run had ended before"
    )
    marks: list[dict[str, Any]] = Field(description="number, name, events, instructions")
    mark_count: int
    missing: dict[str, str] = Field(description="What an engine does not yield, and why")


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
