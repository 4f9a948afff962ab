"""The guest's own walk of an address, level by level, read from a host's arrays (SDM 3A, 4.3-4.5).

It sets no A and no D: it shows the tables as they are between two operations.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Self

from refault.engines.shadow.state import words as model
from refault.engines.walk import words as arch
from refault.replay import x86
from refault.results import SHADOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.engines.base import Host

_WORD = (1 << 64) - 1
WALK = "walk"
MODES = {4: "long mode", 3: "PAE", 2: "32-bit", 0: "no paging"}


class Word(int):
    """A word that is shown, and written as JSON, in hexadecimal."""

    def __new__(cls, value: int) -> Self:
        """The word without sign."""
        return super().__new__(cls, value & _WORD)

    def __str__(self) -> str:
        return f"{int(self):#x}"


@dataclasses.dataclass(frozen=True, slots=True)
class GuestEntry:
    """One entry read: where it is, and what it holds."""

    level: int
    gpa: Word
    value: Word


@dataclasses.dataclass(frozen=True, slots=True)
class GuestWalk:
    """A walk of the guest's tables; ``ends`` says how: the address in memory, or why not.

    ``table`` is the frame of the last table read, None without paging.
    """

    mode: str
    cr3: Word
    entries: tuple[GuestEntry, ...]
    ends: str
    gpa: Word | None
    table: Word | None


class _Guest:
    """Registers of one vCPU, and memory, of a host that keeps them."""

    def __init__(self, host: Any, vcpu: int) -> None:
        m = host.machine
        self.mem = m.mem
        if host.variant.engine == SHADOW:
            cpu = model.CPUS + vcpu * model.CPU_WORDS
            self.levels = int(m.vm[cpu + model.ROOT_LEVEL])
            self.cr3, self.cr4, self.efer = (
                int(m.vm[cpu + at]) for at in (model.CR3, model.CR4, model.EFER)
            )
            self.pdptes = [int(word) for word in m.vm[cpu + model.PDPTRS : cpu + model.PDPTRS + 4]]
            self._slots = [
                [int(word) for word in m.vm[at : at + model.SLOT_WORDS]]
                for at in range(
                    model.SLOTS,
                    model.SLOTS + int(m.vm[model.SLOT_COUNT]) * model.SLOT_WORDS,
                    model.SLOT_WORDS,
                )
            ]
            self._slots = [
                [s[model.SLOT_BASE], s[model.SLOT_PAGES], s[model.SLOT_FRAMES] + model.MEMORY]
                for s in self._slots
                if s[model.SLOT_USED]
            ]
            self._frames, self._stride = m.frame, model.FRAME_WORDS
            return
        cpu = arch.CPUS + vcpu * arch.CPU_WORDS
        cr0, self.cr3, self.cr4, self.efer = (int(word) for word in m.state[cpu : cpu + 4])
        self.levels = _levels(cr0, self.cr4, self.efer)
        self.pdptes = [int(word) for word in m.state[cpu + arch.PDPTES : cpu + arch.PDPTES + 4]]
        self._slots = []
        for at in range(arch.SLOTS, arch.CPUS, arch.SLOT_WORDS):
            if m.state[at + arch.SLOT_USED]:
                self._slots.append([int(word) for word in m.state[at : at + arch.SLOT_USED]])
        self._frames, self._stride = m.frames, 1

    def entry(self, gpa: int, size: int) -> int | None:
        """An entry of 4 or 8 bytes, or None outside memory."""
        gfn = gpa >> x86.PAGE_SHIFT
        for base, pages, first in self._slots:
            if base <= gfn < base + pages:
                content = int(self._frames[first + (gfn - base) * self._stride])
                word = int(self.mem[content + ((gpa >> 3) & 511)])
                return word if size == 8 else word >> ((gpa & 4) << 3) & x86.U32  # noqa: PLR2004
        return None

    def is_leaf(self, level: int, entry: int) -> bool:
        """Does a present entry map a page?"""
        if level == 1 or not entry & x86.LARGE:
            return level == 1
        if self.levels == x86.LEGACY_LEVELS:
            return bool(self.cr4 & x86.CR4_PSE)
        return level == 2 or (level == x86.PAE_LEVELS and self.levels == x86.LONG_LEVELS)  # noqa: PLR2004


def _levels(cr0: int, cr4: int, efer: int) -> int:
    if not cr0 & x86.CR0_PG:
        return x86.NONPAGING
    if efer & x86.EFER_LMA:
        return x86.LONG_LEVELS
    return x86.PAE_LEVELS if cr4 & x86.CR4_PAE else x86.LEGACY_LEVELS


def keeps_guest(host: Host) -> bool:
    """Whether the host's memory and registers can be read: not those of another process."""
    return host.variant.engine in (SHADOW, WALK)


