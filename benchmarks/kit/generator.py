"""Guests made from a seed, as captures: one that stays in its TLB, and one that keeps house.

Memory is 64 MiB. The kernel maps all of it at the direct map with 2 MiB pages, as Linux
does, so that stores to page tables go through a mapping. Data frames hold zeros.
"""

from __future__ import annotations

import numpy as np

from refault.trace import Block, EventKind, MemorySlot, TraceHeader

PAGES = 16384
P, W, U, A, D, PS = 1, 2, 4, 0x20, 0x40, 0x80
USER = P | W | U | A | D
WRITE, FETCH, FROM_USER, INIT = 1, 2, 4, 32
DIRECT_MAP_ENTRY = 273
KERNEL_PDPT, KERNEL_PD = 1, 2
FIRST_PML4, PROCESS_FRAMES = 16, 4
FIRST_PT, PROCESS_PTS = 256, 32
FIRST_DATA = 2048

_Columns = list[tuple[np.ndarray, ...]]


class Capture:
    """Collects events, a group at a time."""

    def __init__(self, name: str) -> None:
        self.header = TraceHeader("capture", name, "long", 1, (MemorySlot(0, 0, PAGES),))
        self._parts: _Columns = []

    def add(self, kind: EventKind, a, b=0, *, flags=0, aux=0) -> None:  # noqa: ANN001
        """Append events of one kind; ``a``, ``b`` and ``flags`` are one value or one an event."""
        a = np.atleast_1d(np.asarray(a, np.uint64).view(np.int64))
        columns = (int(kind), 0, flags, aux, 0, a, np.asarray(b, np.int64))
        self._parts.append(tuple(np.broadcast_to(column, a.shape) for column in columns))

    def start(self, tables: dict[int, tuple[int, dict[int, int]]], cr3: int) -> None:
        """Registers, and the page tables as the capture found them: frame → (level, entries)."""
        self.add(EventKind.CR, 0x80010033, flags=INIT, aux=0)
        self.add(EventKind.CR, 0x20, flags=INIT, aux=4)
        self.add(EventKind.MSR, 0xC0000080, 0x500, flags=INIT)
        for frame, (level, entries) in tables.items():
            self.add(EventKind.TABLE_SNAPSHOT, frame << 12, len(entries), aux=level)
            places = np.array(list(entries), np.int64)
            self.add(
                EventKind.TABLE_ENTRY,
                ((frame << 12) + 8 * places).view(np.uint64),
                list(entries.values()),
            )
        self.add(EventKind.CR, cr3, flags=INIT, aux=3)

    def access(self, pages, frames, rng: np.random.Generator) -> None:  # noqa: ANN001
        """Accesses of a user program: 65 % loads, 10 % fetches, 25 % stores."""
        flags = FROM_USER + rng.choice([0, FETCH, WRITE], len(pages), p=[0.65, 0.1, 0.25])
        inside = 8 * rng.integers(0, 512, len(pages))
        self.add(
            EventKind.ACCESS,
            ((pages << 12) + inside).astype(np.uint64),
            (frames << 12) + inside,
            flags=flags,
            aux=3,
        )

    def store_entries(self, places, values) -> None:  # noqa: ANN001
        """The kernel writes entries of a last-level page table."""
        self.add(EventKind.TABLE_STORE, np.asarray(places, np.uint64), values, aux=0x13)

    def blocks(self) -> list[Block]:
        """All of it as one block."""
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        return [Block(0, *columns).copied()]


