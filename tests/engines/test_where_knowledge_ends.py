"""Where a capture does not say how something was done: no false finding, and it is counted."""

import io

import pytest

from refault.catalogue import Parameters, variant_from_golden_name
from refault.replay.session import replay
from refault.trace import EventKind, MemorySlot, TraceHeader, TraceReader, TraceWriter
from tests.engines.guests import A, D, P, U, W

BASES = ["base", "apr", "rel35"]
PT, USER, INIT = 4, 4, 32
RW = P | W | U | A | D
UNMAPPED = "table-store-applied-without-mapping"


class Captured:
    """A capture of one vCPU: page 0 at frame 100, and page 1 at the last table itself."""

    slots = (MemorySlot(0, 0, 1024),)

    def __init__(self, cr4=0x20):
        self.events = []
        self.add(EventKind.MSR, flags=INIT, a=0xC0000080, b=0x500)
        self.add(EventKind.CR, flags=INIT, aux=4, a=cr4)
        self.add(EventKind.CR, flags=INIT, aux=0, a=0x80010033)
        for level, table in ((4, 1), (3, 2), (2, 3)):
            self.snapshot(table, level, (table + 1) << 12 | RW)
        self.snapshot(PT, 1, 100 << 12 | RW, PT << 12 | RW)
        self.snapshot(5, 1, 102 << 12 | RW)
        self.add(EventKind.CR, flags=INIT, aux=3, a=0x1000)

    def add(self, kind, *, flags=0, aux=0, a=0, b=0):
        self.events.append((int(kind), 0, flags, aux, a & (1 << 64) - 1, b & (1 << 64) - 1))
        return self

    def snapshot(self, table, level, *entries):
        self.add(EventKind.TABLE_SNAPSHOT, aux=level, a=table << 12, b=len(entries))
        for index, entry in enumerate(entries):
            self.add(EventKind.TABLE_ENTRY, a=table << 12 | index << 3, b=entry)

    def load(self, gva, frame):
        return self.add(EventKind.ACCESS, flags=USER, aux=3, a=gva, b=frame << 12 | gva & 0xFFF)

    def table_store(self, gpa, value, *, level, size=3):
        return self.add(EventKind.TABLE_STORE, aux=level << 4 | size, a=gpa, b=value)

    def result(self, base, bypass=0):
        file = io.BytesIO()
        header = TraceHeader("capture", "a small capture", "long", 1, self.slots)
        with TraceWriter(file, header, level=1) as writer:
            for kind, vcpu, flags, aux, a, b in self.events:
                writer.append(kind=[kind], vcpu=vcpu, flags=flags, aux=aux, a=a, b=b)
        variant = variant_from_golden_name(base, Parameters(bypass=bypass))
        return replay(TraceReader(io.BytesIO(file.getvalue())), [variant])[0]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("bypass", [0, 1])
@pytest.mark.parametrize(
    ("gpa", "value", "level", "frame"),
    [
        (PT << 12, 101 << 12 | RW, 1, 101),  # the last table's entry
        (3 << 12, 5 << 12 | RW, 2, 102),  # a directory's, to another table
        (1 << 12, 0, 4, None),  # the root's, to nothing
    ],
)
def test_a_table_store_without_a_known_mapping_is_no_false_finding(
    base, bypass, gpa, value, level, frame
):
    capture = Captured().load(0, 100).table_store(gpa, value, level=level)
    capture.add(EventKind.CR, aux=3, a=0x1000)
    if frame is None:
        capture.add(EventKind.PAGE_FAULT, flags=USER, aux=4, a=0, b=4)
    else:
        capture.load(0, frame)
    result = capture.result(base, bypass)
    assert result.findings == ()
    assert result.semantics["witnessed"] == 2
    assert result.skipped == {UNMAPPED: 1}


def test_a_store_of_half_an_entry_without_a_known_mapping_changes_that_half():
    capture = Captured().load(0, 100).table_store(PT << 12, 101 << 12 | RW, level=1, size=2)
    result = capture.add(EventKind.CR, aux=3, a=0x1000).load(0, 101).result("base")
    assert (result.findings, result.skipped) == ((), {UNMAPPED: 1})


def test_a_store_without_a_known_mapping_to_a_frame_that_is_no_table_changes_memory_alone():
    """As the golden results of captures have it (pokes to frames never shadowed before)."""
    plain = Captured().load(0, 100).result("base")
    stored = Captured().load(0, 100).table_store(6 << 12, 7 << 12 | RW, level=1).result("base")
    assert stored.counters == plain.counters
    assert stored.page_digest == plain.page_digest
    assert stored.skipped == {UNMAPPED: 1}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_an_invpcid_drops_what_the_real_guest_dropped(base, kind):
    """Page 1 is the last table itself, so that table is out of sync when its entry changes."""
    capture = Captured().load(0, 100)
    capture.add(EventKind.ACCESS, flags=USER | 1, aux=3, a=0x1000, b=PT << 12)
    capture.table_store(PT << 12, 101 << 12 | RW, level=1)
    result = capture.add(EventKind.INVPCID, aux=kind, a=0, b=0).load(0, 101).result(base)
    assert result.findings == ()
    assert result.skipped["invpcid-applied-as-flush"] == 1


@pytest.mark.parametrize(
    ("cr4", "flags", "code", "is_judged"),
    [
        (0x20 | 1 << 21, 0, 1, False),  # SMAP: the kernel loads from a page of the user's
        (0x20 | 1 << 21, 1, 3, False),
        (0x20 | 1 << 20, 2, 17, False),  # SMEP: it fetches from one
        (0x20 | 1 << 22, USER, 37, False),  # a protection key
        (0x20, 0, 1, True),
        (0x20 | 1 << 20, 0, 1, True),  # SMEP is of fetches alone
        (0x20 | 1 << 21, USER, 5, True),  # and SMAP of the kernel's accesses
    ],
)
def test_a_fault_that_a_processor_of_2010_does_not_make_is_not_missed(cr4, flags, code, is_judged):
    capture = Captured(cr4).add(EventKind.PAGE_FAULT, flags=flags, aux=code, a=0, b=code)
    result = capture.result("base")
    assert result.semantics["missed_fault"] == is_judged
    assert result.skipped == ({} if is_judged else {"unsupported": 1})
