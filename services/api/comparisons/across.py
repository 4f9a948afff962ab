"""Columns of any batches of the project, compared on the traces that all of them have.

A column is named by its batch and its index in it: ``b-7k3f:2``. Two versions of one engine
are never mixed: a column of another version than the base's is left out, and named.
"""

import dataclasses
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from db.models import Batch, BatchColumn
from db.repositories import audits, batches, comparisons, simulators
from db.repositories.comparisons import Cell, TraceName
from refault.audits import AuditReport
from refault.compare import (
    Comparison,
    JudgedTrace,
    Scale,
    Threshold,
    compare,
    judge,
    overall_of,
)
from refault.compare.costs import Costs
from refault.compare.interactions import Interaction, Machine, interactions_of, machines_of
from refault.compare.steps import TraceEvidence
from refault.errors import ComparisonError, InvalidRequest
from refault.lineage import present_name
from services.api.comparisons import service
from services.api.comparisons.judging import (
    Group,
    Judged,
    columns_of,
    evidence_of,
    plan_columns,
    threshold_of,
)
from services.api.comparisons.moves import moves_of
from services.api.comparisons.service import CELLS_MAX, STEP_CELLS_MAX, Part
from services.api.deps import Resources

COLUMNS_MAX = 40
"""Of one comparison; each may be of a batch of its own."""
CELLS_READ_MAX = 20_000
"""Cells of one comparison in all: more could not be judged in a second."""

Rules = tuple[Threshold, Scale]
"""What counts as a change, and how what rose is weighed against what fell."""

_COLUMN = re.compile(r"([A-Za-z0-9-]{1,40}):([0-9]{1,5})")


@dataclasses.dataclass(frozen=True)
class Picked:
    """A column of a batch, as this comparison names it."""

    batch: Batch
    index: int
    label: str

    @property
    def column(self) -> BatchColumn:
        """The column in its batch."""
        return self.batch.columns[self.index]

    @property
    def name(self) -> str:
        """Its name in an address."""
        return f"{self.batch.code}:{self.index}"

    @property
    def version(self) -> str:
        """The version of its engine that made its results."""
        return self.batch.simulator_of(self.column.variant.engine)


class LeftOut(NamedTuple):
    """Something that was asked for and is not compared, and why."""

    name: str
    label: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Across:
    """A comparison across batches. ``picked`` are its columns, the base at index ``base``."""

    picked: tuple[Picked, ...]
    base: int
    left_out: tuple[LeftOut, ...]
    traces_left_out: tuple[LeftOut, ...]
    title: str
    command: tuple[str, ...]
    simulators: Mapping[str, str]
    is_stale: bool
    judged: Judged
    interactions: tuple[Interaction, ...]
    comparisons: tuple[Comparison, ...]
    next_cursor: uuid.UUID | None


