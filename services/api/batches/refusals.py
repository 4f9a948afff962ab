"""Which cells of a batch an engine cannot replay, asked before anything is queued.

An engine answers by the trace's header, which is stored with the trace, and without a compiler.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from db.models import Trace
from refault.catalogue import Variant
from refault.engines import get_engine
from refault.trace import MemorySlot, TraceHeader

_FIELDS = frozenset(field.name for field in dataclasses.fields(TraceHeader))


def refused_variants(trace: Trace, variants: Sequence[Variant]) -> Mapping[str, str]:
    """The variants whose engine cannot replay the trace: the reason by the variant's digest."""
    header = header_of(trace)
    reasons = {
        variant.digest: get_engine(variant.engine).refuses(header, variant) for variant in variants
    }
    return {digest: reason for digest, reason in reasons.items() if reason}


def header_of(trace: Trace) -> TraceHeader:
    """The trace's header as it stands in the file."""
    stored = {name: value for name, value in trace.header.items() if name in _FIELDS}
    known = {
        "content": trace.content,
        "name": trace.name,
        "guest_mode": trace.guest_mode,
        "vcpu_count": trace.vcpu_count,
    }
    lists = {name: tuple(stored.get(name, ())) for name in ("notes", "losses")}
    slots = tuple(MemorySlot(**slot) for slot in stored.get("slots", ()))
    return TraceHeader(**{**known, **stored, **lists, "slots": slots})
