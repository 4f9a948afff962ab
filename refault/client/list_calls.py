"""What the methods of ``Lists`` and ``AsyncLists`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.client import calls
from refault.client.documents import BatchSummaryDocument, Page, TraceDocument
from refault.client.list_documents import (
    BatchFacetsDocument,
    NewsDocument,
    TraceFacetsDocument,
    WorkersDocument,
)

if TYPE_CHECKING:
    from refault.client.calls import Call
    from refault.client.documents import BatchDocument


def list_batches(**query: Any) -> Call[Page[BatchDocument]]:
    """One page of batches."""
    return calls.ask("GET", ("batches",), query=query, shape=Page[BatchSummaryDocument])


def batch_facets(**query: Any) -> Call[BatchFacetsDocument]:
    """How many batches there are of each kind."""
    return calls.ask("GET", ("batches", "facets"), query=query, shape=BatchFacetsDocument)


def list_traces(**query: Any) -> Call[Page[TraceDocument]]:
    """One page of traces."""
    return calls.ask("GET", ("traces",), query=query, shape=Page[TraceDocument])


def trace_facets(**query: Any) -> Call[TraceFacetsDocument]:
    """How many traces there are of each kind."""
    return calls.ask("GET", ("traces", "facets"), query=query, shape=TraceFacetsDocument)


def get_news(*, since: str | None = None, named: int | None = None) -> Call[NewsDocument]:
    """What changed in the project."""
    return calls.ask("GET", ("news",), query={"since": since, "named": named}, shape=NewsDocument)


def get_workers() -> Call[WorkersDocument]:
    """How many workers there are."""
    return calls.ask("GET", ("workers",), shape=WorkersDocument)
