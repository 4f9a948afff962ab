"""Regions of a guest's linear addresses, as Linux lays them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from refault.diverge.measures import has_address
from refault.replay import operations as op
from refault.trace.format import EventKind

#: Begin of each region of a 4-level Linux guest (x86_64/mm.rst; the direct map is where releases
#: since 2.6.25 had it, without randomisation), in signed order.
_LONG: tuple[tuple[int, str], ...] = (
    (-1 << 63, "other"),
    (-0x8000_0000_0000, "other"),  # guard hole, hypervisor, LDT
    (-0x7800_0000_0000, "direct map"),
    (-0x3780_0000_0000, "other"),
    (-0x3700_0000_0000, "vmalloc"),
    (-0x1700_0000_0000, "other"),
    (-0x8000_0000, "kernel text"),
    (-0x6000_0000, "other"),  # modules, fixmap
    (0, "user"),
    (1 << 47, "other"),
)
_SHORT: tuple[tuple[int, str], ...] = (
    (-1 << 63, "other"),
    (0, "user half"),
    (0xC000_0000, "kernel half"),
    (1 << 32, "other"),
)
NOWHERE = "-"


class Regions:
    """The region of each operation; ``mode`` is the paging mode of the trace's header."""

    def __init__(self, mode: str) -> None:
        table = _LONG if mode == "long" else _SHORT
        self._begins = np.array([begin for begin, _ in table], np.int64)
        self.names = [name for _, name in table]

    def numbers(self, kind: Any, a: Any) -> Any:
        """The place in ``names`` of each operation's address; -1 where it has none."""
        found = np.searchsorted(self._begins, a, side="right") - 1
        with_address = [each for each in range(256) if has_address(each)]
        return np.where(np.isin(kind, with_address), found, -1)

    def name(self, number: int) -> str:
        """The name of a region by that place."""
        return NOWHERE if number < 0 else self.names[number]


def kind_name(kind: int) -> str:
    """An operation's kind in a word."""
    if kind == op.TABLE_WRITE:
        return "table write"
    return EventKind(kind).name.removeprefix("OP_").lower()
