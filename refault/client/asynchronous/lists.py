"""Lists of batches and of traces, and what is new in them."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls, list_calls

if TYPE_CHECKING:
    from refault.client.documents import BatchDocument, Page, TraceDocument
    from refault.client.list_documents import (
        BatchFacetsDocument,
        NewsDocument,
        TraceFacetsDocument,
        WorkersDocument,
    )

AnswerT = TypeVar("AnswerT")


class AsyncLists(abc.ABC):
    """Part of a client, which sends what is described here.

    ``wanted`` is what the API takes to filter and to sort: ``q``, ``state``, ``tag``, ``sort``, ….
    """

    @abc.abstractmethod
    async def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    async def list_batches(
        self, *, limit: int | None = None, cursor: str | None = None, **wanted: Any
    ) -> Page[BatchDocument]:
        """One page of batches, newest first."""
        return await self._send(list_calls.list_batches(limit=limit, cursor=cursor, **wanted))

    async def get_batch_facets(self, **wanted: Any) -> BatchFacetsDocument:
        """How many batches have each state, verdict, plan and submitter."""
        return await self._send(list_calls.batch_facets(**wanted))

    async def list_traces(
        self, *, limit: int | None = None, cursor: str | None = None, **wanted: Any
    ) -> Page[TraceDocument]:
        """One page of traces, newest first."""
        return await self._send(list_calls.list_traces(limit=limit, cursor=cursor, **wanted))

    async def get_trace_facets(self, **wanted: Any) -> TraceFacetsDocument:
        """How many traces have each kind of guest, number of vCPUs, kernel, content and tag."""
        return await self._send(list_calls.trace_facets(**wanted))

    async def get_news(self, *, since: str | None = None, named: int | None = None) -> NewsDocument:
        """What changed since the last visit, or since a time (RFC 3339).

        At most ``named`` of the batches that ended and of the new traces are named, or five.
        """
        return await self._send(list_calls.get_news(since=since, named=named))

    async def get_workers(self) -> WorkersDocument:
        """How many workers take work, and what those compile that are starting."""
        return await self._send(list_calls.get_workers())