def across(
    resources: Resources,
    names: Sequence[str],
    base: int,
    part: Part,
    costs: Costs | None = None,
    *,
    is_paged: bool = True,
) -> Across:
    """The comparison of these columns against the one at index ``base``.

    ``costs`` weigh what rose against what fell.

    Raises:
        InvalidRequest: a name that names no column, or too many of them.
        NotFound: there is no such batch.
        ComparisonError: there is no such column, or no trace that all batches have.
    """
    with resources.transaction() as session:
        picked, places = _picked(session, names)
        base = _place_of("base column", base, places)
        columns = None
        if part.columns is not None:
            columns = [_place_of("column", place, places) for place in part.columns]
        kept, left_out = _of_one_version(picked, picked[base])
        traces, traces_left_out = _common(session, kept)
        shown: Sequence[TraceName] = [
            trace for trace in traces if part.trace_digest in {None, trace.digest}
        ]
        if not shown:
            raise ComparisonError(f"no trace {part.trace_digest} is in all of these batches")
        chosen = _chosen(kept, picked[base], columns, picked)
        count = len({each.column.variant_digest for each in kept})
        if len(shown) * count > CELLS_READ_MAX:
            raise InvalidRequest(
                f"{len(shown):,} traces × {count} columns are more than {CELLS_READ_MAX:,} cells: "
                "compare fewer columns, or one trace (`trace`)"
            )
        threshold, present = threshold_of(session), simulators.current(session)
        scale = Scale(costs or Costs())
        found = _judged(session, [picked[base], *kept], shown, (threshold, scale))
        is_small = len(shown) * count <= STEP_CELLS_MAX
        machines = _machines(session, kept) if is_small else []
        next_cursor = None
        if is_paged:
            wide = len({each.column.variant_digest for each in chosen})
            limit = max(1, min(part.limit or CELLS_MAX, CELLS_MAX // wide))
            shown, next_cursor = comparisons.page_of(shown, after=part.after, limit=limit)
        versions = {each.column.variant.engine: each.version for each in kept}
        return Across(
            picked=tuple(picked),
            base=base,
            left_out=tuple(left_out),
            traces_left_out=tuple(traces_left_out),
            title=f"refault comparison: {', '.join(each.name for each in kept)}",
            command=service.replay_command(traces, [each.column for each in chosen]),
            simulators=versions,
            is_stale=simulators.is_stale(versions, present),
            judged=found,
            interactions=tuple(interactions_of(machines, found.evidence, threshold, scale)),
            comparisons=_comparisons(session, chosen, shown, (threshold, scale), present),
            next_cursor=next_cursor,
        )


def _place_of(what: str, asked: int, places: Sequence[int]) -> int:
    if asked >= len(places):
        raise ComparisonError(
            f"{what} {asked} does not exist; the {len(places)} columns count from 0"
        )
    return places[asked]


def _picked(session: Session, names: Sequence[str]) -> tuple[list[Picked], list[int]]:
    """The columns, each once, and for each name the index of its column among them."""
    if not 1 <= len(names) <= COLUMNS_MAX:
        raise InvalidRequest(f"column: give 1 to {COLUMNS_MAX} of them, such as b-7k3f:2")
    found: dict[tuple[uuid.UUID, int], Picked] = {}
    keys: list[tuple[uuid.UUID, int]] = []
    for name in names:
        told = _COLUMN.fullmatch(name)
        if told is None:
            raise InvalidRequest(
                f"column {name[:60]!r}: expected a batch and the index of a column from 0, such as "
                "b-7k3f:2"
            )
        batch, index = batches.get(session, told[1]), int(told[2])
        if index >= len(batch.columns):
            count = len(batch.columns)
            raise ComparisonError(
                f"column {name}: batch {batch.code} has {count} columns, which count from 0"
            )
        keys.append((batch.id, index))
        found.setdefault(keys[-1], Picked(batch, index, batch.columns[index].label))
    picked, order = list(found.values()), list(found)
    # A column that is named twice is one, and is meant by both its indexes.
    places = [order.index(key) for key in keys]
    if len({each.batch.id for each in picked}) > 1:
        picked = [
            dataclasses.replace(each, label=f"{each.label} ({each.batch.code})") for each in picked
        ]
    return picked, places


def _of_one_version(picked: Sequence[Picked], base: Picked) -> tuple[list[Picked], list[LeftOut]]:
    """The columns whose results may stand in one table with the base's, and the others."""
    versions = {base.column.variant.engine: base.version}
    kept, left_out = [], []
    for each in picked:
        engine = each.column.variant.engine
        version = versions.setdefault(engine, each.version)
        if present_name(version) == present_name(each.version):
            kept.append(each)
            continue
        reason = (
            f"its results are of {engine} {each.version[:12]}, those compared of {version[:12]}: "
            f"submit the older batch again"
        )
        left_out.append(LeftOut(each.name, each.label, reason))
    return kept, left_out


def _common(session: Session, picked: Sequence[Picked]) -> tuple[list[TraceName], list[LeftOut]]:
    """The traces of all batches, in the order of the first, and those that only some have."""
    codes = {each.batch.id: each.batch.code for each in picked}
    traces = {batch_id: comparisons.traces_of(session, batch_id) for batch_id in codes}
    first = next(iter(traces.values()))
    everywhere = set.intersection(*({trace.id for trace in found} for found in traces.values()))
    if not everywhere:
        raise ComparisonError(f"no trace is in all of {', '.join(codes.values())}")
    having: dict[TraceName, list[str]] = {}
    for batch_id, found in traces.items():
        for trace in found:
            if trace.id not in everywhere:
                having.setdefault(trace, []).append(codes[batch_id])
    left_out = [
        LeftOut(trace.digest, trace.name, f"only in {', '.join(told)}")
        for trace, told in having.items()
    ]
    return [trace for trace in first if trace.id in everywhere], left_out


def _machines(session: Session, picked: Sequence[Picked]) -> list[Machine]:
    """The columns by what they are made of, under the names that they have here."""
    of_id = {each.batch.id: each.batch for each in picked}
    made = {
        batch_id: machines_of(batch.plan, plan_columns(session, batch))
        for batch_id, batch in of_id.items()
    }
    return [made[each.batch.id][each.index]._replace(label=each.label) for each in picked]


def _chosen(
    kept: Sequence[Picked], base: Picked, columns: Sequence[int] | None, picked: Sequence[Picked]
) -> list[Picked]:
    """The columns to compare, the base first."""
    if columns is None:
        return [base, *(each for each in kept if each is not base)]
    wanted = [picked[place] for place in dict.fromkeys(columns)]
    return [base, *(each for each in wanted if each is not base and each in kept)]


def _judged(
    session: Session, picked: Sequence[Picked], traces: Sequence[TraceName], rules: Rules
) -> Judged:
    """The verdicts on all cells from facts; ``picked`` begins with the base."""
    groups: dict[str, list[Picked]] = {}
    for each in picked:
        groups.setdefault(each.column.variant_digest, []).append(each)
    batches_by_id = {each.batch.id: each.batch for each in picked}
    ids = [trace.id for trace in traces]
    wanted: dict[uuid.UUID, set[str]] = {}
    for each in picked:
        wanted.setdefault(each.batch.id, set()).add(each.column.variant_digest)
    # No more than is judged: of each batch its own columns, on the traces that all have.
    cells = {
        batch_id: comparisons.cells(session, batch_id, ids, variants)
        for batch_id, variants in wanted.items()
    }
    reports = {
        batch_id: audits.reports(session, batches_by_id[batch_id], traces, variants)
        for batch_id, variants in wanted.items()
    }
    named = tuple(
        Group(tuple(dict.fromkeys(each.label for each in group)), digest)
        for digest, group in groups.items()
    )
    found, moves, evidence = [], [], []
    for trace in traces:
        told: list[tuple[Cell, AuditReport | None]] = []
        for digest, group in groups.items():
            of_group = [cells[each.batch.id][trace.id][digest] for each in group]
            # One cell, whichever batch asked for it.
            cell = next((each for each in of_group if each.facts is not None), of_group[0])
            audited = (reports[each.batch.id].get((trace.id, digest)) for each in group)
            told.append((cell, next(filter(None, audited), None)))
        told_of = [evidence_of(cell, report) for cell, report in told]
        by_digest = dict(zip(groups, told_of, strict=True))
        evidence.append(TraceEvidence(trace.name, trace.digest, by_digest))
        judgements = judge(told_of, *rules)
        found.append(
            JudgedTrace(
                trace.name,
                trace.digest,
                [group.label for group in named],
                [group.variant_digest for group in named],
                judgements,
            )
        )
        moves.append(moves_of([cell.facts for cell, _ in told]))
    return Judged(named, tuple(found), tuple(evidence), overall_of(found), 0, tuple(moves))


def _comparisons(
    session: Session,
    chosen: Sequence[Picked],
    traces: Sequence[TraceName],
    rules: Rules,
    present: Mapping[str, str],
) -> tuple[Comparison, ...]:
    places: dict[uuid.UUID, list[int]] = {}
    for each in chosen:
        places.setdefault(each.batch.id, []).append(each.index)
    of_id = {each.batch.id: each.batch for each in chosen}
    columns = {
        batch_id: columns_of(session, batch, traces, places[batch_id])
        for batch_id, batch in of_id.items()
    }
    return tuple(
        compare(
            [
                dataclasses.replace(columns[each.batch.id][trace.id][each.index], label=each.label)
                for each in chosen
            ],
            trace_name=trace.name,
            trace_digest=trace.digest,
            trace_limits=trace.limits,
            threshold=rules[0],
            scale=rules[1],
            present=present,
        )
        for trace in traces
    )
