import hashlib
import io
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings

from refault.errors import ImportFailed
from refault.trace import TraceReader
from refault.trace.importers.ptt import HEADER, RECORD, import_ptt, to_records
from tests.trace.files import BOOT, WORKLOAD, read_rows
from tests.trace.strategies import RAM_PAGES, block_of, captures

#: SHA-256 of the captures as they came out of the capture tool, uncompressed, and their sizes.
CAPTURED = {
    WORKLOAD: ("63629c7cb6182cab40a153c641e4e529d9c30c634d999240b533cc1a46dd491b", 26_902_360),
    BOOT: ("ca4dfee7966eff6e5c57cb64bf5eebae062536be60a217c2896ae0ac0b52ecf8", 46_241_032),
}
#: Records of each kind as the capture tool's own checker counts them.
COUNTS = {
    WORKLOAD: (705577, 364392, 2107, 1, 3451, 14610, 2726, 25485, 2572, 7),
    BOOT: (1439688, 414799, 19768, 2, 3809, 15591, 2656, 27892, 2494, 7),
}
KINDS = [
    "ACCESS",
    "TABLE_STORE",
    "CR",
    "MSR",
    "INVLPG",
    "PAGE_FAULT",
    "TABLE_SNAPSHOT",
    "TABLE_ENTRY",
    "TABLE_DROP",
    "MARK",
]


def header_bytes(*, version=1, record_bytes=24, vcpus=1, slots=16384, refresh=0, zero=bytes(32)):
    return HEADER.pack(b"PTTRACE\0", version, record_bytes, vcpus, slots, refresh, zero)


def record(kind, *, vcpu=0, flags=0, aux=0, d=0, a=0, b=0):
    return struct.pack("<BBBBIQQ", kind, vcpu, flags, aux, d, a, b)


def end(count, **fields):
    return record(12, a=count, b=12345, **fields)


ACCESS = record(1, aux=3, d=5, a=0xFFFF888000001238, b=0x1238)


def imported(data, tmp_path, *, vcpus_ram_mib=16):
    path = tmp_path / "some.ptt"
    path.write_bytes(data)
    file = io.BytesIO()
    summary = import_ptt(path, file, ram_mib=vcpus_ram_mib, level=1)
    return summary, file.getvalue()


def captured_bytes(path):
    """The capture a trace was imported from, put together again; yields parts."""
    with TraceReader(path) as reader:
        told = reader.header.capture_filter
        yield header_bytes(
            vcpus=reader.header.vcpu_count,
            slots=told["slots"],
            refresh=told["refresh_instructions"],
        )
        for block in reader.blocks():
            yield to_records(block).tobytes()
        recorded = reader.summary.recorded
        yield record(
            12,
            vcpu=recorded["end_vcpu"],
            flags=recorded["end_flags"],
            aux=recorded["end_aux"],
            d=recorded["last_insns"],
            a=recorded["records"],
            b=recorded["instructions"],
        )


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_the_demo_traces_hold_every_bit_of_their_captures(path):
    sha256 = hashlib.sha256()
    size = 0
    for part in captured_bytes(path):
        sha256.update(part)
        size += len(part)

    assert (sha256.hexdigest(), size) == CAPTURED[path]


@pytest.mark.parametrize("path", COUNTS, ids=lambda path: path.stem)
def test_the_demo_traces_count_what_the_captures_count(path):
    with TraceReader(path) as reader:
        for _ in reader.blocks():
            pass
    summary = reader.summary

    assert summary.events_by_kind == dict(zip(KINDS, COUNTS[path], strict=True))
    assert summary.event_count == summary.recorded["records"]
    assert reader.header.slots[0].page_count == 65536
    assert reader.header.vcpu_count == 1
    assert reader.header.guest_mode == "long"
    assert "accessed and dirty bits" in reader.header.capture_filter["loses"]


def test_importing_the_workload_again_gives_the_very_file(tmp_path):
    source = tmp_path / "linux61-workload-1cpu.ptt.zst"
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [compressor.compress(part) for part in captured_bytes(WORKLOAD)]
    source.write_bytes(b"".join([*parts, compressor.flush()]))
    told = []
    summary = import_ptt(source, tmp_path / "w.rft", ram_mib=256, progress=told.append)

    assert (tmp_path / "w.rft").read_bytes() == WORKLOAD.read_bytes()
    assert summary.digest == hashlib.sha256(WORKLOAD.read_bytes()).hexdigest()
    assert told == sorted(told)
    assert told[-1] == source.stat().st_size


@settings(max_examples=40)
@given(captures())
def test_records_become_events_and_events_the_same_records(rows):
    block = block_of(rows)
    records = to_records(block)
    file = io.BytesIO()
    path = MemoryPath(header_bytes(vcpus=2) + records.tobytes() + end(len(rows)))
    import_ptt(path, file, ram_mib=RAM_PAGES * 4096 >> 20 or 1, level=1)

    assert read_rows(file.getvalue()) == rows
    with TraceReader(io.BytesIO(file.getvalue())) as reader:
        back = np.concatenate([to_records(each) for each in reader.blocks()])
    assert back.tobytes() == records.tobytes()


