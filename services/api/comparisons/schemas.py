"""Comparisons as JSON."""

from typing import Any

from pydantic import Field

from services.api.batches.schemas import BatchContents, BatchVerdict, VerdictReason
from services.api.patch_sets.schemas import Variant
from services.api.schemas import Digest, Document


class OverviewColumn(Document):
    """A column of the comparison: one variant, with all labels it has in the batch."""

    label: str
    labels: list[str]
    variant_digest: Digest


class OverviewTrace(Document):
    """The verdicts on one trace, column by column."""

    name: str
    digest: Digest
    verdicts: list[str]
    exits: list[int | None]
    changes: list[str | None] = Field(
        description="Of the exits against the base, in percent; null where they cannot be compared"
    )
    wrong: list[int | None] = Field(
        description="Accesses that the guest saw otherwise than the real one; where there are "
        "none, findings"
    )


class Extreme(Document):
    """A trace and the ratio of a column's exits on it to the base's."""

    trace: str
    ratio: float


class Mean(Document):
    """How many times as often as the base a column exits, over the traces it can be compared on."""

    ratio: float = Field(description="The geometric mean")
    trace_count: int
    best: Extreme
    worst: Extreme


class Common(Document):
    """The ratios of the columns' exits to the base's over one and the same set of traces."""

    traces: list[str] = Field(description="The names of those without an alarm under any column")
    ratios: list[float | None] = Field(description="Geometric means; they may be multiplied")


class Overview(Document):
    """The verdict on every cell, whichever traces are compared on this page."""

    columns: list[OverviewColumn] = Field(description="The base first")
    traces: list[OverviewTrace]
    means: list[Mean | None] = Field(
        description="Of each column; null for the base, and for less than two traces"
    )
    common: Common
    worst: VerdictReason | None = Field(
        description="The worst cell that has a result; null while there is none"
    )


_INTERACTIONS = Field(
    description="Pairs of patches of which columns have neither, each alone, and both: `sentence`, "
    "`is_notable`, `factors` (what a product of ratios is off by, geometric means) and of the "
    "traces with the largest terms each cost, and modelled cycles, under the four: `term` is what "
    "both do beyond the sum of each alone. At most 40 pairs; empty beyond 4,000 cells"
)


class ComparisonDocument(Document):
    """The results of a batch so far: its verdicts, and the comparisons of one page of traces."""

    batch: BatchContents
    title: str
    command: list[str] = Field(
        description="Gives the same numbers without the service; the command's words"
    )
    verdict: BatchVerdict
    overview: Overview
    answer: str | None = Field(
        description="Which patch does it, as a sentence, where the plan can tell; else null"
    )
    steps: list[dict[str, Any]] = Field(
        description="What each patch does against the column without it, over all traces: "
        "`verdict`, `sentence`, `merge` (take, do not, costs more, no effect, unknown), `costs` as "
        "geometric means, what it `breaks` and `repairs`, which later columns carry that on or end "
        "it. Of a matrix, patch sets under the same values. Empty beyond 4,000 cells"
    )
    interactions: list[dict[str, Any]] = _INTERACTIONS
    comparisons: list[dict[str, Any]] = Field(
        description="Per trace: columns with verdicts (the base first), then rows of semantics "
        "and counters whose lists follow the columns; null where there is no result yet. `notable` "
        "says which changes are beyond the threshold, `balance` of a column which costs moved and "
        "what they weigh, `refusal` why no engine can replay a cell that failed, so that a retry "
        "cannot help. With "
        "`costs`, `cost_model` beside them: modelled cycles, its weights and their sources"
    )
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next traces; null on the last page"
    )


class PickedColumn(Document):
    """A column of a comparison across batches."""

    name: str = Field(description="Batch and index, as `column` takes it")
    batch: str = Field(description="The code of its batch")
    index: int
    label: str
    variant: Variant
    simulator_digest: Digest = Field(description="Of the engine that made its results")


class LeftOut(Document):
    """What was asked for and is not compared."""

    name: str
    label: str
    reason: str


class AcrossDocument(Document):
    """Columns of any batches, compared on the traces that all of the batches have."""

    title: str
    command: list[str] = Field(
        description="Gives the same numbers without the service; the command's words"
    )
    columns: list[PickedColumn] = Field(description="In the order they were asked for")
    base: int
    left_out: list[LeftOut] = Field(
        description="Columns whose results are of another version of an engine: never mixed"
    )
    traces_left_out: list[LeftOut] = Field(description="Traces that not every batch has")
    simulators: dict[str, Digest]
    is_stale: bool = Field(description="The workers run another version of an engine by now")
    verdict: BatchVerdict
    overview: Overview
    interactions: list[dict[str, Any]] = _INTERACTIONS
    comparisons: list[dict[str, Any]] = Field(description="As those of a batch")
    next_cursor: str | None
