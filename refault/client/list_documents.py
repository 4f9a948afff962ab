"""Answers of lists and of what is new in them."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from refault.client.documents import BatchSummaryDocument, TraceReferenceDocument


class FacetDocument(TypedDict):
    """A value by which a list can be filtered, and how many of it one would get."""

    value: str
    count: int


class BatchFacetsDocument(TypedDict):
    """The values of batches, the most frequent first."""

    state: list[FacetDocument]
    verdict: list[FacetDocument]
    plan: list[FacetDocument]
    submitter: list[FacetDocument]


class TraceFacetsDocument(TypedDict):
    """The values of traces, the most frequent first."""

    guest_mode: list[FacetDocument]
    vcpus: list[FacetDocument]
    kernel: list[FacetDocument]
    content: list[FacetDocument]
    tag: list[FacetDocument]


class StartingWorkerDocument(TypedDict):
    """A worker that compiles its simulators before it takes any work."""

    step: str
    step_number: int
    step_count: int
    kernels_done: int
    kernels_total: int
    started_at: str


class WorkersDocument(TypedDict):
    """How many workers take work, and those that are starting."""

    alive_count: int
    starting: list[StartingWorkerDocument]


class NewsDocument(TypedDict):
    """What changed since a time; None: of all time."""

    since: str | None
    submitted_count: int
    ended_count: int
    ended: list[BatchSummaryDocument]
    worker_count: int
    workers_starting: NotRequired[list[StartingWorkerDocument]]
    trace_count: int
    traces: list[TraceReferenceDocument]
