"""From a batch's stored results to its comparisons, one per trace."""

import dataclasses
import re
import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.models import Batch, BatchColumn
from db.repositories import batches, comparisons, results, simulators
from db.repositories.comparisons import TraceName
from db.shards import reopening
from db.shards.refusals import Unrunnable
from refault.compare import Comparison, Scale, Threshold
from refault.compare.costs import Costs
from refault.compare.interactions import Interaction, interactions_of, machines_of
from refault.compare.stages import stages_of
from refault.compare.steps import Step, steps_of
from refault.compare.titles import heading
from refault.errors import CatalogueError, ComparisonError, NotFound
from services.api.batches.documents import contents_of
from services.api.batches.refusals import refused_variants
from services.api.batches.schemas import BatchContents
from services.api.comparisons.judging import (
    Judged,
    comparisons_of,
    judged,
    plan_columns,
    threshold_of,
)
from services.api.deps import Resources

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CELLS_MAX = 80
"""Cells of one page of comparisons: each takes half a millisecond as HTML, and 2 KB as JSON."""
STEP_CELLS_MAX = 4_000
"""Cells of a batch whose steps are judged: a step takes some 30 µs on each trace."""
LIMIT_MAX = 200
"""The largest ``limit`` of a request."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Which of the batch's traces are requested: one, or ``limit`` after a cursor.

    ``columns`` are those to compare beside the base, by index and in this order; None for all.
    """

    trace_digest: str | None = None
    after: uuid.UUID | None = None
    limit: int | None = None
    columns: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class BatchComparison:
    """The results of a batch so far. ``command`` gives the same numbers without the service.

    ``comparisons`` are those of the requested page; ``refused`` are its cells that no engine can
    replay, with the reason; ``next_cursor`` is where the next page
    begins, None on the last one.
    """

    batch: BatchContents
    title: str
    command: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    judged: Judged
    steps: tuple[Step, ...]
    interactions: tuple[Interaction, ...]
    refused: Unrunnable
    next_cursor: uuid.UUID | None


def whole(
    resources: Resources, name: str, base: int, part: Part, costs: Costs | None = None
) -> BatchComparison:
    """The comparison of a batch with all its traces, or with one, for formats without pages."""
    return of_batch(resources, name, base, part, costs, is_paged=False)


def of_batch(
    resources: Resources,
    name: str,
    base: int,
    part: Part,
    costs: Costs | None = None,
    *,
    is_paged: bool = True,
) -> BatchComparison:
    """The comparison of a batch against its column ``base``, counted from 0.

    A page has no more than 80 cells, but at least one trace. The verdicts are over
    the whole batch, or over the one requested trace, whichever columns are chosen; ``costs``
    weigh what rose against what fell.

    Raises:
        NotFound: there is no such batch, or the trace is not part of it.
        ComparisonError: there is no such column.
        InvalidRequest: the cursor is of a trace that does not exist.
    """
    with resources.transaction() as session:
        batch = batches.get(session, name)
        traces = comparisons.traces_of(session, batch.id)
        shown, next_cursor = shown_of(batch, traces, part.trace_digest), None
        threshold, present = threshold_of(session), simulators.current(session)
        found = judged(session, batch, shown, threshold, base, costs)
        chosen = chosen_of(batch, base, part.columns)
        if is_paged:
            count = len({batch.columns[place].variant_digest for place in chosen})
            limit = max(1, min(part.limit or CELLS_MAX, CELLS_MAX // count))
            shown, next_cursor = comparisons.page_of(shown, after=part.after, limit=limit)
        alarm_count = found.alarm_count
        if part.trace_digest is not None:
            alarm_count = results.alarm_counts(session, [batch.id]).get(batch.id, 0)
        steps, interactions = _steps(session, batch, found, threshold, costs)
        document = contents_of(session, batch, traces, present, alarm_count)
        return BatchComparison(
            batch=document,
            title=title_of(batch, [entry.name for entry in document.patch_sets]),
            command=command_of(batch, traces, chosen),
            comparisons=comparisons_of(session, batch, shown, threshold, chosen, present, costs),
            judged=found,
            steps=steps,
            interactions=interactions,
            refused=_refused(session, batch, [trace.digest for trace in shown]),
            next_cursor=next_cursor,
        )


def _steps(
    session: Session, batch: Batch, found: Judged, threshold: Threshold, costs: Costs | None
) -> tuple[tuple[Step, ...], tuple[Interaction, ...]]:
    """What each patch of the plan does, and two of them; nothing of a batch that is too large."""
    if len(found.evidence) * len(batch.columns) > STEP_CELLS_MAX:
        return (), ()
    columns, scale = plan_columns(session, batch), Scale(costs or Costs())
    steps = steps_of(stages_of(batch.plan, columns), found.evidence, threshold, scale)
    machines = machines_of(batch.plan, columns)
    return tuple(steps), tuple(interactions_of(machines, found.evidence, threshold, scale))


def _refused(session: Session, batch: Batch, digests: Sequence[str]) -> Unrunnable:
    """The cells on the page that no engine can replay; unknown if the catalogue has changed."""
    try:
        return reopening.refused_cells(session, batch, refused_variants, digests)
    except CatalogueError:
        return {}


def shown_of(
    batch: Batch, traces: Sequence[TraceName], trace_digest: str | None
) -> Sequence[TraceName]:
    """All traces of the batch, or the one of that digest; raises NotFound."""
    found = [trace for trace in traces if trace_digest in {None, trace.digest}]
    if found or trace_digest is None:
        return found
    raise NotFound(f"batch {batch.code} has no trace {trace_digest}")


def title_of(batch: Batch, names: Sequence[str]) -> str:
    """The title of a batch's comparison: its own, or one by the names of its patch sets."""
    return f"{batch.title or heading(names, batch.plan)}: batch {batch.code}"


def chosen_of(batch: Batch, base: int, columns: Sequence[int] | None) -> list[int]:
    """The columns to compare by index, the base first."""
    count = len(batch.columns)
    missing = [place for place in columns or () if place >= count]
    if missing:
        raise ComparisonError(f"column {missing[0]} does not exist; the {count} count from 0")
    return list(dict.fromkeys([base, *(range(count) if columns is None else columns)]))


def command_of(batch: Batch, traces: Sequence[TraceName], chosen: Sequence[int]) -> tuple[str, ...]:
    """``refault replay`` over the same traces and the chosen columns, as words."""
    return replay_command(traces, [batch.columns[place] for place in chosen])


def replay_command(traces: Sequence[TraceName], columns: Sequence[BatchColumn]) -> tuple[str, ...]:
    """``refault replay`` over these traces and the variants of these columns, as words."""
    variants = dict.fromkeys(column.variant.text for column in columns)
    options = [word for text in variants for word in ("-v", text)]
    return ("refault", "replay", *map(_file_name, traces), *options)


def _file_name(trace: TraceName) -> str:
    """The likely file name; a name that needs shell quoting is replaced by the digest."""
    name = trace.name if _PLAIN_NAME.fullmatch(trace.name) else trace.digest[:12]
    return f"{name}.rft"
