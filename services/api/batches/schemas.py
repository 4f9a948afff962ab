"""Batches as JSON."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from db.models.batches import BATCH_TITLE_LENGTH_MAX, PRIORITY_DEFAULT, PRIORITY_MAX
from services.api.patch_sets.schemas import Schedule, Variant
from services.api.schemas import Body, Digest, Document, Facet, Time
from services.api.workers.schemas import StartingWorker

TRACES_MAX = 1_000
PATCH_SETS_MAX = 100
BatchTitle = Annotated[str, Field(max_length=BATCH_TITLE_LENGTH_MAX)]


class TraceQuery(Body):
    """Traces by their metadata; all conditions must match."""

    tags: list[str] = Field(default_factory=list, max_length=20)
    q: str | None = Field(
        None, min_length=1, description="Part of a name, or the beginning of a digest"
    )
    content: Literal["capture", "operations"] | None = None


AXIS_VALUES_MAX = 50


class Axes(Body):
    """What a matrix varies; every combination of the values is a column of each patch set."""

    base: list[str] | None = Field(None, min_length=1, max_length=AXIS_VALUES_MAX)
    page_limit: list[int | Schedule | None] | None = Field(
        None, min_length=1, max_length=AXIS_VALUES_MAX
    )
    bypass: list[int | None] | None = Field(None, min_length=1, max_length=AXIS_VALUES_MAX)
    host_page_level: list[int] | None = Field(None, min_length=1, max_length=AXIS_VALUES_MAX)
    tlb: list[int] | None = Field(None, min_length=1, max_length=AXIS_VALUES_MAX)
    tdp: list[int] | None = Field(None, min_length=1, max_length=AXIS_VALUES_MAX)


class BatchBody(Body):
    """A batch to submit: every trace under every patch set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "traces": ["9b1c3c8f"],
                    "patch_sets": ["019ab5d0-91c4-7b02-8a6d-1b2c3d4e5f60"],
                    "plan": "series",
                    "recompute": False,
                }
            ]
        }
    )

    traces: list[str] = Field(
        default_factory=list, max_length=TRACES_MAX, description="Ids or digests"
    )
    trace_query: TraceQuery | None = Field(
        None, description="Adds every matching trace, in the order of upload"
    )
    patch_sets: list[uuid.UUID] = Field(max_length=PATCH_SETS_MAX)
    plan: Literal["each", "series", "ablation", "matrix"] = Field(
        "each",
        description="each: a column per patch set; series: one per prefix of each; "
        "ablation: each whole, and without each of its patches; matrix: each under `axes`",
    )
    axes: Axes | None = Field(None, description="Plan matrix: what to vary, and over which values")
    priority: int = Field(
        PRIORITY_DEFAULT, ge=0, le=PRIORITY_MAX, description="The highest number runs first"
    )
    audit: Literal["sampled", "flush", "every"] | None = Field(
        None,
        description="Check the invariants of every run, this closely: verdicts then say what a "
        "patch breaks and what it repairs",
    )
    recompute: bool = Field(
        default=False, description="Compute known results again, and raise an alarm if bytes differ"
    )
    title: BatchTitle = Field(
        "", description="What people call it; empty: the names of its patch sets say what it is"
    )


