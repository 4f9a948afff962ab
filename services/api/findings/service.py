"""Filed findings as documents."""

import re
import uuid
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, FiledFinding, Trace
from db.repositories import findings, patch_sets
from db.repositories.findings import AUDIT, SOURCES, Filter, Group, Place
from db.repositories.pagination import among
from refault.audits import CHECKS
from refault.errors import InvalidRequest
from services.api.findings.schemas import FindingCell, FindingGroup

# Whether it is known, cells, source, kind and variant of the last group of a page.
_CURSOR = re.compile(r"([01])~(\d{1,12})~(run|audit)~([A-Za-z0-9-]{1,60})~([0-9a-f]{64})")


def groups_of(
    session: Session, wanted: Filter, cursor: str | None, limit: int
) -> tuple[list[FindingGroup], str | None]:
    """One page of groups, and the cursor of the next."""
    rows, has_more = findings.groups(session, wanted, after=_place(cursor), limit=limit)
    first = findings.get_many(session, [row.first_id for row in rows])
    cells = {cell.id: cell for cell in cells_of(session, list(first.values()))}
    items = [_group(row, cells[row.first_id]) for row in rows]
    return items, _cursor(rows[-1]) if has_more else None


def cells_of(session: Session, rows: Sequence[FiledFinding]) -> list[FindingCell]:
    """Findings as documents; the number of queries does not depend on theirs."""
    variants = patch_sets.variants_of(session, {row.variant_digest for row in rows})
    where = findings.places(session, rows)
    codes = _codes(session, {place.batch_id for place in where.values()})
    names = _names(session, {row.trace_digest for row in rows})
    return [
        FindingCell.model_validate(
            {
                "id": row.id,
                "source": AUDIT if row.result_id is None else SOURCES[0],
                "kind": row.kind,
                "variant": variants[row.variant_digest],
                "trace_digest": row.trace_digest,
                "trace_name": names.get(row.trace_digest),
                "count": row.count,
                "is_all": row.is_all,
                "exception": row.exception,
                "event_index": row.event_index,
                "operation_index": row.operation_index,
                "vcpu": row.vcpu,
                "address": row.address,
                "address_kind": row.address_kind,
                "message": row.message,
                "run_id": place and place.run_id,
                "batch_code": place and codes.get(place.batch_id),
            }
        )
        for row in rows
        for place in (where.get(row.id),)
    ]


def _group(row: Group, first: FindingCell) -> FindingGroup:
    fields = row._asdict() | {
        "title": CHECKS.get(row.kind, ""),
        "variant": first.variant,
        "first": first,
    }
    return FindingGroup.model_validate(fields)


def _codes(session: Session, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    query = sa.select(Batch.id, Batch.code).where(among(Batch.id, ids))
    return {row.id: row.code for row in session.execute(query)}


def _names(session: Session, digests: Collection[str]) -> dict[str, str]:
    query = sa.select(Trace.digest, Trace.name).where(among(Trace.digest, digests))
    return {row.digest: row.name for row in session.execute(query)}


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest("cursor: send `next_cursor` of the page before, as it is")
    known, cells, source, kind, variant = found.groups()
    return known == "1", int(cells), source, kind, variant


def _cursor(row: Group) -> str:
    return f"{int(row.is_known)}~{row.cells}~{row.source}~{row.kind}~{row.variant_digest}"