class MemoryPath:
    """A file's bytes where an importer asks for its path."""

    name = "drawn.ptt"

    def __init__(self, data):
        self.data = data

    def open(self, mode):
        assert mode == "rb"
        return io.BytesIO(self.data)


def test_an_entry_gets_the_address_its_index_says(tmp_path):
    rows = [record(7, aux=4, a=0x3000, b=1), record(8, d=511, a=0x3000, b=7)]
    _, data = imported(header_bytes() + b"".join(rows) + end(2), tmp_path)

    assert read_rows(data)[1] == (8, 0, 0, 0, 0, 0x3FF8, 7)


def test_what_the_capture_tool_said_is_kept(tmp_path):
    data = header_bytes(slots=99, refresh=200_000) + ACCESS + end(1, d=26)
    summary, _ = imported(data, tmp_path)

    assert summary.recorded["instructions"] == 12345
    assert summary.recorded["last_insns"] == 26
    assert summary.header.capture_filter["slots"] == 99
    assert summary.header.capture_filter["refresh_instructions"] == 200_000
    assert summary.header.name == "some"
    assert summary.header.workload_marks["1"]
    assert (summary.header.slots[0].page_count, summary.header.slots[0].host_level) == (4096, 1)


GOOD = header_bytes() + ACCESS + end(1)
BAD_CAPTURES = {
    "empty": (b"", "byte 0: b'' is not the start of a ptt capture"),
    "another file": (b"\x7fELF" + bytes(100), "is not the start of a ptt capture"),
    "half a header": (GOOD[:40], "is not the start of a ptt capture"),
    "version 2": (header_bytes(version=2) + GOOD[64:], "ptt version 2"),
    "other records": (header_bytes(record_bytes=32) + GOOD[64:], "records of 32 bytes"),
    "no vCPUs": (header_bytes(vcpus=0) + GOOD[64:], "0 vCPUs"),
    "many vCPUs": (header_bytes(vcpus=65) + GOOD[64:], "65 vCPUs"),
    "half a record": (GOOD[:-1], "ends inside a record"),
    "no end": (GOOD[:-24], "no END record after 1 records"),
    "two ends": (GOOD + end(1), "records follow the END record"),
    "another count": (header_bytes() + ACCESS + end(2), "wrote 2 records, the file holds 1"),
    "a vCPU too many": (
        header_bytes() + record(1, vcpu=1) + end(1),
        "record 0, byte 64 of the capture: a vCPU",
    ),
    "an entry off its page": (
        header_bytes() + record(7, aux=1, b=1) + record(8, d=512) + end(2),
        "record 1, byte 88 of the capture: a table entry outside its page",
    ),
}


@pytest.mark.parametrize("name", BAD_CAPTURES)
def test_a_bad_capture_is_refused_and_leaves_nothing(name, tmp_path):
    data, message = BAD_CAPTURES[name]
    path = tmp_path / "bad.ptt"
    path.write_bytes(data)
    with pytest.raises(ImportFailed, match=r"bad\.ptt") as caught:
        import_ptt(path, tmp_path / "bad.rft", ram_mib=16, level=1)

    assert message in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.ptt"]


# 13 is no kind of the format either; 53 is one, but nothing a ptt capture can hold.
@pytest.mark.parametrize("kind", [0, 13, 53, 99, 255])
def test_an_unknown_kind_of_record_is_refused_at_its_byte(kind, tmp_path):
    with pytest.raises(ImportFailed, match=rf"some\.ptt: record 1, byte 88 .* kind {kind}\b"):
        imported(header_bytes() + ACCESS + record(kind) + end(2), tmp_path)


def test_a_table_outside_the_memory_given_is_refused_by_the_format(tmp_path):
    store = record(2, aux=0x13, a=16 << 20)
    with pytest.raises(ImportFailed, match=r"some\.ptt: event 0 .*outside the guest's memory"):
        imported(header_bytes() + store + end(1), tmp_path)


@pytest.mark.parametrize("cut", [5, 30, -1])
def test_a_compressed_capture_that_is_cut_is_refused(cut, tmp_path):
    path = tmp_path / "c.ptt.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(GOOD + bytes(24 * 400))[:cut])
    with pytest.raises(ImportFailed, match=r"c\.ptt\.zst: .*(cut off|damaged)"):
        import_ptt(path, tmp_path / "c.rft", ram_mib=16)


def test_a_capture_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ImportFailed, match=r"none\.ptt cannot be opened: No such file"):
        import_ptt(tmp_path / "none.ptt", tmp_path / "c.rft", ram_mib=16)


def test_records_have_the_layout_of_the_capture_tool():
    assert RECORD.itemsize == struct.calcsize("<BBBBIQQ") == 24
    assert HEADER.size == 64
