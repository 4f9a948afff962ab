"""A trace that begins late is the same guest from there on."""

from pathlib import Path

import numpy as np
import pytest

from refault.catalogue import PatchSet, patch_set_from_text, resolve
from refault.cli.trace_files import as_trace
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.lowering import known_memory as known
from refault.replay.lowering.rows import RowSource
from refault.replay.session import replay
from refault.shrink import rerooting
from refault.shrink.program import block_of, joined
from refault.trace import TraceReader
from refault.trace.contents import MemorySlot, TraceHeader
from refault.trace.format import EventKind as K
from refault.trace.writer import TraceWriter

ROOT = Path(__file__).resolve().parents[2]
BOOT = ROOT / "demo/traces/linux61-boot-1cpu.rft"
END = 700_000


def lowered(header, blocks, stop=0):
    """What is known of the guest once all these events, or those before ``stop``, are lowered."""
    source = RowSource(header)
    source.stop_at = stop
    for _ in source.parts(blocks):
        if stop and source.events >= stop:
            break
    return source.lowering


def registers(lowering):
    return np.asarray(lowering.state[known.VCPU_TABLE :]).tolist()


def tables(lowering):
    """The content of every tracked table."""
    content = {}
    for frame in np.flatnonzero(np.asarray(lowering.tracked)).tolist():
        page = int(lowering.pages[frame])
        content[frame] = bytes(np.asarray(lowering.memory[page : page + 512])) if page else b""
    return {frame: words for frame, words in content.items() if words.strip(b"\0")}


@pytest.fixture(scope="module")
def begun():
    """Traces of the boot that begin late: the shortest ones."""
    found = []
    for program in rerooting.programs(BOOT, END, lambda: None):
        found.append(program)
        if len(found) == 7:
            break
    return found


def test_they_begin_ever_earlier_and_end_at_the_same_event(begun):
    begins = [program.begins for program in begun]
    assert begins == sorted(begins, reverse=True)
    assert all(END - begin <= 1 << 17 for begin in begins)
    last = [column[-1] for column in begun[0].block[1:]]
    assert all([column[-1] for column in program.block[1:]] == last for program in begun)


def test_registers_and_tables_are_those_of_the_whole_trace(begun):
    for program in begun[::3]:
        with TraceReader(BOOT) as reader:
            whole = lowered(reader.header, reader.blocks(), program.begins)
        prefix_events = program.block.event_count - (END - program.begins)
        prefix = program.block.part(0, prefix_events)._replace(first_event_index=0)
        late = lowered(program.header, iter([prefix]))
        assert registers(late) == registers(whole)
        assert tables(late) == tables(whole)


def test_the_guest_sees_from_there_on_what_the_real_one_saw(begun, tmp_path):
    for number, program in enumerate(begun):
        trace = tmp_path / f"{number}.rft"
        with TraceWriter(trace, program.header, level=1) as writer:
            writer.append_block(program.block)
        for result in replay(
            trace, [resolve(PatchSet("walk")), resolve(patch_set_from_text("base"))]
        ):
            assert result.finding_count == 0
            assert result.semantics["witnessed"] > 900


def capture(tmp_path, rows, vcpus=2):
    header = TraceHeader("capture", "guest", "long", vcpus, slots=(MemorySlot(0, 0, 512),))
    trace = tmp_path / "guest.rft"
    with TraceWriter(trace, header, level=1) as writer:
        writer.append_block(block_of(rows))
    return trace


def two_processors(accesses):
    """Two processors, the second of which has not begun; the host was told something too."""
    start = [
        (K.OP_NR_PAGES, 0, 0, 0, 100, 0),
        (K.TABLE_SNAPSHOT, 0, 32, 4, 0x1000, 1),
        (K.TABLE_ENTRY, 0, 32, 0, 0x1000, 0x2067),
        (K.MSR, 0, 32, 0, 0xC0000080, 0x500),
        (K.CR, 0, 32, 4, 0x20, 0),
        (K.CR, 0, 32, 0, 0x80000011, 0),
        (K.CR, 0, 32, 3, 0x1000, 0),
        (K.MSR, 1, 0, 0, 0xC0000080, 0x100),
        (K.CR, 1, 0, 4, 0x20, 0),
        (K.CR, 1, 0, 3, 0x1000, 0),
        (K.OP_LOG, 0, 0, 0, 0, 0),
    ]
    return [*start, *((K.ACCESS, 0, 4, 3, 0x1000 * (n % 7), 0x9000) for n in range(accesses))]


def test_a_processor_that_has_not_begun_begins_later_and_the_host_stays_told(tmp_path):
    rows = two_processors(4000)
    trace = capture(tmp_path, [*rows, (K.CR, 1, 0, 0, 0x80000011, 0)])
    first = next(rerooting.programs(trace, len(rows) + 1, lambda: None))
    assert first.begins > 0
    with TraceReader(trace) as reader:
        whole = lowered(reader.header, reader.blocks())
    late = lowered(first.header, iter([first.block]))
    assert registers(late) == registers(whole)
    told = first.block.kind[np.isin(first.block.kind, (K.OP_LOG, K.OP_NR_PAGES))]
    assert told.tolist() == [K.OP_NR_PAGES, K.OP_LOG]


