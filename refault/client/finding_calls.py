"""What a client asks of the findings of a project's corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from refault.client import calls
from refault.client.documents import Page, VariantDocument

if TYPE_CHECKING:
    from refault.client.calls import Call


class FindingCellDocument(TypedDict):
    """What one result, or one audit, found of one kind."""

    id: str
    source: str
    kind: str
    variant: VariantDocument
    trace_digest: str
    trace_name: str | None
    count: int
    is_all: bool
    exception: str | None
    event_index: int
    operation_index: int
    vcpu: int | None
    address: str | None
    address_kind: str
    message: str
    run_id: str | None
    batch_code: str | None


class FindingGroupDocument(TypedDict):
    """The findings of one kind under one variant."""

    source: str
    kind: str
    title: str
    is_guest_visible: bool
    is_known: bool
    variant: VariantDocument
    cells: int
    places: int
    is_all: bool
    traces: int
    first: FindingCellDocument


class Wanted(TypedDict, total=False):
    """Which findings are wanted; what is left out excludes nothing."""

    source: str | None
    kind: str | None
    variant: str | None
    trace: str | None
    batch: str | None
    q: str | None
    known: bool | None


def list_findings(
    wanted: Wanted, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[FindingGroupDocument]]:
    """One page of groups, those with the most cells first."""
    query = _query(wanted, limit, cursor)
    return calls.ask("GET", ("findings",), query=query, shape=Page[FindingGroupDocument])


def list_finding_cells(
    wanted: Wanted, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[FindingCellDocument]]:
    """One page of what is behind the groups, newest first."""
    query = _query(wanted, limit, cursor)
    return calls.ask("GET", ("findings", "cells"), query=query, shape=Page[FindingCellDocument])


def _query(wanted: Wanted, limit: int | None, cursor: str | None) -> dict[str, Any]:
    asked: dict[str, Any] = {**wanted, "limit": limit, "cursor": cursor}
    if asked.get("known") is not None:
        asked["known"] = "true" if asked["known"] else "false"
    return asked
