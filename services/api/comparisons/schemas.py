"""Comparisons as JSON."""

from typing import Any

from pydantic import Field

from services.api.batches.schemas import BatchSummary, BatchVerdict
from services.api.schemas import Document


class ComparisonDocument(Document):
    """What a batch came to so far: one comparison per trace."""

    batch: BatchSummary
    title: str
    command: list[str] = Field(description="Gives the same numbers without the service; as words")
    verdict: BatchVerdict
    comparisons: list[dict[str, Any]] = Field(
        description="Per trace: columns with verdicts (the base first), then rows of semantics "
        "and counters whose lists follow the columns; null where there is no result yet"
    )
