"""Traces as JSON."""

import uuid
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from services.api.schemas import LINES, Body, Digest, Document, Facet, Time

NAME_LENGTH_MAX = 200
NOTE_LENGTH_MAX = 10_000
TAGS_MAX = 50
GUEST_WORDS_MAX = 50

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Note = Annotated[str, Field(max_length=NOTE_LENGTH_MAX)]
# A tag has no blanks: it is used in addresses and on command lines.
# Its length is not in the pattern: fifty repetitions of a Unicode class took 4 MiB.
Tag = Annotated[str, Field(pattern=r"^\w[\w.:+/-]*$", max_length=50, description="One word")]
GuestWord = Annotated[str, Field(max_length=1000)]
GuestKey = Annotated[str, Field(min_length=1, max_length=100)]

_EXAMPLE: dict[str, Any] = {
    "id": "019ab5d0-7a3e-7c41-9d0e-3f6b1c2d4e5f",
    "digest": "9b1c3c8f0d6f4a5e8e1f7d2a4b6c8e0f1a3b5c7d9e0f2a4b6c8d0e1f3a5b7c9d",
    "name": "workload-1vcpu",
    "tags": ["fork-heavy", "keep"],
    "note": "Kernel build in a guest with 256 MiB",
    "guest": {"kernel": "6.1"},
    "content": "capture",
    "guest_mode": "long",
    "vcpu_count": 1,
    "size_bytes": 912384,
    "event_count": 4812733,
    "instruction_count": 2210934857,
    "truncated": False,
    "events_by_kind": {"ACCESS": 4720116, "TABLE_STORE": 61022, "CR": 5120},
    "statistics": {
        "address_space_count": 37,
        "marks": [{"number": 1, "count": 2, "meaning": "the build begins"}],
        "work": 4812733,
        "memory_bytes": 9437184,
    },
    "created_at": "2026-11-24T11:21:07.412Z",
    "updated_at": "2026-11-24T11:25:40.118Z",
}


class Mark(Document):
    """A number by which the workload marks a phase."""

    number: int
    count: int
    meaning: str = Field(description="From the capture's header")


class MakeUp(Document):
    """How many events of each kind are in each slice of the guest's time."""

    unit: str = Field(description="`instructions` of the guest, or `events` of a trace without")
    width: int = Field(description="Of a slice, in that unit")
    slices: int = Field(description="At most 64, and at least half as many in a long trace")
    kinds: dict[str, list[int]] = Field(description="Of each kind that occurs, by slice")


class VerificationWord(Document):
    """What the witnesses of a trace say of its tables; the question has the whole answer."""

    is_good: bool = Field(description="At least 99.99 % agree, and no stored value is unexplained")
    complaint: str = Field(description="Why it is not good; empty if it is")
    share: float | None = Field(description="Of the witnesses that agree; null without any")
    asked: int
    agreed: int


class WorkingSet(Document):
    """How many frames of 4 KiB the guest's accesses reach in each slice of its time."""

    unit: str = Field(description="`instructions` of the guest")
    width: int = Field(description="Of a slice, in that unit: as that of the make-up")
    slices: int
    frames: list[int] = Field(description="Distinct frames, by slice")
    touched: int = Field(description="Distinct frames over the whole trace")
    memory: int = Field(description="Frames that the guest has")


class Statistics(Document):
    """Statistics taken at upload; empty for traces that are older than this."""

    address_space_count: int | None = Field(None, description="Distinct roots in CR3")
    marks: list[Mark] = Field(default_factory=list)
    makeup: MakeUp | None = Field(
        None, description="null in lists, and for traces that are older than this"
    )
    working_set: WorkingSet | None = Field(
        None, description="Counted with the verification; null before, and in lists"
    )
    work: int | None = Field(
        None, description="Estimated cost of a replay under one variant, in ordinary events"
    )
    memory_bytes: int | None = Field(
        None, description="Lower bound of the memory of a replay under one variant"
    )
    verification: VerificationWord | None = Field(
        None, description="null until a worker has verified the trace, and for operations"
    )


class TraceSummary(Document):
    """A stored trace as lists show it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: uuid.UUID
    digest: Digest
    name: str
    tags: list[str]
    note: str
    guest: dict[str, str] = Field(description="Description of the guest, by keyword")
    content: str = Field(description="`capture` of a guest, or `operations` as given")
    guest_mode: str
    vcpu_count: int
    size_bytes: int
    event_count: int
    instruction_count: int
    truncated: bool = Field(description="The file ended before its closing index")
    events_by_kind: dict[str, int]
    statistics: Statistics
    created_at: Time
    updated_at: Time


class TraceDetail(TraceSummary):
    """A stored trace with its header, and what a replay of it may cost."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _EXAMPLE
                | {"header": {"capture_tool": "qemu-plugin"}, "estimated_variant_seconds": 0.31}
            ]
        }
    )

    header: dict[str, Any]
    estimated_variant_seconds: float | None = Field(
        None,
        description="Time of a worker for one variant, by the speed of recent shards; null before "
        "the first one",
    )


class TraceChanges(Body):
    """Changes of a trace; omitted fields are kept."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "boot", "tags": ["keep"], "note": ""}]}
    )

    name: Name | None = None
    tags: list[Tag] | None = Field(None, max_length=TAGS_MAX)
    note: Annotated[Note | None, LINES] = None
    guest: dict[GuestKey, GuestWord] | None = Field(None, max_length=GUEST_WORDS_MAX)


class TraceDeletion(Document):
    """What is, or would be, deleted with a trace."""

    trace: uuid.UUID
    digest: Digest
    deleted: bool = Field(description="False after a dry run")
    blob: bool = Field(description="Whether the project no longer has the file; always true")
    size_bytes: int = Field(description="Of the file")
    batches: list[str] = Field(description="Codes of the batches that have no other trace")
    shortened_batches: list[str] = Field(description="Codes of those that keep other traces")
    run_count: int
    result_count: int = Field(description="Distinct results of those runs")
    snapshot_count: int = Field(description="Snapshots of replays, which hold the guest's tables")


class TraceFacets(Document):
    """The values that occur, the most frequent first, each counted among what else matches."""

    guest_mode: list[Facet]
    vcpus: list[Facet]
    kernel: list[Facet]
    content: list[Facet]
    tag: list[Facet]
