"""The region of each operation of a part, by :mod:`refault.regions`."""

from __future__ import annotations

from typing import Any

import numpy as np

from refault.diverge.measures import has_address
from refault.regions import regions_of
from refault.replay import operations as op
from refault.trace.format import EventKind

_PROGRAM = ("user code, heap", "user mmap", "user stack")
#: Here a program is one region, and so are the rest of a kernel and a 32-bit kernel's half.
_COARSE_LONG = {"modules, fixmap": "other", **dict.fromkeys(_PROGRAM, "user")}
_COARSE_SHORT = {
    **dict.fromkeys(("direct map", "vmalloc"), "kernel half"),
    **dict.fromkeys(_PROGRAM, "user half"),
}
NOWHERE = "-"
_HAS_ADDRESS = np.array([has_address(kind) for kind in range(256)])


class Regions:
    """The region of each operation; ``mode`` is the paging mode of the trace's header."""

    def __init__(self, mode: str) -> None:
        table = regions_of(mode)
        coarse = _COARSE_LONG if mode == "long" else _COARSE_SHORT
        self._begins = np.array([begin for begin, _ in table], np.int64)
        self.names = [coarse.get(name, name) for _, name in table]

    def numbers(self, kind: Any, a: Any) -> Any:
        """The place in ``names`` of each operation's address; -1 where it has none."""
        found = np.searchsorted(self._begins, a, side="right") - 1
        return np.where(_HAS_ADDRESS[kind], found, -1)

    def name(self, number: int) -> str:
        """The name of a region by that place."""
        return NOWHERE if number < 0 else self.names[number]


def kind_name(kind: int) -> str:
    """An operation's kind in a word."""
    if kind == op.TABLE_WRITE:
        return "table write"
    return EventKind(kind).name.removeprefix("OP_").lower()
