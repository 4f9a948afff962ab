"""Where a patch or a patch set was run in this project, and what it did there."""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pydantic import Field
from sqlalchemy.orm import Session

from db.models import Batch, BatchColumn, PatchSet
from db.repositories import comparisons, patch_sets, simulators, uses
from db.repositories.comparisons import TraceName
from refault.compare import JudgedTrace, Verdict
from refault.compare.titles import heading
from services.api.comparisons.judging import Judged, judged, threshold_of
from services.api.schemas import Document, Time

USES_MAX = 20
"""Batches of one answer: each one is judged for it."""
CELLS_MAX = 5_000
"""Cells of all batches of one answer; one beyond them is judged on its own page only."""


class UsedColumn(Document):
    """A column with the patch or the patch set, and its verdicts."""

    label: str
    patch_set: uuid.UUID
    patch_set_name: str
    patches: list[str]
    verdicts: dict[str, int] = Field(
        description="By verdict against the batch's first column: on how many traces"
    )
    worst: str | None = Field(description="The worst of them")
    trace_name: str | None = Field(description="The first trace with that one")
    reason: str | None = Field(description="Why, on that trace")


class Use(Document):
    """A batch, and its columns with the patch or the patch set."""

    code: str
    title: str = Field(description="Its own, or one by the names of its patch sets")
    state: str
    plan: str
    created_at: Time
    is_stale: bool
    is_judged: bool = Field(
        description=f"False where this answer has {CELLS_MAX} cells without it: its page judges it"
    )
    trace_names: list[str] = Field(description="The first five traces")
    trace_count: int
    columns: list[UsedColumn]


Wanted = Callable[[BatchColumn, tuple[str, ...]], bool]


def with_patch(patch_id: str) -> Wanted:
    """Whether a column has this patch."""
    return lambda _, patches: patch_id in patches


def of_patch_set(patch_set_id: uuid.UUID) -> Wanted:
    """Whether a column is of this patch set."""
    return lambda column, _: column.patch_set_id == patch_set_id


def of_variant(digest: str) -> Wanted:
    """Whether a column is of this machine."""
    return lambda column, _: column.variant_digest == digest


def uses_of(session: Session, batches: Sequence[Batch], is_wanted: Wanted) -> list[Use]:
    """What the wanted columns of each batch came to."""
    if not batches:
        # Before the first worker has come, there is no simulator to be older than.
        return []
    present, threshold = simulators.current(session), threshold_of(session)
    ids = {column.patch_set_id for batch in batches for column in batch.columns}
    sets = {row.id: row for row in patch_sets.get_many(session, ids)}
    wanted = {batch: _columns(batch, sets, is_wanted) for batch in batches}
    # An ablation without the patch in every column left is no use of it.
    used = [batch for batch in batches if wanted[batch]]
    left, shown = CELLS_MAX, []
    for batch in used:
        if batch.run_count <= left:
            left -= batch.run_count
            shown.append(batch.id)
    traces = comparisons.traces_of_many(session, [batch.id for batch in used])
    cells = comparisons.cells_of_many(session, shown)
    found = []
    for batch in used:
        replayed, verdicts = traces.get(batch.id, []), None
        if batch.id in cells:
            verdicts = judged(session, batch, replayed, threshold, cells=cells[batch.id])
        names = [sets[column.patch_set_id].name for column in batch.columns]
        found.append(
            _use(
                batch,
                replayed,
                wanted[batch],
                verdicts,
                names=list(dict.fromkeys(names)),
                is_stale=simulators.is_stale(batch.simulators, present),
            )
        )
    return found


_Column = tuple[BatchColumn, PatchSet, tuple[str, ...]]


def _columns(batch: Batch, sets: Mapping[uuid.UUID, PatchSet], is_wanted: Wanted) -> list[_Column]:
    found = []
    for column in batch.columns:
        patch_set = sets[column.patch_set_id]
        patches = uses.patches_of(batch, column, patch_set)
        if is_wanted(column, patches):
            found.append((column, patch_set, patches))
    return found


def _use(
    batch: Batch,
    traces: Sequence[TraceName],
    columns: Sequence[_Column],
    found: Judged | None,
    *,
    names: Sequence[str],
    is_stale: bool,
) -> Use:
    return Use(
        code=batch.code,
        title=batch.title or heading(names, batch.plan),
        state=batch.state,
        plan=batch.plan,
        created_at=batch.created_at,
        is_stale=is_stale,
        is_judged=found is not None,
        trace_names=[trace.name for trace in traces[:5]],
        trace_count=len(traces),
        columns=[_used(column, found) for column in columns],
    )


def _used(entry: _Column, found: Judged | None) -> UsedColumn:
    column, patch_set, patches = entry
    verdicts: Counter[Verdict] = Counter()
    worst: tuple[Verdict, JudgedTrace, int] | None = None
    if found is not None:
        digests = [group.variant_digest for group in found.groups]
        place = digests.index(column.variant_digest)
        for trace in found.traces:
            verdict = trace.reason(place).verdict
            verdicts[verdict] += 1
            if worst is None or verdict.rank < worst[0].rank:
                worst = verdict, trace, place
    reason = None if worst is None else worst[1].reason(worst[2])
    return UsedColumn(
        label=column.label,
        patch_set=patch_set.id,
        patch_set_name=patch_set.name,
        patches=list(patches),
        verdicts={
            verdict.value: count
            for verdict, count in sorted(verdicts.items(), key=lambda each: each[0].rank)
        },
        worst=None if reason is None else reason.verdict.value,
        trace_name=None if reason is None else reason.trace_name,
        reason=None if reason is None else reason.text or None,
    )
