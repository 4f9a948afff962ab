"""The events of a block as bytes: streams that compress well and unpack by whole columns.

zstd finds repeated bytes, so each stream holds one kind of thing, as narrow as possible::

    stream    type       items              what
    kind      u8         one per event      in event order
    token     u16 | u32  one per event      kind by kind: 0 = next new descriptor of the kind,
                                            t = the kind's descriptor t-1 again
    offset    u16        one per event that kind by kind: low 12 bits of ``a``
                         is no fetch ACCESS
    insns8    u8         one per event      in event order; all ones: see the next wider
    insns16   u16        one per 255        likewise
    insns32   u32        one per 65535
    vcpu      u8         one per descriptor
    flags     u8         one per descriptor
    aux       u8         one per descriptor
    page      i64        one per descriptor ``a`` without its offset (a fetch ACCESS: all of it),
                                            less the one before
    shift     i64        one per descriptor ACCESS: ``b - a``; else 0
    value     i64        one per event that kind by kind: ``b``; of the kinds in DELTA_KINDS
                         is no ACCESS       less the one before

A descriptor is what events of one kind have in common: vCPU, flags, aux, page of ``a``, and for an
ACCESS the distance from gva to gpa. Kinds ascend; descriptors are numbered per kind in order of
first use. Guests touch few pages in many ways, so tokens repeat in long runs where raw addresses
would not, and separating the kinds keeps a burst of table stores from breaking a run of accesses.
"""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from refault.trace.contents import PAGE_BYTES
from refault.trace.format import EventKind

Column = NDArray[Any]

STREAM_TYPES: Final = {
    "kind": "<u1",
    "token": "<u2",
    "offset": "<u2",
    "insns8": "<u1",
    "insns16": "<u2",
    "insns32": "<u4",
    "vcpu": "<u1",
    "flags": "<u1",
    "aux": "<u1",
    "page": "<i8",
    "shift": "<i8",
    "value": "<i8",
}
# Of a block with 65535 descriptors of one kind or more.
WIDE_STREAM_TYPES: Final = {**STREAM_TYPES, "token": "<u4"}
# Entries of a table, and words a vector writes into one, mostly point a page further than the last.
DELTA_KINDS: Final = frozenset({EventKind.TABLE_ENTRY, EventKind.OP_POKE})
OFFSET_MASK: Final = PAGE_BYTES - 1
