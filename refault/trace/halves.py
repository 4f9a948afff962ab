"""The rules for registers that take two events: OP_BOOT, and OP_SREGS of a vCPU that runs.

::

    OP_BOOT_CR    a CR0  b CR3   ─► directly after it, of the same vCPU   OP_BOOT    a CR4  b EFER
    OP_SREGS_CR   a CR0  b CR3   ─►                                       OP_SREGS   a CR4  b EFER

A boot may have any values. Registers that userspace sets must be ones that a processor can have
together: kernels of 2010 check nothing and later ones refuse the rest, so nothing else means the
same in all of them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refault.trace.contents import Block
from refault.trace.format import EventKind

Column = NDArray[Any]

FIRST: Final = (EventKind.OP_BOOT_CR, EventKind.OP_SREGS_CR)
SECOND: Final = (EventKind.OP_BOOT, EventKind.OP_SREGS)

_PE, _ET, _NW, _CD, _PG = 1, 1 << 4, 1 << 29, 1 << 30, 1 << 31
_PAE = 1 << 5
_LME, _LMA = 1 << 8, 1 << 10
_CR0_BITS: Final = 0xE005_003F
_CR4_BITS: Final = 0x07FF
_EFER_BITS: Final = 0xD01
_CR3_END: Final = 1 << 40
_CR3_END_32: Final = 1 << 32


class Half(NamedTuple):
    """The first of two events, at the end of what was read; ``cr0`` and ``cr3`` None: not seen."""

    vcpu: int
    cr0: int | None
    cr3: int | None


class Misfit(NamedTuple):
    """An event of a block that breaks a rule, and which."""

    at: int
    why: str


class Halves:
    """Remembers, for each of the two kinds, a first event whose second is still to come."""

    def __init__(self) -> None:
        self._open: dict[EventKind, Half] = {}

    def begin_amid(self, block: Block) -> None:
        """A second event at the start of the first block that is read belongs to one before it."""
        for first, second in zip(FIRST, SECOND, strict=True):
            if int(block.kind[0]) == second:
                self._open[first] = Half(int(block.vcpu[0]), None, None)

    def unfinished(self) -> str:
        """Between which two events the trace ends, or nothing."""
        for first in self._open:
            return f"{first.name} and {SECOND[FIRST.index(first)].name}"
        return ""

    def misfit(
        self, block: Block, first: EventKind, halves: Column, found: Column
    ) -> Misfit | None:
        """What is wrong with the next events of one of the two kinds.

        ``halves`` are the places of the first ones in the block, ``found`` of the second.
        """
        before = self._open.pop(first, None)
        due, vcpus = halves + 1, block.vcpu[halves].astype(np.int64)
        if before is not None:
            due, vcpus = np.append(0, due), np.append(before.vcpu, vcpus)
        if len(due) and due[-1] == block.event_count:
            last = block.event_count - 1
            self._open[first] = Half(int(vcpus[-1]), int(block.a[last]), int(block.b[last]))
            due, vcpus = due[:-1], vcpus[:-1]
        second = SECOND[FIRST.index(first)]
        if not np.array_equal(found, due) or (block.vcpu[found] != vcpus).any():
            at = int(np.append(found, due).min())
            return Misfit(at, f"{second.name} directly follows {first.name} of its vCPU")
        if second is EventKind.OP_SREGS and len(found):
            return _impossible(block, found, before)
        return None


def _impossible(block: Block, found: Column, before: Half | None) -> Misfit | None:
    """The first registers set together that no processor has."""
    cr0, cr3 = block.a[found - 1], block.b[found - 1]
    cr4, efer = block.a[found], block.b[found]
    is_seen = np.ones(len(found), bool)
    if found[0] == 0 and before is not None:
        is_seen[0] = before.cr0 is not None
        cr0[0], cr3[0] = before.cr0 or 0, before.cr3 or 0
    has_paging, has_lme = cr0 & _PG != 0, efer & _LME != 0
    is_long = efer & _LMA != 0
    wrong = (cr0 & ~np.int64(_CR0_BITS) != 0) | (cr0 & _ET == 0)
    wrong |= (cr4 & ~np.int64(_CR4_BITS) != 0) | (efer & ~np.int64(_EFER_BITS) != 0)
    wrong |= has_paging & (cr0 & _PE == 0) | (cr0 & _NW != 0) & (cr0 & _CD == 0)
    wrong |= is_long != (has_paging & has_lme)
    wrong |= is_long & (cr4 & _PAE == 0)
    wrong |= (cr3 < 0) | (cr3 >= np.where(is_long, _CR3_END, _CR3_END_32))
    wrong &= is_seen
    if not wrong.any():
        return None
    why = (
        "its registers cannot stand together: CR0.ET is set, CR0.PG needs PE, CR0.NW needs CD, "
        "EFER.LMA is LME and PG and needs CR4.PAE, and no bit is set that a host of 2010 lacks"
    )
    return Misfit(int(found[wrong.argmax()]), why)
