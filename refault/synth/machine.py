"""A synthetic guest: its memory and first tables, and blocks of the events it makes."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from refault.errors import SynthFailed
from refault.replay import x86
from refault.replay.compile.jit import INTERPRETED
from refault.synth import words as w
from refault.synth.commands import Accesses, Part, Rows
from refault.synth.kernels.machine import machine
from refault.synth.kernels.tables import KERNEL_TABLE
from refault.synth.layouts import CR0, Layout
from refault.synth.words import Guest
from refault.trace import Block

#: Events of one command at most: a fork of a process of 512 MiB, a root that is cleared, …
ROOM: Final = 1 << 19
CAPACITY: Final = ROOM + (1 << 19)
FIRST_FRAME: Final = 8192  # the first 32 MiB hold the kernel, its tables and the zero page
FIRST_TABLE: Final = 1024
KERNEL_FRAME: Final = 4096  # 16 MiB
TEXT_FRAMES: Final = 2048
DATA_FRAMES: Final = 2048
ZERO_FRAME: Final = 512
VMALLOC_PAGES: Final = 4096
TRAMPOLINE_PAGES: Final = 1 + w.MAX_VCPUS
DIRECT_BITS: Final = 0x1E3  # present, writable, accessed, dirty, large, global
TEXT_BITS: Final = 0x1E1
PAGE_BITS: Final = 0x163

REASONS: Final = {
    w.OUT_OF_MEMORY: "no frame is free; give it more --ram-mib, or fewer --processes",
    w.NO_AREA: "an access outside every area of its process",
    w.REFUSED_ACCESS: "an access that its area does not allow",
    w.ENDLESS_FAULTS: "an access that faults however often it is handled",
    w.COLUMNS_FULL: "one command made more events than fit; make its areas smaller",
    w.ALIASES_FULL: "more pages with a physical address than are remembered",
    w.BAD_PROCESS: "a process that does not run, or runs already",
    w.TOO_MANY_AREAS: f"more than {w.MAX_VMAS} areas in one process",
}


_NO_ROWS: Final = np.zeros((1, 6), np.int64)
_NO_ACCESSES: Final = Accesses(
    0, np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint16)
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a guest has. ``files`` of ``file_pages`` pages each are there to be mapped."""

    layout: Layout
    ram_mib: int = 512
    vcpus: int = 1
    processes: int = 64
    seed: int = 1
    pti: bool = False
    wants_huge: bool = False
    files: int = 64
    file_pages: int = 64
    alias_slots: int = 0


class Machine:
    """One guest. ``blocks`` executes rows of commands and yields the events.

    They come ``batch`` at a time, as soon as a part of what is executed leaves so many.
    """

    BATCH: ClassVar[int] = CAPACITY - ROOM

    def __init__(self, hardware: Hardware, *, batch: int = BATCH) -> None:
        self._batch = min(batch, self.BATCH)
        self.hardware = hardware
        self.guest = _new_guest(hardware)
        self.event_count = 0
        self.instruction_count = 0
        _Boot(self.guest, hardware).build()
        self._run = machine()
        self._step(_NO_ROWS, _NO_ACCESSES, -1, 0)

    def blocks(self, parts: Iterable[Part]) -> Iterator[Block]:
        """The events of commands and accesses, in arrays of their own.

        Raises:
            SynthFailed: a command cannot be executed.
        """
        for part in parts:
            rows, accesses = _NO_ROWS, _NO_ACCESSES
            if isinstance(part, Accesses):
                accesses = part
                rows = np.array([[0, 0, part.process, 0, 0, 0]], np.int64)
                count = len(part.address)
            else:
                rows = part
                count = len(part)
            at = 0
            while at < count:
                at = self._step(rows, accesses, at, count)
                if at < count or self.guest.state[w.EVENTS] >= self._batch:
                    yield self._take()
        if self.guest.state[w.EVENTS]:
            yield self._take()

    def _step(self, rows: Rows, accesses: Accesses, at: int, count: int) -> int:
        """Execute until the columns are nearly full; answers how many are done."""
        columns: tuple[Any, ...] = (accesses.address, accesses.flags, accesses.size)
        if INTERPRETED:
            # Narrow numbers would stay narrow in Python's arithmetic with numpy.
            columns = tuple(column.tolist() for column in columns)
        done = int(self._run(self.guest, rows, *columns, at, count, ROOM))
        if reason := int(self.guest.state[w.STOPPED]):
            raise SynthFailed(f"the synthetic guest stopped: {REASONS[reason]}")
        return done

    def _take(self) -> Block:
        """The events in the columns, which are empty again."""
        count = int(self.guest.state[w.EVENTS])
        self.guest.state[w.EVENTS] = 0
        names = Block._fields[1:]
        columns: list[Any] = [getattr(self.guest, name)[:count].copy() for name in names]
        block = Block(self.event_count, *columns)
        self.event_count += count
        self.instruction_count += int(block.insns.sum(dtype=np.int64))
        return block


