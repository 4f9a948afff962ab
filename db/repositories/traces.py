"""Traces by id and digest, and their registration."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.errors import Conflict
from db.identifiers import uuid7
from db.models import Trace
from db.repositories import projects
from db.repositories.pagination import PAGE_SIZE, Page, sorted_page
from db.scope import maker_of, project_of
from refault.errors import InvalidRequest, NotFound

SHORT_DIGEST_LENGTH = 8

Sort = Literal["newest", "oldest", "name", "size", "events"]
_SORTS: dict[Sort, tuple[InstrumentedAttribute[Any], bool]] = {
    "newest": (Trace.id, True),
    "oldest": (Trace.id, False),
    "name": (Trace.name, False),
    "size": (Trace.size_bytes, True),
    "events": (Trace.event_count, True),
}
KEEP_TAG = "keep"
"""A trace with this tag is never deleted by a retention rule."""


FACET_VALUES_MAX = 50
_KERNEL = Trace.guest["kernel"].astext


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which traces are wanted; None or empty excludes nothing.

    ``text`` is searched in names, notes, tags and the guest's description, ignoring case, and at
    the beginning of digests. A trace must have all ``tags``.
    """

    text: str | None = None
    tags: tuple[str, ...] = ()
    content: str | None = None
    guest_mode: str | None = None
    vcpu_count: int | None = None
    # As the guest's description has it.
    kernel: str | None = None

    def applied(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """``query``, limited to what is wanted."""
        if self.text:
            has_text = [
                column.icontains(self.text, autoescape=True)
                for column in (
                    Trace.name,
                    Trace.note,
                    sa.cast(Trace.guest, sa.Text),
                    sa.func.array_to_string(Trace.tags, " "),
                )
            ]
            query = query.where(
                sa.or_(*has_text, Trace.digest.startswith(self.text.lower(), autoescape=True))
            )
        if self.tags:
            query = query.where(Trace.tags.contains(list(self.tags)))
        if self.content is not None:
            query = query.where(Trace.content == self.content)
        if self.guest_mode is not None:
            query = query.where(Trace.guest_mode == self.guest_mode)
        if self.vcpu_count is not None:
            query = query.where(Trace.vcpu_count == self.vcpu_count)
        if self.kernel is not None:
            query = query.where(self.kernel == _KERNEL)
        return query


EVERYTHING = Filter()


def add(session: Session, **columns: Any) -> tuple[Trace, bool]:
    """Register a trace; answers its row and whether it is new.

    Concurrent uploads of the same file to one project give one row, as digests are unique.
    Raises :class:`~db.errors.QuotaExceeded` for a new one if the project is full.
    """
    project_id = project_of(session)
    if find_by_digest(session, columns["digest"]) is None:
        projects.check_room_for_trace(session, columns["size_bytes"])
    statement = (
        insert(Trace)
        .values(id=uuid7(), project_id=project_id, **(maker_of(session)._asdict() | columns))
        .on_conflict_do_nothing(index_elements=[Trace.project_id, Trace.digest])
        .returning(Trace.id)
    )
    created = session.scalar(statement) is not None
    row = find_by_digest(session, columns["digest"])
    if row is None:
        message = f"trace {columns['digest']} was deleted while it was uploaded: upload it again"
        raise Conflict(message)
    return row, created


def find_by_digest(session: Session, digest: str) -> Trace | None:
    """The trace of that digest, or None."""
    return session.scalar(sa.select(Trace).where(Trace.digest == digest))


def has_any_of_size(session: Session, size_bytes: int) -> bool:
    """Whether any trace of the project has so many bytes."""
    query = sa.select(Trace.id).where(Trace.size_bytes == size_bytes).limit(1)
    return session.scalar(query) is not None


def largest_bytes(session: Session) -> int:
    """The size of the project's largest trace; 0 without any."""
    return session.scalar(sa.select(sa.func.max(Trace.size_bytes))) or 0


def find_many(session: Session, digests: Collection[str]) -> dict[str, Trace]:
    """The traces of these complete digests that exist, in one query."""
    found = session.scalars(sa.select(Trace).where(Trace.digest.in_(digests)))
    return {trace.digest: trace for trace in found}


def get(session: Session, name: str | uuid.UUID) -> Trace:
    """The trace of that id or digest; a digest may be shortened to 8 characters or more.

    Raises:
        NotFound: no trace has it.
        Conflict: the shortened digest fits several traces.
    """
    row_id = _as_uuid(name)
    if row_id is not None:
        found = session.get(Trace, row_id)
        if found is None:
            raise NotFound(f"no trace {name}: GET /api/v1/traces lists them")
        return found
    digest = str(name).lower()
    rows: list[Trace] = []
    if len(digest) >= SHORT_DIGEST_LENGTH and set(digest) <= set("0123456789abcdef"):
        query = sa.select(Trace).where(Trace.digest.startswith(digest, autoescape=True))
        rows = list(session.scalars(query.limit(2)))
    if not rows:
        raise NotFound(f"no trace {name}: upload it, or see GET /api/v1/traces")
    if len(rows) > 1:
        raise Conflict(f"digest {digest} matches several traces: give more of its characters")
    return rows[0]


def list_page(
    session: Session,
    *,
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
    wanted: Filter = EVERYTHING,
    sort: Sort = "newest",
) -> Page[Trace]:
    """The wanted traces, in the requested order; ``after`` is the last one seen."""
    return sorted_page(
        session,
        wanted.applied(sa.select(Trace)),
        Trace.id,
        _SORTS[sort],
        after=after,
        limit=limit,
    )


def facets(session: Session, wanted: Filter = EVERYTHING) -> dict[str, list[tuple[str, int]]]:
    """How many traces have each kind of guest, number of vCPUs, kernel, content and tag.

    The most frequent first. Each is counted among the traces that match everything else; a tag
    among those with the other tags, as a trace may have many.
    """
    tag = sa.func.unnest(Trace.tags)
    fields: dict[str, tuple[Any, dict[str, Any]]] = {
        "guest_mode": (Trace.guest_mode, {"guest_mode": None}),
        "vcpus": (sa.cast(Trace.vcpu_count, sa.Text), {"vcpu_count": None}),
        "kernel": (_KERNEL, {"kernel": None}),
        "content": (Trace.content, {"content": None}),
        "tag": (tag, {}),
    }
    found = {}
    for name, (value, without) in fields.items():
        query = dataclasses.replace(wanted, **without).applied(
            sa.select(value.label("value")).select_from(Trace)
        )
        values = query.subquery()
        count = sa.func.count()
        counted = (
            sa.select(values.c.value, count)
            .where(values.c.value.is_not(None))
            .group_by(values.c.value)
            .order_by(count.desc(), values.c.value)
            .limit(FACET_VALUES_MAX)
        )
        found[name] = [(row[0], int(row[1])) for row in session.execute(counted)]
    return found


def change(session: Session, trace: Trace, **changes: Any) -> None:
    """Change those of name, tags, note and guest that are given."""
    for column, value in changes.items():
        setattr(trace, column, value)
    trace.updated_at = sa.func.clock_timestamp()
    session.flush()
    session.refresh(trace)


MATCHES_MAX = 1_000


def matching(session: Session, wanted: Filter) -> Sequence[Trace]:
    """All wanted traces, oldest first.

    In the order of arrival, so that the same query plans the same batch again.

    Raises:
        InvalidRequest: it matches more than 1,000 traces.
    """
    query = wanted.applied(sa.select(Trace)).order_by(Trace.id).limit(MATCHES_MAX + 1)
    found = session.scalars(query).all()
    if len(found) > MATCHES_MAX:
        raise InvalidRequest(f"the query matches more than {MATCHES_MAX} traces: narrow it down")
    return found


def _as_uuid(name: str | uuid.UUID) -> uuid.UUID | None:
    if isinstance(name, uuid.UUID):
        return name
    try:
        return uuid.UUID(name) if "-" in name else None
    except ValueError:
        return None
