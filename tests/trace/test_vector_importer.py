import bz2
import io
import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from refault.errors import ImportFailed
from refault.trace import EventKind, TraceReader
from refault.trace.importers.source import MAX_LINE_BYTES
from refault.trace.importers.vectors import HALVES, OPERATIONS, import_vector, to_lines
from tests.trace.files import read_rows
from tests.trace.strategies import U64

VECTORS = sorted((Path(__file__).parents[1] / "golden" / "vectors").glob("*.ops.jsonl.zst"))


def lines_back(data):
    with TraceReader(io.BytesIO(data)) as reader:
        return list(to_lines(reader.header, reader.blocks()))


def imported(lines, tmp_path, name="some.ops.jsonl"):
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    file = io.BytesIO()
    summary = import_vector(path, file, level=1)
    return summary, file.getvalue()


def test_there_are_vectors_to_test():
    assert len(VECTORS) >= 37


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.name.split(".")[0])
def test_a_vector_comes_back_line_by_line(path):
    file = io.BytesIO()
    summary = import_vector(path, file, level=1)
    text = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).decode()

    assert "".join(f"{line}\n" for line in lines_back(file.getvalue())) == text
    assert summary.recorded == {"lines": text.count("\n")}
    boots = summary.events_by_kind.get("OP_BOOT", 0)
    assert summary.event_count == text.count("\n") + boots


EVERY_OPERATION = [
    '["vm",4,1]',
    '["note","käse \\"quoted\\""]',
    '["mem",0,0,16384]',
    '["mem",1,1048576,4096,1]',
    '["mem",2,4194304,512,2]',
    '["mem",3,8388608,262144,3]',
    '["log",2]',
    f'["poke",8,{U64}]',
    f'["boot",3,{0x80010033},{0x1000},{0x20},{0x500}]',
    '["cr0",0,1]',
    '["cr3",1,2]',
    f'["cr4",2,{U64}]',
    '["efer",3,3328]',
    f'["ld",0,{U64 - 7},1]',
    '["ex",1,4096,0]',
    f'["st",2,8,1,{U64}]',
    '["st4",0,12,0,7]',
    '["st2",0,14,0,7]',
    '["st1",0,15,1,7]',
    '["invlpg",0,1]',
    '["nr_pages",0]',
    '["dirtylog",35]',
    f'["unmap",{U64}]',
    '["age",5]',
    '["shrink",100]',
    '["zapall"]',
    '["unshadow",1,77]',
    '["unprotect",1,77]',
    '["change_pte",5,1]',
    '["mem_delete",3]',
    '["unmap_range",5,512]',
    '["get_dirty_log",35]',
    '["log_off",2]',
    f'["sregs",3,{0x80010033},{0x1000},{0x20},{0x500}]',
    '["note","second"]',
]


def test_every_operation_comes_back(tmp_path):
    summary, data = imported(EVERY_OPERATION, tmp_path)

    assert lines_back(data) == EVERY_OPERATION
    assert summary.header.notes == ('käse "quoted"', "second")
    assert summary.header.name == "some"
    assert {json.loads(line)[0] for line in EVERY_OPERATION} == {
        *OPERATIONS,
        *HALVES,
        "mem",
        "note",
    }


def test_an_operation_is_the_event_the_format_says(tmp_path):
    _, data = imported(EVERY_OPERATION, tmp_path)
    rows = read_rows(data)
    K = EventKind  # noqa: N806 - reads like the table in the documentation
    assert rows[0] == (K.OP_VM, 0, 0, 0, 0, 4, 1)
    assert rows[1] == (K.OP_NOTE, 0, 0, 0, 0, 0, 0)
    assert rows[2] == (K.OP_MEM, 0, 1, 0, 0, 0, 16384)
    assert rows[3] == (K.OP_MEM, 0, 5, 1, 0, 1048576, 4096)
    assert rows[4] == (K.OP_MEM, 0, 2, 2, 0, 4194304, 512)
    assert rows[6] == (K.OP_LOG, 0, 0, 2, 0, 0, 0)
    assert rows[7] == (K.OP_POKE, 0, 0, 0, 0, 8, U64)
    assert rows[8] == (K.OP_BOOT_CR, 3, 0, 0, 0, 0x80010033, 0x1000)
    assert rows[9] == (K.OP_BOOT, 3, 0, 0, 0, 0x20, 0x500)
    assert rows[14] == (K.OP_LD, 0, 4, 0, 0, U64 - 7, 0)
    assert rows[16] == (K.OP_ST, 2, 4, 0, 0, 8, U64)
    assert rows[22] == (K.OP_DIRTYLOG, 0, 0, 35, 0, 0, 0)
    assert rows[-8] == (K.OP_CHANGE_PTE, 0, 0, 0, 0, 5, 1)
    assert rows[-6] == (K.OP_UNMAP_RANGE, 0, 0, 0, 0, 5, 512)
    assert rows[-5] == (K.OP_GET_DIRTY_LOG, 0, 0, 35, 0, 0, 0)
    assert rows[-3] == (K.OP_SREGS_CR, 3, 0, 0, 0, 0x80010033, 0x1000)
    assert rows[-2] == (K.OP_SREGS, 3, 0, 0, 0, 0x20, 0x500)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ld", "ex", "st"]),
            st.integers(0, 1),
            st.integers(0, U64 // 8),
            st.integers(0, 1),
            st.integers(0, U64),
        ),
        max_size=30,
    )
)
def test_accesses_of_any_value_come_back(operations):
    lines = ['["vm",2,0]']
    for name, vcpu, word, user, value in operations:
        values = [name, vcpu, word * 8, user, *([value] if name == "st" else [])]
        lines.append(json.dumps(values, separators=(",", ":")))

    class Memory:
        name = "drawn.ops.jsonl"

        @staticmethod
        def open(mode):
            assert mode == "rb"
            return io.BytesIO("".join(f"{line}\n" for line in lines).encode())

    file = io.BytesIO()
    import_vector(Memory(), file, level=1)
    assert lines_back(file.getvalue()) == lines


