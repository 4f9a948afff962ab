"""What a replay of a trace takes, told while it is uploaded."""

import io

import numpy as np
import pytest

from refault.engines.shadow.state import machine
from refault.trace import EventKind, TraceHeader, TraceReader, TraceValidator, TraceWriter, costs
from tests.engines import exhausting
from tests.engines.exhausting import GIB_FRAMES, Rows
from tests.trace.files import BOOT, WORKLOAD

PAGE = costs.PAGE_EVENTS


def costs_of(data):
    validator = TraceValidator()
    validator.feed(data)
    validator.close()
    return validator.costs


def operations(*calls):
    rows = Rows().add(EventKind.OP_VM, a=1).add(EventKind.OP_MEM, flags=1, b=GIB_FRAMES)
    for kind, count, columns in calls:
        rows.add(kind, count, **columns)
    return costs_of(rows.bytes())


@pytest.mark.parametrize("path", [BOOT, WORKLOAD])
def test_a_capture_of_a_real_guest_weighs_as_many_events_as_it_has(path):
    with TraceReader(path) as reader:
        event_count = sum(block.event_count for block in reader.blocks())
    assert costs_of(path.read_bytes()).work == event_count


def test_a_walk_weighs_the_shadow_pages_that_accesses_before_it_can_have_made():
    found = operations((EventKind.OP_LD, 30, {"a": 0}), (EventKind.OP_DIRTYLOG, 5, {}))
    assert found.work == 37 + 5 * 30 * PAGE


def test_there_are_no_more_shadow_pages_than_the_page_limit():
    walked = (EventKind.OP_DIRTYLOG, 1, {})
    usual = GIB_FRAMES * 20 // 1000
    many = (EventKind.OP_LD, 300_000, {"a": 0})
    assert operations(many, walked).work == 300_003 + usual * PAGE
    asked = (EventKind.OP_NR_PAGES, 1, {"a": usual + 7})
    assert operations(asked, many, walked).work == 300_004 + (usual + 7) * PAGE
    boundless = (EventKind.OP_NR_PAGES, 1, {"a": (1 << 32) - 1})
    assert operations(boundless, many, walked).work == 300_004 + machine.PAGES_MAX * PAGE


@pytest.mark.parametrize(
    "kind", [EventKind.OP_ZAPALL, EventKind.OP_LOG, EventKind.OP_MEM_DELETE], ids=lambda k: k.name
)
def test_after_a_zap_of_everything_there_are_none(kind):
    found = operations(
        (EventKind.OP_LD, 30, {"a": 0}),
        (kind, 1, {}),
        (EventKind.OP_DIRTYLOG, 4, {}),
        (EventKind.OP_LD, 3, {"a": 0}),
        (EventKind.OP_DIRTYLOG, 2, {}),
    )
    assert found.work == 42 + (30 + 2 * 3) * PAGE


def test_it_does_not_matter_how_the_events_are_cut_into_blocks():
    rows = exhausting.dirty_logs(50, pages=700)
    rows.add(EventKind.OP_ZAPALL).add(EventKind.OP_LD, 90, a=0).add(EventKind.OP_DIRTYLOG, 3)
    whole = costs_of(rows.bytes())
    for block_events in (1, 7, 500):
        file = io.BytesIO()
        with TraceWriter(file, rows.header, level=1, block_events=block_events) as writer:
            for kind, count, columns in rows.calls:
                writer.append(kind=np.full(count, int(kind), np.uint8), **columns)
        cut = costs_of(file.getvalue())
        assert (cut.work, cut.memory_bytes) == (whole.work, whole.memory_bytes)


def test_a_few_kib_of_dirty_logs_are_seen_to_be_hours_of_work():
    data = exhausting.dirty_logs(1 << 22).bytes()
    assert len(data) < 10_000
    assert costs_of(data).work > 3600 * 100_000_000


def test_memory_is_a_record_for_each_frame_and_a_page_for_each_that_is_written():
    found = costs_of(exhausting.written(5_000).bytes())
    assert found.memory_bytes == 5_000 * (16 + 4096)


def test_a_frame_written_twice_counts_once():
    rows = exhausting.guest(8).add(EventKind.OP_POKE, 100, a=0x3000, b=1)
    assert costs_of(rows.bytes()).memory_bytes == 8 * 16 + 4096


def test_a_capture_also_holds_its_tables_and_a_word_for_each_frame_and_vcpu():
    found = costs_of(exhausting.tables(9).bytes())
    assert found.memory_bytes == 10 * 16 + 9 * 4096 + 8 * 10 * (2 + 1) + 9 * 4096
    header = exhausting.stores_of_many_vcpus(1_000)
    assert costs_of(header.bytes()).memory_bytes == 1_000 * (16 + 8 * (2 + 64))


def test_slots_that_are_made_again_hold_no_more():
    rows = exhausting.guest(100)
    rows.add(EventKind.OP_MEM_DELETE).add(EventKind.OP_MEM, flags=1, b=100)
    rows.add(EventKind.OP_MEM, flags=1, aux=3, a=1 << 20, b=50)
    assert costs_of(rows.bytes()).memory_bytes == 150 * 16


def test_a_trace_without_events_weighs_nothing():
    file = io.BytesIO()
    with TraceWriter(file, TraceHeader("operations", "empty", "long", 1)):
        pass
    found = costs_of(file.getvalue())
    assert (found.work, found.memory_bytes) == (0, 0)


def test_a_range_weighs_the_frames_that_it_can_reach_and_a_log_its_bits():
    short, long = ((EventKind.OP_UNMAP_RANGE, 3, {"b": pages}) for pages in (400, 1 << 24))
    assert operations(short).work == 5 + 3 * 400 // costs.RANGE_FRAMES
    assert operations(long).work == 5 + 3 * GIB_FRAMES // costs.RANGE_FRAMES
    read = (EventKind.OP_GET_DIRTY_LOG, 4, {})
    assert operations(read).work == 6 + 4 * GIB_FRAMES // costs.BITMAP_FRAMES
