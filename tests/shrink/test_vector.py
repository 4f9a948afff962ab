"""A shrunk trace as a test: the vector and what every variant gives for it."""

import json

import pytest

from refault.catalogue import GOLDEN
from refault.errors import ShrinkRefused
from refault.golden import cases_in, check
from refault.replay import operations as op
from refault.shrink.program import block_of
from refault.shrink.trials import rows_of
from refault.shrink.vector import check_folder, lines_of_trace, write_test
from refault.shrink.words import operation_lines
from refault.trace import TraceReader
from refault.trace.contents import MemorySlot, TraceHeader
from refault.trace.format import EventKind as K
from refault.trace.writer import TraceWriter

TABLES = [
    (K.TABLE_SNAPSHOT, 0, 32, 4, 0x1000, 1),
    (K.TABLE_ENTRY, 0, 32, 0, 0x1000, 0x2067),
    (K.TABLE_SNAPSHOT, 0, 32, 3, 0x2000, 1),
    (K.TABLE_ENTRY, 0, 32, 0, 0x2000, 0x3067),
    (K.TABLE_SNAPSHOT, 0, 32, 2, 0x3000, 1),
    (K.TABLE_ENTRY, 0, 32, 0, 0x3000, 0xE7),
    (K.MSR, 0, 32, 0, 0xC0000080, 0x500),
    (K.CR, 0, 32, 4, 0x20, 0),
    (K.CR, 0, 32, 0, 0x80000011, 0),
    (K.CR, 0, 32, 3, 0x1000, 0),
]
EVENTS = [
    (K.ACCESS, 0, 4, 3, 0x5000, 0x5000),
    (K.ACCESS, 0, 1, 3, 0x6008, 0x6008),
    (K.PAGE_FAULT, 0, 4, 4, 0x40000000, 4),
    (K.MARK, 0, 0, 0, 7, 0),
    (K.INVLPG, 0, 0, 0, 0x5000, 0x1000),
]


def trace_of(tmp_path, rows):
    header = TraceHeader(
        "capture", "guest", "long", 1, slots=(MemorySlot(0, 0, 512), MemorySlot(3, 4096, 512, 2))
    )
    trace = tmp_path / "guest.rft"
    with TraceWriter(trace, header, level=1) as writer:
        writer.append_block(block_of(rows))
    return trace


def test_the_operations_of_a_capture_are_lines_of_a_vector(tmp_path):
    lines = lines_of_trace(trace_of(tmp_path, [*TABLES, *EVENTS]), rows_of)
    assert [json.loads(line) for line in lines] == [
        ["vm", 1, 0],
        ["mem", 0, 0, 512],
        ["mem", 3, 4096, 512, 2],
        ["poke", 0x1000, 0x2067],
        ["poke", 0x2000, 0x3067],
        ["poke", 0x3000, 0xE7],
        ["boot", 0, 0x80000011, 0x1000, 0x20, 0x500],
        ["ld", 0, 0x5000, 1],
        ["st", 0, 0x6008, 0, 0],
        ["ld", 0, 0x40000000, 1],
        ["note", "mark 7"],
        ["invlpg", 0, 0x5000],
    ]


def test_the_words_say_what_the_real_guest_saw(tmp_path):
    with TraceReader(trace_of(tmp_path, [*TABLES, *EVENTS])) as reader:
        told = operation_lines(rows_of(reader))
    assert "boot vCPU 0 cr3 0x1000" in told[3]
    assert told[4].endswith("ld vCPU 0 user 0x5000  reaches 0x5000")
    assert told[6].endswith("ld vCPU 0 user 0x40000000  #PF 4")


def test_every_variant_agrees_with_what_was_written_and_the_manifest_grows(tmp_path):
    folder = tmp_path / "vectors"
    lines = lines_of_trace(trace_of(tmp_path, [*TABLES, *EVENTS]), rows_of)
    for name in ("one", "two"):
        check_folder(folder)
        written = write_test(folder, name, lines, {"keep": "diverges:base,p3"})
        assert written.operations == len(lines)
        assert written.expectations.keys() | written.refused.keys() == GOLDEN.keys()
    cases = list(cases_in(folder))
    assert len(cases) == 2 * len(GOLDEN)
    assert all(check(case).agrees for case in cases)
    manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    assert list(manifest) == ["one", "two"]
    assert manifest["one"]["keep"] == "diverges:base,p3"
    # Equal results stand once.
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "MANIFEST.json",
        *(f"{name}.ops.jsonl.zst" for name in manifest),
        *(file for entry in manifest.values() for file in entry["expect"].values()),
    }
    assert len(files) < len(GOLDEN)


def test_a_store_through_no_known_mapping_has_no_operation(tmp_path):
    trace = trace_of(tmp_path, [*TABLES, (K.TABLE_STORE, 0, 0, 0x13, 0x100000, 0x3067)])
    with TraceReader(trace) as reader:
        kinds = [int(kind) for ops, count in rows_of(reader) for kind in ops.kind[:count]]
    assert op.TABLE_WRITE in kinds
    with pytest.raises(ShrinkRefused, match="goes through no mapping"):
        lines_of_trace(trace, rows_of)


def test_a_folder_that_cannot_be_used_is_refused_before_any_work(tmp_path):
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ShrinkRefused, match="is no folder"):
        check_folder(file)
    with pytest.raises(ShrinkRefused, match="cannot be written"):
        write_test(file / "below", "one", [], {})
