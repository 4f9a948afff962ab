"""What results and audits found: filed by kind, then grouped and listed over a project's corpus."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, distinct_on, insert
from sqlalchemy.orm import Session

from db.identifiers import uuid7
from db.models import Document, FiledFinding, Question, Result, Run, Trace, Variant
from db.repositories.pagination import Page, among, newest_first
from refault.audits import AuditReport
from refault.errors import ResultError
from refault.results import GUEST_VISIBLE_KINDS

AUDIT = "audit"
SOURCES = ("run", AUDIT)
AT_ONCE = 500
BODIES_AT_ONCE = 20
"""An audit may have hundreds of kilobytes."""
_MESSAGE_MAX = 1_000


# --- filing ---------------------------------------------------------------------------------------


def file_results(session: Session, ids: Collection[uuid.UUID] | None = None) -> int:
    """File what results found that is not filed yet: of these, or of some; how many they were."""
    query = sa.select(
        Result.id,
        Result.trace_digest,
        Result.variant_digest,
        Result.body["findings"].label("findings"),
        Result.body["stopped"].label("stopped"),
        Result.body["finding_count"].label("finding_count"),
    ).where(~Result.is_filed, Result.body.is_not(None))
    if ids is not None:
        query = query.where(among(Result.id, ids))
    rows = session.execute(
        query.order_by(Result.id).limit(AT_ONCE).with_for_update(skip_locked=True)
    ).all()
    _insert(
        session,
        ({"result_id": row.id, **_names(row), **found} for row in rows for found in _readable(row)),
    )
    if rows:
        session.execute(
            sa.update(Result)
            .where(among(Result.id, [row.id for row in rows]))
            .values(is_filed=True)
            .execution_options(synchronize_session=False)
        )
    return len(rows)


def file_audits(session: Session, digests: Collection[str] | None = None) -> int:
    """File what audits found that is not filed yet: of these, or of some; how many they were."""
    query = sa.select(Document.digest, Document.trace_digest, Document.variant_digest).where(
        ~Document.is_filed, Document.kind == AUDIT
    )
    if digests is not None:
        query = query.where(among(Document.digest, digests))
    rows = session.execute(
        query.order_by(Document.digest).limit(AT_ONCE).with_for_update(skip_locked=True)
    ).all()
    for first in range(0, len(rows), BODIES_AT_ONCE):
        some = {row.digest: _names(row) for row in rows[first : first + BODIES_AT_ONCE]}
        bodies = sa.select(Document.digest, Document.body).where(among(Document.digest, some))
        _insert(
            session,
            (
                {"document_digest": digest, **some[digest], **found}
                for digest, body in session.execute(bodies)
                for found in _of_audit(body)
            ),
        )
    if rows:
        session.execute(
            sa.update(Document)
            .where(among(Document.digest, [row.digest for row in rows]))
            .values(is_filed=True)
            .execution_options(synchronize_session=False)
        )
    return len(rows)


def _names(row: Any) -> dict[str, str]:
    return {"trace_digest": row.trace_digest, "variant_digest": row.variant_digest}


def _insert(session: Session, found: Iterable[Mapping[str, Any]]) -> None:
    values = [{"result_id": None, "document_digest": None, **each, "id": uuid7()} for each in found]
    if values:
        session.execute(insert(FiledFinding).on_conflict_do_nothing(), values)


def _readable(row: sa.Row[Any]) -> list[dict[str, Any]]:
    """What a body says; nothing where it is no result, which ``python -m db verify`` reports."""
    try:
        return list(_of_result(row.findings, row.stopped, row.finding_count))
    except (KeyError, TypeError, ValueError):
        return []


def _of_result(
    found: Sequence[Mapping[str, Any]] | None, stopped: Mapping[str, Any] | None, total: int | None
) -> Iterable[dict[str, Any]]:
    """The first finding of each kind of a result's body."""
    kept = list(found or ())
    if stopped is not None and stopped not in kept:
        kept.append(stopped)
    is_all = (total or 0) <= len(kept)
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for each in kept:
        by_kind.setdefault(each["kind"], []).append(each)
    for kind, of_kind in by_kind.items():
        first = min(of_kind, key=lambda each: int(each["operation_index"]))
        yield {
            "kind": kind,
            "is_guest_visible": kind in GUEST_VISIBLE_KINDS,
            "exception": None,
            "count": len(of_kind),
            "is_all": is_all,
            "event_index": first["event_index"],
            "operation_index": first["operation_index"],
            "vcpu": first["vcpu"],
            "address": first["gva"],
            "address_kind": "" if first["gva"] is None else "gva",
            "message": first["message"][:_MESSAGE_MAX],
        }


