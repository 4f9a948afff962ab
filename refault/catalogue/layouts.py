"""The size of struct kvm_mmu_page in each form in which patch 5 was discussed.

The fields are those of kvm.git in April 2010, in order (2.6.34 still has an
unused ``oos_link`` after ``hash_link``). Sizes follow from natural alignment,
as in the x86 ABIs::

    x86-64   long, pointer 8    int 4    bool 1
    i386     long, pointer 4    int 4    bool 1

The forms differ in memory only, so they have no knob and are part of no digest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

CACHE_LINE_BYTES = 64
#: Bytes of a long, which is also a pointer's size.
LONG_BYTES = {"x86-64": 8, "i386": 4}
_BYTES = {"int": 4, "bool": 1}
_BITS_OF_A_BYTE = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """``count`` times a ``long``, ``int`` or ``bool``, or that many bits.

    The bits of a ``bitmap`` are in longs; ``bits`` are bit fields of bool.
    """

    name: str
    kind: str
    count: int = 1


_HEAD = (
    Field("link", "long", 2),
    Field("hash_link", "long", 2),
    Field("gfn", "long"),
    Field("role", "int"),
    Field("spt", "long"),
    Field("gfns", "long"),
    Field("slot_bitmap", "bitmap", 36),
)
_TAIL = (Field("parent_pte", "long"), Field("unsync_child_bitmap", "bitmap", 512))
_COUNTS = (Field("root_count", "int"), Field("unsync_children", "int"))

#: The form of the bases to which patch 5 applies.
BEFORE = "int and bool"
LAYOUTS: dict[str, tuple[Field, ...]] = {
    BEFORE: (
        *_HEAD,
        Field("multimapped", "int"),
        Field("root_count", "int"),
        Field("unsync", "bool"),
        Field("unsync_children", "int"),
        *_TAIL,
    ),
    "flag word": (*_HEAD, Field("flags", "int"), *_COUNTS, *_TAIL),
    "bool": (*_HEAD, Field("multimapped", "bool"), Field("unsync", "bool"), *_COUNTS, *_TAIL),
    "bit fields": (*_HEAD, Field("multimapped and unsync", "bits", 2), *_COUNTS, *_TAIL),
}


def sizeof(fields: Iterable[Field], long_bytes: int) -> int:
    """Bytes of a struct, with the padding at its end."""
    end = 0
    widest = 1
    for field in fields:
        unit, count = _unit(field, long_bytes)
        end = _aligned(end, unit) + unit * count
        widest = max(widest, unit)
    return _aligned(end, widest)


def layout_document(name: str) -> dict[str, Any]:
    """Sizes of a layout and of the one before it: ``sizeof`` and ``cachelines`` of each ABI."""
    return {"form": name, **_sizes(name), "before": _sizes(BEFORE)}


def _sizes(name: str) -> dict[str, dict[str, int]]:
    sizes = {abi: sizeof(LAYOUTS[name], long_bytes) for abi, long_bytes in LONG_BYTES.items()}
    return {
        abi: {"sizeof": size, "cachelines": -(-size // CACHE_LINE_BYTES)}
        for abi, size in sizes.items()
    }


def _unit(field: Field, long_bytes: int) -> tuple[int, int]:
    if field.kind == "bitmap":
        return long_bytes, -(-field.count // (long_bytes * _BITS_OF_A_BYTE))
    if field.kind == "bits":
        return 1, -(-field.count // _BITS_OF_A_BYTE)
    return (long_bytes if field.kind == "long" else _BYTES[field.kind]), field.count


def _aligned(offset: int, unit: int) -> int:
    return -(-offset // unit) * unit