def test_no_trace_begins_between_a_store_and_its_snapshots(tmp_path):
    rows = two_processors(2000)
    held = [
        (K.TABLE_STORE, 0, 0, 0x43, 0x1008, 0x3067),
        (K.TABLE_SNAPSHOT, 0, 0, 3, 0x3000, 1),
        (K.TABLE_ENTRY, 0, 0, 0, 0x3000, 0x4067),
    ]
    # So that the shortest would begin right behind the store.
    start = len(rows) - rerooting.SHORTEST
    rows[start - 1 : start + 2] = held
    trace = capture(tmp_path, rows)
    first = next(rerooting.programs(trace, len(rows), lambda: None))
    assert first.begins > start + 1


def test_a_processor_that_left_paging_begins_with_the_whole_trace(tmp_path):
    rows = [*two_processors(10), (K.CR, 0, 0, 0, 0x11, 0), *two_processors(2000)[11:]]
    trace = capture(tmp_path, rows)
    assert [each.begins for each in rerooting.programs(trace, len(rows), lambda: None)] == [0]


def walked(header, blocks):
    """Outcomes of every operation by the architecture alone: event, code, address, value."""
    source = RowSource(header)
    host = get_engine("walk").open(
        resolve(PatchSet("walk")), header, Budget(), Watch(record_all=True)
    )
    seen = []
    for ops, count, _ in source.parts(blocks):
        host.execute(ops, count)
        events = np.asarray(ops.event)
        for raw in host.notes.findings.raw:
            columns = [rec.CODE, rec.ADDRESS, rec.VALUE]
            seen.append(np.column_stack((events[raw[:, rec.ROW]], raw[:, columns])))
        host.notes.findings.raw.clear()
    return np.concatenate(seen)


@pytest.mark.parametrize(
    "vector",
    ["vectors/g01_1cpu_10k", "vectors/s08b_large_guest_large_host", "more/m07_32bit_1cpu_6k",
     "more/m01_pae_1cpu_8k"],
)  # fmt: skip
def test_operations_that_begin_late_see_what_the_whole_trace_sees(vector):
    source = ROOT / f"tests/golden/{vector}.ops.jsonl.zst"
    with as_trace(source) as trace:
        with TraceReader(trace) as reader:
            header, whole = reader.header, joined(list(reader.blocks()))
        end = whole.event_count
        seen = walked(header, iter([whole]))
        found = list(rerooting.programs(trace, end, lambda: None))
    assert found[-1].begins == 0
    for program in found[:-1]:
        late = walked(program.header, iter([program.block]))
        prefix_events = program.block.event_count - (end - program.begins)
        late[:, 0] += program.begins - prefix_events
        np.testing.assert_array_equal(
            late[late[:, 0] >= program.begins], seen[seen[:, 0] >= program.begins]
        )


def test_a_slot_that_was_deleted_is_not_made_again_and_logs_and_limits_stay(tmp_path):
    header = TraceHeader("operations", "guest", "nonpaging", 1)
    rows = [
        (K.OP_VM, 0, 0, 0, 1, 0),
        (K.OP_MEM, 0, 1, 0, 0, 64),
        (K.OP_MEM, 0, 2, 1, 512, 512),
        (K.OP_LOG, 0, 0, 1, 0, 0),
        (K.OP_NR_PAGES, 0, 0, 0, 200, 0),
        (K.OP_POKE, 0, 0, 0, 0x1008, 7),
        (K.OP_NR_PAGES, 0, 0, 0, 100, 0),
        (K.OP_LOG, 0, 0, 0, 0, 0),
        (K.OP_LOG_OFF, 0, 0, 0, 0, 0),
        (K.OP_MEM_DELETE, 0, 0, 0, 0, 0),
        (K.OP_MEM, 0, 1, 2, 64, 64),
        (K.OP_LOG, 0, 0, 2, 0, 0),
        (K.OP_LOG_OFF, 0, 0, 2, 0, 0),
        (K.OP_POKE, 0, 0, 0, 0x200010, -5),
        *[(K.OP_ZAPALL, 0, 0, 0, 0, 0)] * rerooting.SHORTEST,
    ]
    trace = tmp_path / "slots.rft"
    with TraceWriter(trace, header, level=1) as writer:
        writer.append_block(block_of(rows))
    first = next(rerooting.programs(trace, len(rows), lambda: None))
    prefix = first.block.part(0, first.block.event_count - rerooting.SHORTEST)
    told = list(zip(*(column.tolist() for column in prefix[1:]), strict=True))
    assert [(row[0], row[3], row[5], row[6]) for row in told] == [
        (K.OP_VM, 0, 1, 0),
        (K.OP_MEM, 1, 512, 512),
        (K.OP_MEM, 2, 64, 64),
        (K.OP_POKE, 0, 0x200010, -5),
        (K.OP_LOG, 1, 0, 0),
        (K.OP_NR_PAGES, 0, 100, 0),
    ]


def test_no_trace_begins_between_the_halves_of_a_boot(tmp_path):
    header = TraceHeader("operations", "guest", "nonpaging", 1)
    rows = [
        (K.OP_VM, 0, 0, 0, 1, 0),
        (K.OP_BOOT_CR, 0, 0, 0, 0x10, 0),
        (K.OP_BOOT, 0, 0, 0, 0, 0),
        *[(K.OP_ZAPALL, 0, 0, 0, 0, 0)] * (rerooting.SHORTEST - 1),
    ]
    trace = tmp_path / "boot.rft"
    with TraceWriter(trace, header, level=1) as writer:
        writer.append_block(block_of(rows))
    first = next(rerooting.programs(trace, len(rows), lambda: None))
    assert first.begins == 3
    assert first.block.kind[:4].tolist() == [K.OP_VM, K.OP_BOOT_CR, K.OP_BOOT, K.OP_ZAPALL]