def _new_guest(hardware: Hardware) -> Guest:
    """All arrays, with the frames that programs get in the free list."""
    layout = hardware.layout
    frame_count = (hardware.ram_mib << 20) // 4096
    block_count = frame_count // layout.huge_frames + 1

    def zeros(*shape: int) -> Any:
        return np.zeros(int(np.prod(shape)), np.int64)

    guest = Guest(
        state=zeros(w.STATE_WORDS),
        memory=_sparse(frame_count * x86.ENTRIES),
        frames=zeros(frame_count, w.FRAME_WORDS),
        blocks=zeros(block_count, w.BLOCK_WORDS),
        procs=zeros(hardware.processes + 1, w.PROC_WORDS),
        vmas=zeros(hardware.processes + 1, w.MAX_VMAS, w.VMA_WORDS),
        seen=zeros(hardware.vcpus, w.FILTER_SLOTS, 2),
        cache=zeros(hardware.files, hardware.file_pages),
        alias=zeros(max(1, hardware.alias_slots), 3),
        **w.empty_columns(CAPACITY),
    )
    for index, value in _state(hardware, frame_count).items():
        guest.state[index] = value
    for vcpu in range(hardware.vcpus):
        cpu = w.VCPUS + vcpu * w.VCPU_WORDS
        guest.state[cpu + w.CR0] = CR0
        guest.state[cpu + w.CR3] = FIRST_TABLE
        guest.state[cpu + w.CR4] = layout.cr4
        guest.state[cpu + w.EFER] = layout.efer
        guest.state[cpu + w.EPOCH] = 1
    _free_all(guest, frame_count, layout.huge_frames)
    return guest


def _sparse(words: int) -> Any:
    """Zeros of which only pages that are written take memory; numpy would ask for large pages."""
    return np.frombuffer(mmap.mmap(-1, 8 * words), np.int64)


