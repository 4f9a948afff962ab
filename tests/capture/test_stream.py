import io

import numpy as np
import pytest

from refault.capture.stream import RecordStream
from refault.errors import CaptureError
from refault.trace import EventKind, MemorySlot, TraceHeader, TraceReader, TraceWriter
from refault.trace.importers import ptt

ACCESS, CR, MSR = EventKind.ACCESS, EventKind.CR, EventKind.MSR
PG, PAE, LA57, LME = 1 << 31, 1 << 5, 1 << 12, 1 << 8
EFER = 0xC000_0080


def header(vcpus=2):
    return TraceHeader(
        content="capture",
        name="t",
        guest_mode="mixed",
        vcpu_count=vcpus,
        slots=(MemorySlot(slot=0, base_gfn=0, page_count=1 << 10),),
    )


def started():
    file = io.BytesIO()
    writer = TraceWriter(file, header())
    return file, writer, RecordStream(writer)


def records(*rows):
    """Rows of kind, vcpu, flags, aux, d, a, b."""
    return np.array([(*map(int, row),) for row in rows], ptt.RECORD).tobytes()


PTT_HEADER = ptt.HEADER.pack(ptt.MAGIC, 1, ptt.RECORD.itemsize, 2, 16384, 0, b"")
SNAPSHOT = [
    (EventKind.TABLE_SNAPSHOT, 0, 0, 4, 7, 0x1000, 3),
    *((EventKind.TABLE_ENTRY, 0, 0, 0, i, 0x1000, 5) for i in (0, 1, 511)),
]
STREAM = records(
    (MSR, 0, 32, 0, 0, EFER, LME),
    (CR, 0, 32, 4, 0, PAE, 0),
    (CR, 0, 32, 0, 0, PG | 1, 0),
    *SNAPSHOT,
    (CR, 0, 32, 3, 0, 0x1000, 0),
    (EventKind.MARK, 1, 0, 0, 10, 16, 0),
    (ACCESS, 1, 1, 3, 4, 0x7000, 0x2000),
    (ptt.END, 0, 0, 0, 1, 9, 1000),
)


def read_back(file):
    file.seek(0)
    with TraceReader(file) as reader:
        return [block.copied() for block in reader.blocks()]


@pytest.mark.parametrize("piece", [1, 7, 24, 1000])
def test_the_bytes_may_come_in_pieces_of_any_size(piece):
    file, writer, stream = started()
    data = PTT_HEADER + STREAM
    for at in range(0, len(data), piece):
        stream.feed(data[at : at + piece])
    stream.finish()
    writer.close(stream.recorded)
    (block,) = read_back(file)
    assert block.kind.tolist() == [4, 3, 3, 7, 8, 8, 8, 3, 10, 1]
    assert block.a[4:7].tolist() == [0x1000, 0x1008, 0x1FF8]
    assert block.insns.sum() == stream.instruction_count == 21
    assert stream.recorded == {
        "records": 9, "instructions": 1000, "last_insns": 1,
        "end_vcpu": 0, "end_flags": 0, "end_aux": 0,
    }  # fmt: skip
    assert stream.marks == {16: 1}
    assert stream.modes.guest_mode == "long"


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_snapshot_that_is_cut_is_left_out(kept):
    file, writer, stream = started()
    before = records((ACCESS, 0, 0, 3, 1, 0x5000, 0x6000))
    stream.feed(PTT_HEADER + before + records(*SNAPSHOT[:kept]) + b"half a record")
    stream.finish()
    writer.close()
    (block,) = read_back(file)
    assert block.kind.tolist() == [ACCESS]
    assert stream.recorded is None


def test_what_the_plugin_did_not_write_is_refused():
    _, _, stream = started()
    with pytest.raises(CaptureError, match="no header of its own"):
        stream.feed(b"QEMU: some words that no plugin writes, and enough of them for a header")


@pytest.mark.parametrize(
    ("registers", "mode"),
    [
        ([(0, PG)], "32bit"),
        ([(4, PAE), (0, PG)], "pae"),
        ([(4, PAE), (None, LME), (0, PG)], "long"),
        ([(0, PG), (0, 1), (4, PAE), (0, PG)], "mixed"),
        ([(4, PAE), (None, LME), (0, PG), (0, 1), (4, PAE | LA57), (0, PG)], "long5"),
        ([(0, 1)], "nonpaging"),
    ],
)
def test_the_guests_mode_is_read_from_its_registers(registers, mode):
    _, _, stream = started()
    rows = [
        (MSR, 0, 0, 0, 0, EFER, value) if number is None else (CR, 0, 0, number, 0, value, 0)
        for number, value in registers
    ]
    stream.feed(PTT_HEADER + records(*rows))
    assert stream.modes.guest_mode == mode
