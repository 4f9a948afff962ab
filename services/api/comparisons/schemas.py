"""Comparisons as JSON."""

from typing import Any

from pydantic import Field

from services.api.batches.schemas import BatchContents, BatchVerdict, VerdictReason
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


class Overview(Document):
    """The verdict on every cell, whichever traces are compared on this page."""

    columns: list[OverviewColumn] = Field(description="The base first")
    traces: list[OverviewTrace]
    worst: VerdictReason | None = Field(
        description="The worst cell that has a result; null while there is none"
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
        "it. Of plans series, ablation and each; empty for a matrix, and beyond 4,000 cells"
    )
    comparisons: list[dict[str, Any]] = Field(
        description="Per trace: columns with verdicts (the base first), then rows of semantics "
        "and counters whose lists follow the columns; null where there is no result yet. `notable` "
        "says which changes are beyond the threshold, `balance` of a column which costs moved and "
        "what they weigh. With "
        "`costs`, `cost_model` beside them: modelled cycles, its weights and their sources"
    )
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next traces; null on the last page"
    )