def _tables(processes: int, tables_each: int) -> dict[int, tuple[int, dict[int, int]]]:
    """The kernel's direct map and each process's upper levels."""
    tables = {
        KERNEL_PDPT: (3, {0: KERNEL_PD << 12 | P | W | A}),
        KERNEL_PD: (2, {i: i << 21 | P | W | A | D | PS for i in range(PAGES // 512)}),
    }
    for process in range(processes):
        pml4 = pml4_of(process)
        below = pml4 + 1 << 12 | P | W | U | A
        tables[pml4] = (4, {0: below, DIRECT_MAP_ENTRY: KERNEL_PDPT << 12 | P | W | A})
        tables[pml4 + 1] = (3, {0: pml4 + 2 << 12 | P | W | U | A})
        leaves = {i: pt_of(process, i) << 12 | P | W | U | A for i in range(tables_each)}
        tables[pml4 + 2] = (2, leaves)
    return tables


def pml4_of(process: int) -> int:
    """Frame of a process's root."""
    return FIRST_PML4 + process * PROCESS_FRAMES


def pt_of(process: int, index: int) -> int:
    """Frame of one of a process's last-level tables."""
    return FIRST_PT + process * PROCESS_PTS + index


def hit_heavy(events: int, seed: int = 1) -> Capture:
    """One program: 64 hot pages, 448 warm ones, and now and then one of 7680 others."""
    rng = np.random.default_rng(seed)
    capture = Capture("hit-heavy")
    tables = _tables(1, 16)
    for table in range(16):
        first = FIRST_DATA + 512 * table
        tables[pt_of(0, table)] = (1, {i: first + i << 12 | USER for i in range(512)})
    capture.start(tables, pml4_of(0) << 12)
    kind = rng.choice(3, events, p=[0.9, 0.09, 0.01])
    low, high = np.array([0, 64, 512]), np.array([64, 512, 8192])
    pages = rng.integers(low[kind], high[kind])
    capture.access(pages, pages + FIRST_DATA, rng)
    return capture


PROCESSES = 4
STATIC, BURST = 256, 16
TURN = 1600


def mixed(events: int, seed: int = 2) -> Capture:
    """Four processes in turns of about 1600 events.

    In each: a switch of CR3; twice a page is copied on write (a table store and INVLPG);
    16 pages are mapped, used, unmapped and flushed with CR3; one of them faults then.
    That is 34 table stores a turn, a little over 2 %.
    """
    rng = np.random.default_rng(seed)
    capture = Capture("mixed")
    tables = _tables(PROCESSES, 2)
    static = []
    for process in range(PROCESSES):
        frames = FIRST_DATA + process * 1024 + np.arange(STATIC)
        static.append(frames)
        entries = {i: int(frame) << 12 | USER for i, frame in enumerate(frames)}
        tables[pt_of(process, 0)] = (1, entries)
        tables[pt_of(process, 1)] = (1, {})
    capture.start(tables, pml4_of(0) << 12)
    for turn in range(events // TURN):
        process = (turn + 1) % PROCESSES
        _turn(capture, rng, turn, process, static[process])
    return capture


def _turn(
    capture: Capture, rng: np.random.Generator, turn: int, process: int, frames: np.ndarray
) -> None:
    def use_static(count: int) -> None:
        kind = rng.choice(2, count, p=[0.95, 0.05])
        pages = rng.integers(np.array([0, 48])[kind], np.array([48, STATIC])[kind])
        capture.access(pages, frames[pages], rng)

    cr3 = pml4_of(process) << 12
    capture.add(EventKind.CR, cr3, pml4_of((process - 1) % PROCESSES) << 12, aux=3)
    use_static(600)
    for copy in range(2):
        page = int(rng.integers(0, 48))
        # Frames 512 apart, so that no other page of this process has them.
        frames[page] = FIRST_DATA + process * 1024 + page + 512 * ((turn + copy) % 2)
        entry = (pt_of(process, 0) << 12) + 8 * page
        capture.store_entries([entry], [int(frames[page]) << 12 | USER])
        capture.add(EventKind.INVLPG, page << 12, cr3)
        use_static(50)
    first = BURST * int(rng.integers(0, 512 // BURST))
    slots = np.arange(first, first + BURST)
    data = FIRST_DATA + 8192 + 16 * process + np.arange(BURST)
    entries = (pt_of(process, 1) << 12) + 8 * slots
    capture.store_entries(entries, (data << 12) | USER)
    used = rng.integers(0, BURST, 200)
    capture.access(512 + slots[used], data[used], rng)
    capture.store_entries(entries, np.zeros(BURST, np.int64))
    capture.add(EventKind.CR, cr3, cr3, aux=3)
    gva = 512 + first << 12
    capture.add(EventKind.PAGE_FAULT, gva, 4, flags=FROM_USER, aux=4)
    use_static(660)
