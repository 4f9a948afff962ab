"""Which rows an audit lets the host execute together, and looks at afterwards."""

from __future__ import annotations

from refault.engines.audit.memory import has_page
from refault.engines.audit.shadow import uses_tables
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.compile.jit import kernel

#: Rows that are executed together at level flush: causes are looked for between two of them.
PLAIN_ROWS = 256


@kernel
def end_of_plain_rows(m: Machine, ops: op.Operations, i: int, end: int) -> int:
    """The first row from ``i`` on that is not plain: executed with others, and checked after them.

    Plain are accesses whose outcome is known from the real guest, by vCPUs that are ready, but not
    stores to shadowed tables: only of those do older values matter.
    """
    end = min(end, i + PLAIN_ROWS)
    while i < end:  # PLAIN_ROWS at most
        kind, cls, vcpu = ops.kind[i], ops.cls[i], ops.vcpu[i]
        if not op.LD <= kind <= op.ST1 or vcpu >= m.vm[words.VCPU_COUNT]:
            return i
        is_known = cls != op.WITNESS_NONE and cls != op.WITNESS_UNSEEN and cls != op.WITNESS_FAULT
        if not is_known or not uses_tables(m, cpu_of(vcpu)):
            return i
        if kind >= op.ST and has_page(m, ops.want[i] >> x86.PAGE_SHIFT):
            return i
        i += 1
    return i


@kernel
def next_poke(ops: op.Operations, i: int, end: int) -> int:
    """The first row from ``i`` on of which nothing tells later, or ``end``.

    It changes memory behind the MMU, or reads a dirty log, which begins anew.
    """
    while i < end and ops.kind[i] != op.POKE and ops.kind[i] != op.GET_DIRTY_LOG:  # a row each
        i += 1
    return i