def memory_word(host: Host, gpa: int) -> int:
    """The 8-byte word of guest memory at ``gpa``; 0 outside memory."""
    return _Guest(host, 0).entry(gpa & ~7, 8) or 0


def levels_of(host: Host, vcpu: int) -> int:
    """The levels of the guest's tables at this moment; 0 without paging."""
    return _Guest(host, vcpu).levels


def cr0_of(hosts: Sequence[Host], vcpu: int) -> int | None:
    """CR0 of a vCPU, of the first host that shows it; None where all are other processes."""
    for host in hosts:
        if not keeps_guest(host):
            continue
        m = host.machine  # type: ignore[attr-defined]
        if host.variant.engine == SHADOW:
            return int(m.vm[model.CPUS + vcpu * model.CPU_WORDS + model.CR0])
        return int(m.state[arch.CPUS + vcpu * arch.CPU_WORDS + arch.CR0])
    return None


def guest_walk(host: Host, vcpu: int, gva: int) -> GuestWalk:
    """What the guest's tables say of ``gva`` now."""
    guest = _Guest(host, vcpu)
    mode, cr3 = MODES.get(guest.levels, f"{guest.levels} levels"), Word(guest.cr3)
    if guest.levels == x86.NONPAGING:
        gpa = Word(gva & x86.U32)
        return GuestWalk(mode, cr3, (), "maps itself", gpa, None)
    entries, ends, found = _read(guest, gva)
    table = Word(entries[-1].gpa >> x86.PAGE_SHIFT) if entries else None
    return GuestWalk(mode, cr3, tuple(entries), ends, found, table)


def _read(guest: _Guest, gva: int) -> tuple[list[GuestEntry], str, Word | None]:
    """The entries, how the walk ends, and the address it reaches."""
    if guest.levels != x86.LONG_LEVELS:
        gva &= x86.U32
    size, bits = (4, 10) if guest.levels == x86.LEGACY_LEVELS else (8, 9)
    mask = x86.FRAME32_MASK if size == 4 else x86.FRAME_MASK  # noqa: PLR2004
    level, entry = guest.levels, guest.cr3
    entries: list[GuestEntry] = []
    if level == x86.PAE_LEVELS:
        entry, level = guest.pdptes[gva >> 30 & 3], 2
        if not entry & x86.PRESENT:
            return [], "the PDPTE is absent", None
    while True:
        index = gva >> (x86.PAGE_SHIFT + bits * (level - 1)) & ((1 << bits) - 1)
        gpa = (entry & mask) + index * size
        read = guest.entry(gpa, size)
        if read is None:
            return entries, f"the table of level {level} is outside memory", None
        entry = read
        entries.append(GuestEntry(level, Word(gpa), Word(entry)))
        if not entry & x86.PRESENT:
            return entries, f"absent at level {level}", None
        if guest.is_leaf(level, entry):
            break
        level -= 1
    inside = (1 << (x86.PAGE_SHIFT + bits * (level - 1))) - 1
    gpa = (entry & mask & ~inside) | (gva & inside)
    if size == 4 and level == 2:  # noqa: PLR2004  # PSE-36
        gpa += (entry >> 13 & 0xFF) << 32
    return entries, f"maps gpa {gpa:#x}", Word(gpa)