class BatchChange(Body):
    """Another title."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "v3, on the big guests"}]})

    title: BatchTitle


class TraceReference(Document):
    """A trace as a batch names it."""

    id: uuid.UUID
    digest: Digest
    name: str


class PatchSetReference(Document):
    """A patch set as a batch names it."""

    id: uuid.UUID
    name: str
    base: str
    patches: list[str]


class Column(Document):
    """A column of the comparison."""

    label: str
    patch_set_id: uuid.UUID
    prefix_length: int | None = Field(
        description="The number of patches, from the first; null: all"
    )
    variant: Variant


class Progress(Document):
    """How many runs are in which state; `finished` ones do not change any more."""

    total: int
    done: int = Field(description="Runs with a result, `cached` ones included")
    cached: int = Field(description="Their result was known; nothing was simulated")
    failed: int
    cancelled: int
    finished: int
    events_done: int | None = Field(None, description="Of the events to be replayed")
    events_total: int | None = None


class Audits(Document):
    """How far the audits of a batch are; cells that an engine refuses have none."""

    level: str = Field(description="sampled-EVERY-SEED, flush or every")
    total: int
    done: int
    failed: int = Field(description="`GET /api/v1/questions?kind=audit` says why")


class Refusal(Document):
    """A combination of the plan that makes no machine, or that its engine cannot replay."""

    label: str
    reason: str


class BatchEstimate(Document):
    """The estimate of a batch; nothing was written."""

    dry_run: Literal[True] = True
    traces: int
    columns: list[str] = Field(description="Labels, the base first")
    refused: list[Refusal]
    cells: int = Field(description="Traces × distinct machines, refused ones included")
    cached: int = Field(description="Cells whose result is known")
    to_run: int
    shards: int = Field(description="Each decodes its trace once")
    events_to_replay: int = Field(description="Events × variants to be simulated")
    work: int = Field(description="The same in ordinary events; some events cost more")
    memory_bytes: int = Field(description="Lower bound of the memory of one run")
    bytes_to_read: int
    workers: int = Field(description="Live workers that can run some of it")
    queued_ahead: int = Field(description="Queued shards of this project; not part of `seconds`")
    seconds: float | None = Field(description="null: no speed is known, or no worker is alive")
    basis: str = Field(description="What `seconds` is computed from")
    simulator_digest: Digest = Field(description="Of the base column's engine")
    simulators: dict[str, Digest] = Field(
        description="The digest of each engine of the columns, by name, the base's first"
    )


class BatchSummary(Document):
    """A batch as lists show it: it names the first five traces and patch sets of each."""

    id: uuid.UUID
    code: str = Field(description="Short name, accepted wherever an id is")
    title: str = Field(description="What its maker calls it; may be empty")
    state: str = Field(description="queued, running, done, failed, cancelled")
    plan: str
    recompute: bool
    priority: int
    created_at: Time
    finished_at: Time | None
    simulator_digest: Digest = Field(description="Of the base column's engine")
    simulators: dict[str, Digest] = Field(
        description="The digest of each engine of the columns, by name, the base's first"
    )
    is_stale: bool = Field(
        description="The workers run another version of one of its engines by now: "
        "a new batch may give other numbers"
    )
    integrity_alarms: int = Field(
        description="Cells whose result, computed again, gave other bytes: do not trust them"
    )
    trace_count: int
    column_count: int
    patch_set_count: int
    traces: list[TraceReference]
    patch_sets: list[PatchSetReference]
    progress: Progress
    links: dict[str, str]


class BatchContents(BatchSummary):
    """A batch with all its traces, patch sets and columns."""

    columns: list[Column]
    refused: list[Refusal] = Field(
        description="What the plan asked for and is not run: it makes no machine, "
        "or its engine cannot replay the trace"
    )
    audits: Audits | None = Field(None, description="null: its runs are not audited")
    retryable_count: int = Field(
        description="Failed runs that a retry runs again: not those that an engine refuses, "
        "and none of a stale batch"
    )


class VerdictReason(Document):
    """A cell that determined the verdict."""

    verdict: str
    trace_name: str
    trace_digest: Digest | None
    label: str
    variant_digest: Digest | None
    text: str


class BatchVerdict(Document):
    """The verdict on a batch, for CI systems."""

    status: str = Field(
        description="integrity, broken-invariant, guest-visible-change, crashed, regression, "
        "mixed-worse, missing, mixed, repair, improvement, unchanged or identical: the first of "
        "these that any cell has"
    )
    title: str
    exit_code: int = Field(
        description="0: nothing worse than allowed; 1: the answer is no; 5: no verdict"
    )
    reason_count: int = Field(description="Cells with that verdict")
    reasons: list[VerdictReason] = Field(description="The first of them")


class Pace(Document):
    """How fast a batch under way is, measured on itself; null before its first events."""

    events_per_second: float | None
    seconds_left: float | None = Field(description="At this rate, waiting not included")


class BatchListed(BatchSummary):
    """A batch as the list of batches has it."""

    submitted_by: str | None = Field(
        description="`user NAME` or `token NAME`; null: no longer known"
    )
    verdict: BatchVerdict | None = Field(
        description="null while the batch is not over, or not judged yet; its first reason only"
    )
    pace: Pace | None = Field(description="null for a batch that is over")


class BatchFacets(Document):
    """The values that occur, the most frequent first, each counted among what else matches."""

    state: list[Facet]
    verdict: list[Facet]
    plan: list[Facet]
    submitter: list[Facet]


class BatchDetail(BatchContents):
    """A batch by itself; `links.runs` lists its runs."""

    verdict: BatchVerdict | None = Field(None, description="null while the batch is not over")
    notice: str | None = Field(None, description="Remarks on this answer")


class StepEvent(Document):
    """The data of an event of a batch's stream."""

    kind: str
    state: str
    at: Time | None
    progress: Progress
    detail: dict[str, Any]
    starting: list[StartingWorker] = Field(
        default_factory=list,
        description="Workers that compile their simulators, while no run of the batch has begun",
    )