def _of_audit(body: bytes) -> Iterable[dict[str, Any]]:
    try:
        report = AuditReport.from_dict(msgpack.unpackb(body)["answer"])
    except (ResultError, KeyError, TypeError, ValueError):
        # ``python -m db verify`` reports it.
        return
    first: dict[str, dict[str, Any]] = {}
    for broken in report.broken:
        if broken.check in first:
            first[broken.check]["count"] += broken.count
            continue
        first[broken.check] = {
            "kind": broken.check,
            "is_guest_visible": False,
            "exception": broken.exception,
            "count": broken.count,
            "is_all": True,
            "event_index": broken.event_index,
            "operation_index": broken.operation_index,
            "vcpu": broken.vcpu,
            "address": None if broken.address is None else f"{broken.address:#x}",
            "address_kind": broken.address_kind,
            "message": f"{broken.operation}. Is: {broken.got}. Should be: {broken.want}."[
                :_MESSAGE_MAX
            ],
        }
    yield from first.values()


# --- reading --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which findings are wanted; None or empty excludes nothing.

    ``text`` is part of a kind or of a variant's name. ``is_known``: named exceptions of the real
    kernel alone, or without them. ``batch_audits`` are the documents of the batch's audits.
    """

    source: str | None = None
    kind: str | None = None
    variant_digest: str | None = None
    trace_digest: str | None = None
    batch_id: uuid.UUID | None = None
    text: str | None = None
    is_known: bool | None = None
    batch_audits: tuple[str, ...] = ()


class Group(NamedTuple):
    """The findings of one kind under one variant.

    ``cells`` are the results or audits that have it, ``places`` how often it is known in all of
    them; ``first_id`` is the row with the lowest operation.
    """

    source: str
    kind: str
    variant_digest: str
    is_guest_visible: bool
    is_known: bool
    cells: int
    places: int
    is_all: bool
    traces: int
    first_id: uuid.UUID


_READ = (
    FiledFinding.id,
    FiledFinding.kind,
    FiledFinding.variant_digest,
    FiledFinding.trace_digest,
    FiledFinding.operation_index,
    FiledFinding.is_guest_visible,
    FiledFinding.exception,
    FiledFinding.count,
    FiledFinding.is_all,
)

Place = tuple[bool, int, str, str, str]
"""Where a page of groups ended: whether it is known, cells, source, kind, variant."""


class Where(NamedTuple):
    """The newest run of a project that shows a finding, and its batch."""

    run_id: uuid.UUID
    batch_id: uuid.UUID


def groups(
    session: Session, wanted: Filter, *, after: Place | None, limit: int
) -> tuple[list[Group], bool]:
    """Groups, those with the most cells first, named exceptions last; and whether more follow."""
    found = _visible(wanted).subquery()
    names = (found.c.source, found.c.kind, found.c.variant_digest)
    grouped = (
        sa.select(
            *names,
            sa.func.bool_or(found.c.is_guest_visible).label("is_guest_visible"),
            sa.func.bool_and(found.c.exception.is_not(None)).label("is_known"),
            sa.func.count().label("cells"),
            sa.cast(sa.func.sum(found.c.count), sa.BigInteger).label("places"),
            sa.func.bool_and(found.c.is_all).label("is_all"),
        )
        .group_by(*names)
        .subquery()
    )
    each = grouped.c
    order = (each.is_known, -each.cells, each.source, each.kind, each.variant_digest)
    query = sa.select(grouped).order_by(*order).limit(limit + 1)
    if after is not None:
        is_known, cells, *rest = after
        query = query.where(sa.tuple_(*order) > sa.tuple_(is_known, -cells, *rest))
    rows = session.execute(query).all()
    details = _details(session, wanted, rows[:limit])
    groups_shown = [
        Group._make((*row, *details[row.source, row.kind, row.variant_digest]))
        for row in rows[:limit]
    ]
    return groups_shown, len(rows) > limit


def _details(
    session: Session, wanted: Filter, rows: Sequence[sa.Row[Any]]
) -> dict[tuple[str, str, str], tuple[int, uuid.UUID]]:
    """Of each group shown: how many traces, and the finding with the lowest operation.

    Both sort the group's rows, which takes too long for all groups.
    """
    if not rows:
        return {}
    found = _visible(
        wanted,
        among(FiledFinding.kind, {row.kind for row in rows}),
        among(FiledFinding.variant_digest, {row.variant_digest for row in rows}),
    ).subquery()
    names = (found.c.source, found.c.kind, found.c.variant_digest)
    ordered = aggregate_order_by(found.c.id, found.c.operation_index, found.c.id)
    query = sa.select(
        *names,
        sa.func.count(found.c.trace_digest.distinct()),
        sa.func.array_agg(ordered, type_=ARRAY(sa.Uuid))[1],
    ).group_by(*names)
    return {
        (source, kind, variant): (traces, first)
        for source, kind, variant, traces, first in session.execute(query)
    }


def list_page(
    session: Session, wanted: Filter, *, after: uuid.UUID | None, limit: int
) -> Page[FiledFinding]:
    """The findings themselves, newest first."""
    ids = _visible(wanted).subquery()
    query = sa.select(FiledFinding).where(FiledFinding.id.in_(sa.select(ids.c.id)))
    return newest_first(session, query, FiledFinding.id, after=after, limit=limit)


def get_many(session: Session, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, FiledFinding]:
    """Findings by id, of groups that were read before."""
    rows = session.scalars(sa.select(FiledFinding).where(among(FiledFinding.id, ids)))
    return {row.id: row for row in rows}


def places(session: Session, rows: Collection[FiledFinding]) -> dict[uuid.UUID, Where]:
    """The newest run of the project that each finding is of; none where its batch was deleted."""
    found: dict[uuid.UUID, Where] = {}
    of_results: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in rows:
        if row.result_id is not None:
            of_results.setdefault(row.result_id, []).append(row.id)
    # The newest alone: a result may be that of a thousand runs.
    results = (
        sa.select(Run.result_id, Run.id, Run.batch_id)
        .ext(distinct_on(Run.result_id))
        .order_by(Run.result_id, Run.id.desc())
    )
    for run in session.execute(results.where(among(Run.result_id, list(of_results)))):
        for row_id in of_results[run.result_id]:
            found[row_id] = Where(run.id, run.batch_id)
    cells: dict[tuple[str, str], list[uuid.UUID]] = {}
    for row in rows:
        if row.document_digest is not None:
            cells.setdefault((row.trace_digest, row.variant_digest), []).append(row.id)
    audited = (
        sa.select(Trace.digest, Run.variant_digest, Run.id, Run.batch_id)
        .join(Trace, Trace.id == Run.trace_id)
        .where(sa.tuple_(Trace.digest, Run.variant_digest).in_(list(cells)))
        .ext(distinct_on(Trace.digest, Run.variant_digest))
        .order_by(Trace.digest, Run.variant_digest, Run.id.desc())
    )
    for digest, variant_digest, run_id, batch_id in session.execute(audited) if cells else ():
        for row_id in cells[digest, variant_digest]:
            found[row_id] = Where(run_id, batch_id)
    return found


def _visible(wanted: Filter, *more: sa.ColumnElement[bool]) -> sa.CompoundSelect[Any]:
    """The findings that the project may see, through its runs and its questions."""
    mine = sa.select(Run.result_id).where(Run.result_id.is_not(None))
    asked = sa.select(Question.document_digest).where(
        Question.kind == AUDIT, Question.state == "done"
    )
    both = (
        (SOURCES[0], FiledFinding.result_id.in_(mine)),
        (AUDIT, FiledFinding.document_digest.in_(asked)),
    )
    parts = [
        _filtered(
            sa.select(sa.literal_column(f"'{source}'").label("source"), *_READ).where(
                is_mine, *more
            ),
            wanted,
        )
        for source, is_mine in both
        if wanted.source in {None, source}
    ]
    return sa.union_all(*parts)


def _filtered(query: sa.Select[*tuple[Any, ...]], wanted: Filter) -> sa.Select[*tuple[Any, ...]]:
    for column, value in (
        (FiledFinding.kind, wanted.kind),
        (FiledFinding.variant_digest, wanted.variant_digest),
        (FiledFinding.trace_digest, wanted.trace_digest),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.is_known is not None:
        query = query.where(FiledFinding.exception.is_not(None) == wanted.is_known)
    if wanted.batch_id is not None:
        # Its own results and audits: of another engine's version or level are those of others.
        of_batch = sa.select(Run.result_id).where(
            Run.batch_id == wanted.batch_id, Run.result_id.is_not(None)
        )
        query = query.where(
            sa.or_(
                FiledFinding.result_id.in_(of_batch),
                among(FiledFinding.document_digest, wanted.batch_audits),
            )
        )
    if wanted.text:
        named = sa.select(Variant.digest).where(
            Variant.name.icontains(wanted.text, autoescape=True)
        )
        query = query.where(
            sa.or_(
                FiledFinding.kind.icontains(wanted.text, autoescape=True),
                FiledFinding.variant_digest.in_(named),
            )
        )
    return query
