"""Batches as JSON."""

import uuid
from typing import Any, Literal

from pydantic import ConfigDict, Field

from services.api.patch_sets.schemas import Variant
from services.api.runs.schemas import RunSummary
from services.api.schemas import Body, Digest, Document, StorableText, Time

TRACES_MAX = 1_000
PATCH_SETS_MAX = 100


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

    traces: list[StorableText] = Field(max_length=TRACES_MAX, description="Ids or digests")
    patch_sets: list[uuid.UUID] = Field(max_length=PATCH_SETS_MAX)
    plan: Literal["each", "series"] = Field(
        "each", description="each: a column per patch set; series: one per prefix of each"
    )
    recompute: bool = Field(
        default=False, description="Run again what is known, and raise an alarm if bytes differ"
    )


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
    prefix_length: int | None = Field(description="The first so many patches; null: all of them")
    variant: Variant


class Progress(Document):
    """How many runs have come to what; `finished` ones will not change any more."""

    total: int
    done: int = Field(description="Runs with a result, `cached` ones included")
    cached: int = Field(description="Their result was known, nothing was simulated")
    failed: int
    cancelled: int
    finished: int
    events_done: int | None = Field(None, description="Of the events that have to be replayed")
    events_total: int | None = None


class BatchSummary(Document):
    """A batch as lists show it."""

    id: uuid.UUID
    code: str = Field(description="Short name, good wherever an id is")
    state: str = Field(description="queued, running, done, failed, cancelled")
    plan: str
    recompute: bool
    created_at: Time
    finished_at: Time | None
    simulator_digest: Digest
    traces: list[TraceReference]
    patch_sets: list[PatchSetReference]
    columns: list[Column]
    progress: Progress
    links: dict[str, str]


class BatchDetail(BatchSummary):
    """A batch with its runs."""

    runs: list[RunSummary]
    notice: str | None = Field(None, description="What is out of the ordinary about this answer")


class StepEvent(Document):
    """What an event of a batch's stream carries."""

    kind: str
    state: str
    at: Time | None
    progress: Progress
    detail: dict[str, Any]
