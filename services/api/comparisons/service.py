"""From a batch's stored results to its comparisons, one per trace."""

import dataclasses
import re

from db.models import Batch, Trace
from db.repositories import batches
from refault.compare import Comparison, Overall, overall
from refault.errors import NotFound
from services.api.batches.schemas import BatchSummary
from services.api.batches.service import summary_of
from services.api.comparisons.judging import comparisons_of
from services.api.deps import Resources

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class BatchComparison:
    """What a batch came to so far. ``command`` gives the same numbers without the service."""

    batch: BatchSummary
    title: str
    command: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    verdict: Overall


def of_batch(
    resources: Resources, name: str, base: int = 0, trace_digest: str | None = None
) -> BatchComparison:
    """The comparison of a batch against its column ``base``, counted from 0.

    ``trace_digest`` leaves only that trace in it.

    Raises:
        NotFound: there is no such batch, or the trace is not part of it.
        ComparisonError: there is no such column.
    """
    with resources.transaction() as session:
        batch = batches.get(session, name)
        found = comparisons_of(session, batch, base, trace_digest)
        if not found:
            raise NotFound(f"batch {batch.code} has no trace {trace_digest}")
        document = summary_of(session, batch)
        names = " and ".join(entry.name for entry in document.patch_sets)
        return BatchComparison(
            batch=document,
            title=f"{names}: batch {batch.code}",
            command=_command(batch, base),
            comparisons=found,
            verdict=overall(found),
        )


def _command(batch: Batch, base: int) -> tuple[str, ...]:
    """``refault replay`` over the same traces and machines, the base first, as words."""
    columns = [batch.columns[base], *batch.columns] if base < len(batch.columns) else batch.columns
    variants = dict.fromkeys(column.variant.text for column in columns)
    traces = [_file_name(entry.trace) for entry in batch.traces]
    options = [word for text in variants for word in ("-v", text)]
    return ("refault", "replay", *traces, *options)


def _file_name(trace: Trace) -> str:
    """What the file is likely called; a name no shell would like is replaced by the digest."""
    name = trace.name if _PLAIN_NAME.fullmatch(trace.name) else trace.digest[:12]
    return f"{name}.rft"
