"""Captures of guests in each paging mode: entries of 4 and 8 bytes, a PDPT anywhere in a page."""

import dataclasses
import io
from collections import defaultdict

import numpy as np
import pytest

from refault.catalogue import PatchSet, resolve
from refault.errors import ReplayRefused
from refault.replay import operations as op
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.trace import EventKind, MemorySlot, TraceHeader, TraceReader, TraceWriter

BASE, WALK = resolve(PatchSet()), resolve(PatchSet("walk"))
KERNEL = 0x63  # present, writable, accessed, dirty
USER = 0x67
PAGE_OFFSET = 0xC000_0000
INIT, WRITE, IS_USER = 32, 1, 4
CR0, PSE, PAE = 0x8001_0033, 0x10, 0x20
CODE, HEAP = 0x0804_8000, 0x0804_9000


class Capture:
    """The events of a guest whose tables are words of memory, as a capture tool records them."""

    def __init__(self, mode, entry_bytes):
        self.header = TraceHeader(
            "capture", mode, mode, 1, slots=(MemorySlot(0, 0, 64),), time_unit="instructions"
        )
        self.entry_bytes = entry_bytes
        self.words = defaultdict(int)
        self.rows = []

    def event(self, kind, flags=0, aux=0, insns=1, a=0, b=0):
        self.rows.append((int(kind), 0, flags, aux, insns, a, b))

    def set_entry(self, gpa, value):
        shift = 8 * (gpa & 7)
        mask = (1 << 8 * self.entry_bytes) - 1 << shift
        self.words[gpa & ~7] = self.words[gpa & ~7] & ~mask | value << shift

    def snapshot(self, page, level):
        found = {gpa: word for gpa, word in self.words.items() if gpa & -4096 == page and word}
        self.event(EventKind.TABLE_SNAPSHOT, aux=level, a=page, b=len(found))
        for gpa in sorted(found):
            self.event(EventKind.TABLE_ENTRY, insns=0, a=gpa, b=found[gpa])

    def start(self, cr3, cr4, tables):
        self.event(EventKind.MSR, INIT, a=0xC000_0080, b=0)
        self.event(EventKind.CR, INIT, aux=4, a=cr4)
        self.event(EventKind.CR, INIT, aux=0, a=CR0)
        for page, level in tables:
            self.snapshot(page, level)
        self.event(EventKind.CR, INIT, aux=3, a=cr3)

    def store(self, gpa, value, level):
        size = self.entry_bytes.bit_length() - 1
        self.event(EventKind.TABLE_STORE, aux=level << 4 | size, a=gpa, b=value)

    def read(self, gva, gpa):
        self.event(EventKind.ACCESS, IS_USER, aux=2, a=gva, b=gpa)

    def write(self, gva, gpa):
        self.event(EventKind.ACCESS, WRITE, aux=2, a=gva, b=gpa)

    def fault(self, gva, code):
        self.event(EventKind.PAGE_FAULT, code & 4, aux=code, a=gva, b=code)

    def trace(self):
        file = io.BytesIO()
        columns = list(zip(*self.rows, strict=True))
        with TraceWriter(file, self.header, level=1) as writer:
            names = ("kind", "vcpu", "flags", "aux", "insns", "a", "b")
            writer.append(
                **{
                    name: np.array(column, np.uint64)
                    for name, column in zip(names, columns, strict=True)
                }
            )
        file.seek(0)
        return file


def of_32_bit():
    """A directory, a table of the kernel's memory and one of a user's; then the guest goes on."""
    guest = Capture("32bit", 4)
    directory, kernel, user = 0x1000, 0x2000, 0x3000
    guest.set_entry(directory + 4 * (PAGE_OFFSET >> 22), kernel | KERNEL)
    guest.set_entry(directory + 4 * (CODE >> 22), user | USER)
    for frame in range(16):
        guest.set_entry(kernel + 4 * frame, frame << 12 | KERNEL)
    guest.set_entry(directory + 4 * ((PAGE_OFFSET >> 22) + 1), 0x80_0000 | KERNEL | 0x80)
    guest.set_entry(user + 4 * (CODE >> 12 & 1023), 0x5000 | USER)
    guest.start(directory, PSE, [(directory, 2), (kernel, 1), (user, 1)])
    go_on(guest, user + 4 * (HEAP >> 12 & 1023))
    return guest


def of_pae(table=0x1020):
    """As above with 8-byte entries; the PDPT is 32 bytes anywhere in a page."""
    guest = Capture("pae", 8)
    low, high, kernel, user = 0x2000, 0x3000, 0x4000, 0x6000
    guest.set_entry(table, low | 1)
    guest.set_entry(table + 24, high | 1)
    guest.set_entry(high, kernel | KERNEL)
    guest.set_entry(low + 8 * (CODE >> 21), user | USER)
    for frame in range(16):
        guest.set_entry(kernel + 8 * frame, frame << 12 | KERNEL)
    guest.set_entry(user + 8 * (CODE >> 12 & 511), 0x5000 | USER)
    guest.start(table, PAE, [(0x1000, 3), (low, 2), (high, 2), (kernel, 1), (user, 1)])
    go_on(guest, user + 8 * (HEAP >> 12 & 511))
    return guest


def go_on(guest, entry):
    """A read, a fault, the entry that was missing, a read of it; then it moves, and a store."""
    guest.read(CODE, 0x5000)
    guest.fault(HEAP, 4)
    guest.store(entry, 0x7000 | USER, 1)
    guest.read(HEAP + 8, 0x7008)
    guest.store(entry, 0x8000 | USER, 1)
    guest.event(EventKind.INVLPG, a=HEAP)
    guest.read(HEAP + 8, 0x8008)
    guest.write(PAGE_OFFSET + 0x9010, 0x9010)


GUESTS = {
    "32bit": of_32_bit,
    "pae": of_pae,
    "pae, at the start of a page": lambda: of_pae(0x1000),
    "pae, at the end of one": lambda: of_pae(0x1FE0),
}


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize("variant", [BASE, WALK], ids=["base", "walk"])
def test_every_witness_agrees(name, variant):
    guest = GUESTS[name]()
    with TraceReader(guest.trace()) as trace:
        [result] = replay(trace, [variant])

    assert result.findings == ()
    assert result.semantics["witnessed"] >= 6, result.semantics
    assert not any(result.skipped.values()), result.skipped


@pytest.mark.parametrize("name", GUESTS)
def test_a_store_to_a_table_goes_through_the_kernels_own_mapping(name):
    guest = GUESTS[name]()
    with TraceReader(guest.trace()) as trace:
        rows = [
            (int(ops.kind[i]), int(ops.a[i]), int(ops.want[i]))
            for ops, count, _ in operations_of(trace.header, trace.blocks(), {})
            for i in range(count)
        ]
    stores = [row for row in rows if row[0] == (op.ST4 if guest.entry_bytes == 4 else op.ST)]

    assert [row[1] - PAGE_OFFSET for row in stores[:2]] == [row[2] for row in stores[:2]]
    assert all(row[1] >= PAGE_OFFSET for row in stores)


def test_a_guest_with_five_levels_is_refused_with_the_remedy():
    guest = of_pae()
    guest.header = dataclasses.replace(guest.header, guest_mode="long5")
    with TraceReader(guest.trace()) as trace, pytest.raises(ReplayRefused, match="la57=off"):
        replay(trace, [BASE])