def _state(hardware: Hardware, frame_count: int) -> dict[int, int]:
    layout = hardware.layout
    return {
        w.CAPACITY: CAPACITY,
        w.DICE: hardware.seed % 0x7FFF_FFFE + 1,
        w.LEVELS: layout.levels,
        w.INDEX_BITS: layout.index_bits,
        w.ENTRY_SHIFT: layout.entry_shift,
        w.NX: layout.nx,
        w.DIRECT: layout.direct,
        w.USER_END: layout.user_end,
        w.USER_TOP: layout.user_top,
        w.VCPU_COUNT: hardware.vcpus,
        w.HUGE_FRAMES: layout.huge_frames,
        w.WANTS_HUGE: int(hardware.wants_huge),
        w.ZERO_FRAME: ZERO_FRAME,
        w.KERNEL_ROOT: FIRST_TABLE,
        w.TEXT: layout.text,
        w.DATA: layout.data,
        w.VMALLOC: layout.vmalloc,
        w.TRAMPOLINE: layout.trampoline,
        w.PTI: int(hardware.pti),
        w.HAND: FIRST_FRAME,
        w.FIRST_FRAME: FIRST_FRAME,
        w.FRAME_COUNT: frame_count,
        w.FILE_PAGES: hardware.file_pages,
        w.ALIAS_SLOTS: hardware.alias_slots,
        w.LOW_WATER: min(1024, frame_count // 32),
        w.LEAVES_ROOTS: int(layout.levels == x86.LONG_LEVELS),
    }


def _free_all(guest: Guest, frame_count: int, huge_frames: int) -> None:
    """Whole blocks of free frames, the lowest first; frames behind the last block stay unused."""
    state, blocks = guest.state, guest.blocks
    for block in range(frame_count // huge_frames - 1, FIRST_FRAME // huge_frames - 1, -1):
        blocks[block * w.BLOCK_WORDS + w.BLOCK_NEXT] = state[w.HUGE_HEAD]
        state[w.HUGE_HEAD] = block + 1
        state[w.HUGE_COUNT] += 1
    guest.frames[ZERO_FRAME * w.FRAME_WORDS + w.REF] = 1 << 40
    guest.frames[ZERO_FRAME * w.FRAME_WORDS + w.OWNER] = -1 << 40


class _Boot:
    """Builds the kernel's own tables: the tables that are there when the trace begins."""

    def __init__(self, guest: Guest, hardware: Hardware) -> None:
        self.guest = guest
        self.layout = hardware.layout
        self.frame_count = int(guest.state[w.FRAME_COUNT])
        self.next_table = FIRST_TABLE

    def build(self) -> None:
        """Map all memory, the kernel's image, the trampoline and the vmalloc area."""
        layout, state = self.layout, self.guest.state
        root = self._table(layout.levels, 0)
        step = layout.huge_frames
        for frame in range(0, self.frame_count, step):
            is_text = KERNEL_FRAME <= frame < KERNEL_FRAME + TEXT_FRAMES
            shares_image = layout.levels != x86.LONG_LEVELS and is_text
            bits = TEXT_BITS if shares_image else DIRECT_BITS | layout.nx
            self._map(root, layout.direct + (frame << 12), frame << 12 | bits, 2)
        if layout.levels == x86.LONG_LEVELS:
            for frame in range(0, TEXT_FRAMES + DATA_FRAMES, step):
                bits = TEXT_BITS if frame < TEXT_FRAMES else DIRECT_BITS | layout.nx
                va = layout.text + (frame << 12)
                self._map(root, va, KERNEL_FRAME + frame << 12 | bits, 2)
        # Tables that all processes share must be there before any is made.
        last = layout.vmalloc + (VMALLOC_PAGES << 12)
        for va in range(layout.vmalloc, last, 1 << (12 + layout.index_bits)):
            self._down(root, va, 1)
        state[w.TRAMPOLINE_INDEX], state[w.TRAMPOLINE_ENTRY] = self._trampoline(root)

    def _trampoline(self, root: int) -> tuple[int, int]:
        """Its index and entry in a root that has no other part of the kernel."""
        layout = self.layout
        first = KERNEL_FRAME + TEXT_FRAMES + DATA_FRAMES - TRAMPOLINE_PAGES
        for page in range(TRAMPOLINE_PAGES):
            bits = 0x121 if page == 0 else PAGE_BITS | layout.nx
            self._map(root, layout.trampoline + (page << 12), first + page << 12 | bits, 1)
        index = self._index(layout.trampoline, layout.levels)
        entry = self._entry(root, index)
        if (
            layout.levels == x86.PAE_LEVELS
        ):  # its part of the root has all the kernel; this one has not
            other = self._table(2, 0xC000_0000)
            below = self._index(layout.trampoline, 2)
            self._put(other, below, self._entry((entry & x86.FRAME_MASK) >> 12, below))
            entry = other << 12 | x86.PRESENT
        return index, entry

    def _table(self, level: int, base: int) -> int:
        frame = self.next_table
        self.next_table += 1
        at = frame * w.FRAME_WORDS
        self.guest.frames[at + w.LEVEL] = level
        self.guest.frames[at + w.BASE] = base
        self.guest.frames[at + w.REF] = 1
        return frame

    def _index(self, va: int, level: int) -> int:
        bits = self.layout.index_bits
        index = va >> (12 + bits * (level - 1)) & ((1 << bits) - 1)
        return index & 3 if level == self.layout.levels == x86.PAE_LEVELS else index

    def _entry(self, frame: int, index: int) -> int:
        words = self._words(frame)
        return int(words[index])

    def _words(self, frame: int) -> Any:
        page = self.guest.memory[frame * 512 : (frame + 1) * 512]
        return page.view(np.uint32) if self.layout.levels == x86.LEGACY_LEVELS else page

    def _put(self, frame: int, index: int, entry: int) -> None:
        self._words(frame)[index] = entry
        self.guest.frames[frame * w.FRAME_WORDS + w.LIVE] += 1

    def _down(self, root: int, va: int, level: int) -> int:
        """The table of that level for an address, made if it is missing."""
        frame = root
        for above in range(self.layout.levels, level, -1):
            index = self._index(va, above)
            entry = self._entry(frame, index)
            if not entry:
                shift = 12 + self.layout.index_bits * (above - 1)
                child = self._table(above - 1, va >> shift << shift)
                is_pdpte = above == self.layout.levels == x86.PAE_LEVELS
                entry = child << 12 | (x86.PRESENT if is_pdpte else KERNEL_TABLE)
                self._put(frame, index, entry)
            frame = (entry & x86.FRAME_MASK) >> 12
        return frame

    def _map(self, root: int, va: int, entry: int, level: int) -> None:
        self._put(self._down(root, va, level), self._index(va, level), entry)
