"""A trace that begins late is the same guest from there on."""

from pathlib import Path

import numpy as np
import pytest

from refault.catalogue import PatchSet, patch_set_from_text, resolve
from refault.replay.lowering import known_memory as known
from refault.replay.lowering.rows import RowSource
from refault.replay.session import replay
from refault.shrink import rerooting
from refault.shrink.program import Program, block_of
from refault.trace import TraceReader
from refault.trace.contents import MemorySlot, TraceHeader
from refault.trace.format import EventKind as K
from refault.trace.writer import TraceWriter

BOOT = Path(__file__).resolve().parents[2] / "demo/traces/linux61-boot-1cpu.rft"
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


def test_operations_begin_at_their_beginning(tmp_path):
    header = TraceHeader("operations", "guest", "long", 1)
    trace = tmp_path / "operations.rft"
    with TraceWriter(trace, header, level=1) as writer:
        writer.append_block(block_of([(K.OP_VM, 0, 0, 0, 1, 0)]))
        writer.append_block(block_of([(K.OP_ZAPALL, 0, 0, 0, 0, 0)] * 3000))
    [program] = rerooting.programs(trace, 2500, lambda: None)
    assert isinstance(program, Program)
    assert (program.begins, program.block.event_count) == (0, 2500)
