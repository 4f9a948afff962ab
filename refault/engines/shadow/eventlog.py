"""The kvmmmu tracepoints as text, in the format of the kernel's trace buffer.

::

               <...>-0     [000]     0.000042: kvm_mmu_zap_page: sp gfn 4 1/4 q0 wux !pge …

The time stamp is the operation's index, as if every operation took a microsecond. The
processor is the vCPU, each of which has its own; the one after the last is the host's.
A page's text depends on the base: 2.6.35 has CR4.PAE instead of guest levels, and a role
without CR4.PGE does not show it. Where zapping has two steps, the first has another name
(7775834a233).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.catalogue import values
from refault.engines.shadow.kvm import tracepoints as tp
from refault.engines.shadow.state import words
from refault.replay import x86

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from refault.engines.shadow.state.machine import Machine

HEADER = """\
# tracer: nop
#
#           TASK-PID    CPU#    TIMESTAMP  FUNCTION
#              | |       |          |         |
"""

#: Lines made before ``is_over`` is asked again.
ROWS_AT_ONCE = 4096

_WORD = (1 << 64) - 1
_ACCESS = ("---", "--x", "w--", "w-x", "-u-", "-ux", "wu-", "wux")
_CODE_BITS = (
    (x86.PF_PRESENT, "P"),
    (x86.PF_WRITE, "W"),
    (x86.PF_USER, "U"),
    (x86.PF_RSVD, "RSVD"),
    (x86.PF_FETCH, "F"),
)
_PAGE_EVENTS = {
    tp.GET_PAGE: "kvm_mmu_get_page",
    tp.SYNC_PAGE: "kvm_mmu_sync_page",
    tp.UNSYNC_PAGE: "kvm_mmu_unsync_page",
    tp.ZAP_PAGE: "kvm_mmu_zap_page",
}


class EventLog:
    """Writes the rows of a host's kernels, one line each, and makes room for the next."""

    def __init__(self, write: Callable[[str], object], knobs: Mapping[str, int]) -> None:
        self._write = write
        self._has_levels = knobs["role_layout"] != values.ROLE_LAYOUT_PAE
        self._has_pge = knobs["role_cr4_pge"] == values.ROLE_CR4_PGE_PRESENT
        self._page_events = dict(_PAGE_EVENTS)
        if knobs["zap_commit"] == values.ZAP_COMMIT_BATCH:
            self._page_events[tp.ZAP_PAGE] = "kvm_mmu_prepare_zap_page"
        self._host = 0
        write(HEADER)

    def take(self, m: Machine, *, is_over: Callable[[], bool]) -> None:
        """Write the rows and remove them; stops early once ``is_over`` answers True."""
        vm = m.vm
        end = int(vm[words.EVENT_NEXT])
        if end > words.VM_WORDS:
            self._host = int(vm[words.VCPU_COUNT])
            written = np.asarray(vm[words.VM_WORDS : end], np.int64)
            rows = written.reshape(-1, words.EVENT_WORDS)
            for first in range(0, len(rows), ROWS_AT_ONCE):
                if is_over():
                    return
                some = rows[first : first + ROWS_AT_ONCE].tolist()
                self._write("".join(map(self._line, some)))
            vm[words.EVENT_NEXT] = words.VM_WORDS
        lost = int(vm[words.EVENTS_LOST])
        if lost:
            self._write(f"CPU:{self._processor(int(vm[words.CURRENT_CPU]))} [LOST {lost} EVENTS]\n")
            vm[words.EVENTS_LOST] = 0

    def _processor(self, vcpu: int) -> int:
        return self._host if vcpu < 0 else vcpu

    def _line(self, row: list[int]) -> str:
        seconds, rest = divmod(row[tp.STAMP], 1_000_000)
        processor = self._processor(row[tp.PROCESSOR])
        text = self._text(row[tp.EVENT], row[tp.ARGUMENTS :])
        return f"{'<...>':>16}-0     [{processor:03d}] {seconds:5d}.{rest:06d}: {text}\n"

    def _text(self, event: int, args: list[Any]) -> str:
        if event in self._page_events:
            ending = "" if event != tp.GET_PAGE else " new" if args[4] else " existing"
            return f"{self._page_events[event]}: {self._page(*args[:4])}{ending}"
        first, second = args[0] & _WORD, args[1] & _WORD
        match event:
            case tp.PAGETABLE_WALK:
                return f"kvm_mmu_pagetable_walk: addr {first:x} pferr {_code(second)}"
            case tp.PAGING_ELEMENT:
                return f"kvm_mmu_paging_element: pte {first:x} level {second}"
            case tp.SET_ACCESSED_BIT:
                return f"kvm_mmu_set_accessed_bit: gpa {first:x}"
            case tp.SET_DIRTY_BIT:
                return f"kvm_mmu_set_dirty_bit: gpa {first:x}"
            case tp.WALKER_ERROR:
                return f"kvm_mmu_walker_error: pferr {_code(first)}"
            case tp.PAGE_FAULT:
                return f"kvm_page_fault: address {first:x} error_code {second:x}"
            case tp.CR:
                return f"kvm_cr: cr_write {first:x} = 0x{second:x}"
            case _:
                found = "YOUNG" if second else "OLD"
                hva = first << x86.PAGE_SHIFT
                return f"kvm_age_page: hva {hva:x} gfn {first:x} {found}"

    def _page(self, gfn: int, role: int, root_count: int, unsync: int) -> str:
        level = (role & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT
        form = role & words.ROLE_FORMAT_MASK
        quadrant = (role & words.ROLE_QUADRANT_MASK) >> words.ROLE_QUADRANT_SHIFT
        told = [
            f"sp gfn {gfn & _WORD:x}",
            f"{level}/{form}" if self._has_levels else f"{level} pae" if form else f"{level}",
            f"q{quadrant} direct" if role & words.ROLE_DIRECT else f"q{quadrant}",
            _ACCESS[role >> words.ROLE_ACCESS_SHIFT & words.ACC_ALL],
        ]
        if role & words.ROLE_INVALID:
            told.append("invalid")
        if self._has_pge:
            told.append("pge" if role & words.ROLE_PGE else "!pge")
        told.append("nxe" if role & words.ROLE_NXE else "!nxe")
        told.append(f"root {root_count} {'unsync' if unsync else 'sync'}")
        return " ".join(told)


def _code(code: int) -> str:
    """A #PF code as number and letters, as __print_flags() joins them."""
    return f"{code:x} {'|'.join(letter for bit, letter in _CODE_BITS if code & bit)}"
