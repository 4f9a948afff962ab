"""The cells of a plan that an engine cannot replay: known before anything is queued."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from db.models import Trace
from refault.catalogue import Refusal, Variant

# Traces that one refusal names.
_NAMES_MAX = 3

RefusedVariants = Callable[[Trace, Sequence[Variant]], Mapping[str, str]]
"""Of a trace and some variants: why an engine cannot replay it, by the variant's digest."""


def none_refused(_trace: Trace, _variants: Sequence[Variant]) -> Mapping[str, str]:
    """Every engine can replay everything."""
    return {}


Unrunnable = Mapping[tuple[str, str], str]
"""Why an engine cannot replay a cell, by (trace digest, variant digest)."""


def unrunnable(
    traces: Collection[Trace], variants: Sequence[Variant], ask: RefusedVariants
) -> Unrunnable:
    """The cells that cannot be run, with the reason."""
    return {
        (trace.digest, variant_digest): reason
        for trace in traces
        for variant_digest, reason in ask(trace, variants).items()
    }


def sentences(
    traces: Collection[Trace], columns: Sequence[tuple[str, Variant]], cells: Unrunnable
) -> Iterator[Refusal]:
    """One for each column and reason; ``columns`` are labels and variants."""
    for label, variant in columns:
        names: dict[str, list[str]] = {}
        for trace in traces:
            reason = cells.get((trace.digest, variant.digest))
            if reason is not None:
                names.setdefault(reason, []).append(trace.name)
        for reason, of in names.items():
            more = f" and {len(of) - _NAMES_MAX} more" if len(of) > _NAMES_MAX else ""
            yield Refusal(label, f"{', '.join(of[:_NAMES_MAX])}{more}: {reason}")
