"""The endpoints under ``/api/v1/findings``."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from db.repositories import audits, batches, comparisons, findings
from db.repositories.findings import Filter
from db.repositories.pagination import PAGE_SIZE, PAGE_SIZE_MAX
from services.api.deps import WithPage, WithResources
from services.api.findings import service
from services.api.findings.schemas import FindingCell, FindingGroup, FindingSource
from services.api.responses import problems
from services.api.schemas import Digest, Page

router = APIRouter(tags=["findings"])


def _filter(
    resources: WithResources,
    source: Annotated[
        FindingSource | None, Query(description="Seen in a replay, or failed in an audit")
    ] = None,
    kind: Annotated[
        str | None, Query(max_length=60, description="One kind, or one check: F-U1")
    ] = None,
    variant: Annotated[Digest | None, Query(description="Digest of a variant")] = None,
    trace: Annotated[Digest | None, Query(description="Digest of a trace")] = None,
    batch: Annotated[str | None, Query(max_length=64, description="Cells of that batch")] = None,
    q: Annotated[
        str | None, Query(max_length=100, description="Part of a kind or of a variant's name")
    ] = None,
    known: Annotated[
        bool | None,
        Query(description="Named defects of the real kernel: only those, or without them"),
    ] = None,
) -> Filter:
    if batch is None:
        return Filter(source, kind, variant, trace, None, q, known)
    with resources.transaction() as session:
        row = batches.get(session, batch)
        documents = audits.digests_of(row, comparisons.traces_of(session, row.id))
        return Filter(source, kind, variant, trace, row.id, q, known, tuple(documents.values()))


WithFilter = Annotated[Filter, Depends(_filter)]


@router.get("/findings", responses=problems(404, 422))
def list_findings(
    resources: WithResources,
    wanted: WithFilter,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description="Maximum number")] = PAGE_SIZE,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the previous page")
    ] = None,
) -> Page[FindingGroup]:
    """List what the project's results and audits found, by kind and variant.

    The group that most cells have comes first; named defects of the real kernel come last.
    """
    with resources.transaction() as session:
        items, next_cursor = service.groups_of(session, wanted, cursor, limit)
    return Page(items=items, next_cursor=next_cursor)


@router.get("/findings/cells", responses=problems(404, 422))
def list_finding_cells(
    resources: WithResources, page: WithPage, wanted: WithFilter
) -> Page[FindingCell]:
    """List the results and audits behind the groups, newest first."""
    with resources.transaction() as session:
        found = findings.list_page(session, wanted, after=page.cursor, limit=page.limit)
        items = service.cells_of(session, found.rows)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))