@pytest.mark.parametrize(
    ("boots", "mode"),
    [
        ([], "nonpaging"),
        (['["boot",0,2147549235,4096,32,1280]'], "long"),
        (['["boot",0,2147549235,4096,32,0]'], "pae"),
        (['["boot",0,2147549235,4096,16,0]'], "32bit"),
        (['["boot",0,51,0,0,0]'], "nonpaging"),
        (['["boot",0,51,0,0,0]', '["cr4",0,32]', '["cr0",0,2147549235]'], "mixed"),
        (['["boot",0,2147549235,4096,32,0]', '["boot",1,2147549235,4096,16,0]'], "mixed"),
    ],
)
def test_the_paging_mode_is_told(boots, mode, tmp_path):
    summary, _ = imported(['["vm",2,0]', *boots], tmp_path)

    assert summary.header.guest_mode == mode


BAD_VECTORS = {
    "empty": ([], "the vector is empty"),
    "no machine": (['["ld",0,8,0]'], "line 0: a vector begins with"),
    "no vCPUs": (['["vm",0,0]'], "line 0: a vector begins with"),
    "many vCPUs": (['["vm",65,0]'], "line 0: a vector begins with"),
    "no JSON": (['["vm",1,0]', "{"], "line 1 is not a JSON array"),
    "no array": (['["vm",1,0]', '{"a":1}'], "line 1 is not an operation"),
    "an empty array": (['["vm",1,0]', "[]"], "line 1 is not an operation"),
    "a blank line": (['["vm",1,0]', ""], "line 1 is not a JSON array"),
    "nested": (['["vm",1,0]', "[" * 60_000], "line 1 is not a JSON array"),
    "an unknown operation": (['["vm",1,0]', '["fly",1]'], 'line 1: ["fly", 1]: no such operation'),
    "too few values": (['["vm",1,0]', '["ld",0,8]'], 'line 1: ["ld", 0, 8]: it takes 3 values'),
    "a short boot": (['["vm",1,0]', '["boot",0,1,2,3]'], "no such operation, or not with"),
    "a text for a number": (['["vm",1,0]', '["ld",0,"8",0]'], "line 1: "),
    "a fraction": (['["vm",1,0]', '["ld",0,8.5,0]'], "whole number from 0 to 2^64-1"),
    "true": (['["vm",1,0]', '["ld",0,8,true]'], "whole number from 0 to 2^64-1"),
    "a negative": (['["vm",1,0]', '["ld",0,-8,0]'], "whole number from 0 to 2^64-1"),
    "2^64": (['["vm",1,0]', f'["ld",0,{U64 + 1},0]'], "whole number from 0 to 2^64-1"),
    "user 2": (['["vm",1,0]', '["ld",0,8,2]'], "user is 0 or 1"),
    "vCPU 256": (['["vm",1,0]', '["ld",256,8,0]'], "vCPU or slot is at most 255"),
    "vCPU 1 of 1": (['["vm",1,0]', '["ld",1,8,0]'], "event 1 (OP_LD, vCPU 1"),
    "host level 4": (['["vm",1,0]', '["mem",0,0,5,4]'], "no such operation, or not with"),
    "a note of no text": (['["vm",1,0]', '["note",5]'], "line 1: no text"),
    "a misaligned load": (['["vm",1,0]', '["ld",0,3,0]'], "not a multiple of 8"),
    "bypass 2": (['["vm",1,2]'], "bypass is 0 or 1"),
    "a second machine": (['["vm",1,0]', '["vm",1,0]'], "OP_VM occurs once only"),
    "a lone surrogate": (['["vm",1,0]', '["note","\\ud800"]'], "cannot be written"),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_a_bad_vector_is_refused_by_its_line_and_leaves_nothing(name, tmp_path):
    lines, message = BAD_VECTORS[name]
    path = tmp_path / "bad.ops.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.raises(ImportFailed) as caught:
        import_vector(path, tmp_path / "bad.rft", level=1)

    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.ops.jsonl"]


def test_a_last_line_without_end_is_refused(tmp_path):
    path = tmp_path / "cut.ops.jsonl"
    path.write_bytes(b'["vm",1,0]\n["zapall"]')
    with pytest.raises(ImportFailed, match="line 1 has no line end"):
        import_vector(path, tmp_path / "cut.rft")


def test_a_line_without_end_takes_bounded_memory(tmp_path):
    path = tmp_path / "long.ops.jsonl"
    path.write_bytes(b'["vm",1,0]\n' + b" " * (1 << 20))
    with pytest.raises(ImportFailed, match=f"line 1 is longer than {MAX_LINE_BYTES} bytes"):
        import_vector(path, tmp_path / "long.rft")


def test_a_bomb_of_bzip2_takes_bounded_memory(tmp_path):
    path = tmp_path / "bomb.ops.jsonl.bz2"
    path.write_bytes(bz2.compress(bytes(90 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(ImportFailed, match=f"longer than {MAX_LINE_BYTES} bytes"):
            import_vector(path, tmp_path / "bomb.rft")
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
