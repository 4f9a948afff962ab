"""The batches that somebody looks for, and how many there are of each kind."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.models import Batch, BatchColumn, BatchTrace, PatchSet, Shard, Token, Trace, User
from db.repositories.pagination import PAGE_SIZE, Page, among, sorted_page

Sort = Literal["newest", "oldest", "runs"]
_SORTS: dict[Sort, tuple[InstrumentedAttribute[Any], bool]] = {
    "newest": (Batch.id, True),
    "oldest": (Batch.id, False),
    "runs": (Batch.run_count, True),
}
FACET_VALUES_MAX = 50
_status = Batch.verdict["status"].astext
# As accounts.makers names them.
_made_by: sa.ColumnElement[str | None] = sa.case(
    (User.name.is_not(None), sa.literal("user ") + User.name),
    (Token.name.is_not(None), sa.literal("token ") + Token.name),
    else_=None,
)


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which batches are wanted; None or empty excludes nothing.

    ``text`` is searched, ignoring case, in codes and titles and in the names of traces and patch
    sets, and at the beginning of the traces' digests. ``submitter`` is as
    :func:`accounts.makers` names it.
    """

    text: str | None = None
    states: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    submitter: str | None = None
    # The digest of a trace that they have.
    trace: str | None = None

    def applied(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """``query``, limited to what is wanted; it selects from batches and their makers."""
        if self.text:
            query = query.where(_has_text(self.text))
        if self.states:
            query = query.where(Batch.state.in_(self.states))
        if self.verdicts:
            query = query.where(_status.in_(self.verdicts))
        if self.plans:
            query = query.where(Batch.plan.in_(self.plans))
        if self.submitter is not None:
            query = query.where(_made_by == self.submitter)
        if self.trace is not None:
            query = query.where(_of_traces(Trace.digest == self.trace))
        return query


EVERYTHING = Filter()


def list_page(
    session: Session,
    *,
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
    wanted: Filter = EVERYTHING,
    sort: Sort = "newest",
) -> Page[Batch]:
    """The wanted batches, in the requested order; ``after`` is the last one seen."""
    query = wanted.applied(_with_makers(sa.select(Batch)))
    return sorted_page(session, query, Batch.id, _SORTS[sort], after=after, limit=limit)


def facets(session: Session, wanted: Filter = EVERYTHING) -> dict[str, list[tuple[str, int]]]:
    """How many batches have each state, verdict, plan and submitter, the most frequent first.

    Each is counted among the batches that match everything else, so that every count is what one
    gets by choosing that value.
    """
    fields: dict[str, tuple[Any, dict[str, Any]]] = {
        "state": (Batch.state, {"states": ()}),
        "verdict": (_status, {"verdicts": ()}),
        "plan": (Batch.plan, {"plans": ()}),
        "submitter": (_made_by, {"submitter": None}),
    }
    found = {}
    for name, (value, without) in fields.items():
        count = sa.func.count()
        query = _with_makers(sa.select(value.label("value"), count).select_from(Batch))
        query = dataclasses.replace(wanted, **without).applied(query)
        # By place, as a compiled expression with parameters is not equal to itself.
        query = query.where(value.is_not(None)).group_by(sa.text("1"))
        query = query.order_by(count.desc(), sa.text("1")).limit(FACET_VALUES_MAX)
        found[name] = [(row[0], int(row[1])) for row in session.execute(query)]
    return found


@dataclasses.dataclass(frozen=True)
class Running:
    """Of a batch under way: events replayed, of how many, and for how many seconds.

    ``seconds`` is None while no worker has begun.
    """

    events_done: int
    events_total: int
    seconds: float | None


def running(session: Session, batch_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Running]:
    """How far those of the batches are that have shards; one query for all of them."""
    if not batch_ids:
        return {}
    began = sa.func.min(Shard.started_at)
    query = (
        sa.select(
            Shard.batch_id,
            sa.func.coalesce(sa.func.sum(Shard.events_done), 0),
            sa.func.coalesce(sa.func.sum(Shard.events_total), 0),
            sa.func.extract("epoch", sa.func.clock_timestamp() - began),
        )
        .where(among(Shard.batch_id, batch_ids))
        .group_by(Shard.batch_id)
    )
    return {
        batch_id: Running(int(done), int(total), None if seconds is None else float(seconds))
        for batch_id, done, total, seconds in session.execute(query)
    }


def _with_makers(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.outerjoin(User, User.id == Batch.user_id).outerjoin(
        Token, Token.id == Batch.token_id
    )


def _has_text(text: str) -> sa.ColumnElement[bool]:
    named = sa.or_(
        Trace.name.icontains(text, autoescape=True),
        Trace.digest.startswith(text.lower(), autoescape=True),
    )
    of_sets = (
        sa.select(BatchColumn.batch_id)
        .join(PatchSet, PatchSet.id == BatchColumn.patch_set_id)
        .where(PatchSet.name.icontains(text, autoescape=True))
    )
    return sa.or_(
        Batch.code.icontains(text, autoescape=True),
        Batch.title.icontains(text, autoescape=True),
        _of_traces(named),
        Batch.id.in_(of_sets),
    )


def _of_traces(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether the batch has such a trace."""
    having = (
        sa.select(BatchTrace.batch_id).join(Trace, Trace.id == BatchTrace.trace_id).where(condition)
    )
    return Batch.id.in_(having)
