import io
import json
import threading

import numpy as np
import pytest

from refault.catalogue import Parameters, PatchSet, resolve, variant_from_golden_name
from refault.engines import get_engine
from refault.engines.shadow.state import machine
from refault.errors import ReplayCancelled, ReplayRefused, TraceCorrupt
from refault.replay.session import Session, replay
from refault.results import WORK, RunResult
from refault.trace import EventKind, MemorySlot, TraceHeader, TraceReader, TraceWriter
from tests.engines.guests import Guest, P, U, W

BASE = resolve(PatchSet())


def small():
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(4, {i: (100 + i) << 12 | P | W | U for i in range(64)})
    guest.boot(0x1000)
    for page in range(64):
        guest.load(page << 12).store(page << 12, page + 1)
    return guest


def test_the_same_trace_and_variant_give_the_same_bytes():
    first, second = (replay(small().trace(), [BASE])[0] for _ in range(2))
    assert first.to_bytes() == second.to_bytes()


def test_a_variant_gives_the_same_bytes_alone_and_in_company():
    variants = [variant_from_golden_name(name) for name in ("base", "p2", "p6", "series")]
    together = replay(small().trace(), variants)
    for variant, result in zip(variants, together, strict=True):
        assert replay(small().trace(), [variant])[0].to_bytes() == result.to_bytes()


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_byte_of_any_result(threads):
    variants = [variant_from_golden_name(name) for name in ("base", "p2", "p6", "series")]
    alone = replay(small().trace(), variants)
    assert replay(small().trace(), variants, threads=threads) == alone


def test_a_refusal_in_a_thread_reaches_the_caller():
    guest = Guest(pages=1024).boot(0x1000).add(EventKind.OP_MEM, flags=1, aux=1, a=512, b=8)
    with pytest.raises(ReplayRefused, match="overlaps slot 0"):
        replay(guest.trace(), [BASE, variant_from_golden_name("p2")], threads=2)


def test_a_result_survives_being_stored():
    result = replay(small().trace(), [BASE])[0]
    assert RunResult.from_dict(result.to_dict()) == result


def test_every_operation_is_counted_and_named():
    result = replay(small().trace(), [BASE])[0]
    assert result.operation_count == len(small().rows) - 1  # OP_BOOT_CR is no operation of its own
    assert result.semantics["accesses"] == 128
    assert result.counters["exits"] == 128
    assert result.finding_count == 0


def test_values_a_guest_loads_are_part_of_what_it_sees():
    digests = set()
    for value in (1, 2):
        guest = small()
        guest.poke(100 << 12, value).load(0)
        digests.add(replay(guest.trace(), [BASE])[0].outcome_digest)
    assert len(digests) == 2


def test_a_fixed_page_limit_recycles_where_the_default_does_not():
    limited = resolve(PatchSet(parameters=Parameters(page_limit=64)))
    guest = Guest(pages=16384)
    guest.table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    guest.table(3, {i: (16 + i) << 12 | P | W | U for i in range(128)})
    for i in range(128):
        guest.table(16 + i, {0: (1000 + i) << 12 | P | W | U})
    guest.boot(0x1000)
    for i in range(128):
        guest.load(i << 21)
    free, tight = replay(guest.trace(), [BASE, limited])
    assert free.counters["mmu_recycled"] == 0
    assert tight.counters["mmu_recycled"] > 0


def test_cancelling_stops_between_blocks_and_says_where():
    with pytest.raises(ReplayCancelled, match="cancelled after event"):
        replay(small().trace(), [BASE], is_cancelled=lambda: True)


def test_progress_ends_at_the_size_of_the_trace():
    seen = []
    data = small().bytes()
    replay(
        TraceReader(io.BytesIO(data)),
        [BASE],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (len(data), len(data))


def test_a_damaged_trace_yields_no_result():
    data = bytearray(small().bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(TraceCorrupt, match="byte"):
        replay(TraceReader(io.BytesIO(bytes(data))), [BASE])


def test_a_truncated_file_is_replayed_to_its_last_whole_block_and_says_so(tmp_path):
    header = TraceHeader("operations", "two blocks", "long", 1)
    file = io.BytesIO()
    writer = TraceWriter(file, header, block_events=32)
    rows = np.array(small().rows, dtype=object)
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        writer.append(
            kind=part[:, 0].astype(np.uint8),
            vcpu=part[:, 1].astype(np.uint8),
            flags=part[:, 2].astype(np.uint8),
            aux=part[:, 3].astype(np.uint8),
            a=part[:, 5].astype(np.uint64),
            b=part[:, 6].astype(np.uint64),
        )
    writer.close()
    path = tmp_path / "cut.rft"
    path.write_bytes(file.getvalue()[: len(file.getvalue()) * 3 // 4])
    result = replay(path, [BASE])[0]
    assert result.truncated
    assert 0 < result.event_count < len(rows)


def test_a_slot_larger_than_a_host_may_be_is_refused_by_file_and_machine():
    guest = Guest(pages=1 << 27)
    with pytest.raises(TraceCorrupt, match="a guest has at most 16777216 pages"):
        replay(guest.trace(), [BASE])
    host = machine.create(BASE.knobs, bypass=0, interpreted=False)
    with pytest.raises(ReplayRefused, match="MiB of guest memory"):
        machine.add_slot(host, 0, 0, 1 << 27, 1)


def test_overlapping_slots_are_refused():
    guest = Guest(pages=1024).add(EventKind.OP_MEM, flags=1, aux=1, a=512, b=1024)
    with pytest.raises(ReplayRefused, match="overlaps slot 0"):
        replay(guest.trace(), [BASE])


def test_what_cannot_be_executed_is_counted_not_dropped():
    guest = small().add(EventKind.OP_POKE, a=1 << 40, b=1).add(EventKind.OP_MEM, flags=1, b=512)
    result = replay(guest.trace(), [BASE])[0]
    assert result.skipped == {"outside-memory": 1, "unsupported": 1}


def test_a_vcpu_that_never_booted_does_nothing_and_is_counted():
    guest = Guest(vcpus=2, pages=1024).load(0, vcpu=1)
    assert replay(guest.trace(), [BASE])[0].skipped == {"vcpu-not-booted": 1}


def test_a_capture_is_judged_by_what_the_real_guest_saw():
    header = TraceHeader("capture", "one wrong witness", "long", 1, (MemorySlot(0, 0, 1024),))
    file = io.BytesIO()
    with TraceWriter(file, header, level=1) as writer:
        snapshot = []
        for table in (1, 2, 3):
            snapshot.append((7, 0, 0, 5 - table, table << 12, 1))
            snapshot.append((8, 0, 0, 0, table << 12, (table + 1) << 12 | P | W | U))
        snapshot.append((7, 0, 0, 1, 4 << 12, 1))
        snapshot.append((8, 0, 0, 0, 4 << 12, 100 << 12 | P | W | U))
        events = [
            (4, 0, 32, 0, 0xC0000080, 0x500),
            (3, 0, 32, 4, 0x20, 0),
            (3, 0, 32, 0, 0x80010033, 0),
            *snapshot,
            (3, 0, 32, 3, 0x1000, 0),
            (1, 0, 4, 3, 0x10, 100 << 12 | 0x10),  # as the real guest
            (1, 0, 4, 3, 0x20, 101 << 12 | 0x20),  # the real guest reached another page
            (6, 0, 4, 4, 0x1000, 4),  # faults, as in the real guest
            (6, 0, 5, 7, 0x30, 7),  # the real guest faulted here
        ]
        for kind, vcpu, flags, aux, a, b in events:
            writer.append(kind=[kind], vcpu=vcpu, flags=flags, aux=aux, a=a, b=b)
    result = replay(TraceReader(io.BytesIO(file.getvalue())), [BASE])[0]
    assert result.semantics["witnessed"] == 4
    assert result.semantics["wrong_address"] == 1
    assert result.semantics["missed_fault"] == 1
    wrong, missed = result.findings
    assert (wrong.kind, wrong.gva, wrong.got, wrong.want) == (
        "wrong-address",
        0x20,
        0x64020,
        0x65020,
    )
    assert wrong.event_index == 13
    assert missed.message == "st user reached 0x64030; real guest: #PF 7"


def test_a_capture_whose_tables_the_rules_cannot_follow_is_refused():
    header = TraceHeader("capture", "five levels", "long5", 1, (MemorySlot(0, 0, 1024),))
    file = io.BytesIO()
    with TraceWriter(file, header, level=1) as writer:
        writer.append(kind=[EventKind.MARK], vcpu=[0], flags=[0], aux=[0], a=[0], b=[0])
    with pytest.raises(ReplayRefused, match=r"five levels of page tables .*la57=off"):
        replay(TraceReader(io.BytesIO(file.getvalue())), [BASE])


def test_exits_and_emulated_instructions_are_counted_under_kvms_names():
    guest = small().cr3(0x1000).invlpg(0).load(0).add(EventKind.OP_UNSHADOW, a=0x5000)
    (before,) = replay(guest.trace(), [BASE])
    # Entry 100 of the last table maps device memory; then that table's directory is written.
    guest.poke(4 << 12 | 100 << 3, 5000 << 12 | P | W | U)
    guest.poke(4 << 12 | 101 << 3, 3 << 12 | P | W | U)
    guest.load(100 << 12).store(100 << 12).fetch(100 << 12).store(101 << 12, 4 << 12 | P | W | U)
    (after,) = replay(guest.trace(), [BASE])
    assert before.work["vm_exits"] == before.counters["exits"] + 3
    assert before.work["hypercalls"] == 1
    assert {name: after.work[name] - before.work[name] for name in WORK[2:]} == {
        "vm_exits": 4,
        "mmio_exits": 2,
        "insn_emulation": 4,
        "insn_emulation_fail": 1,
        "hypercalls": 0,
    }


def session_of(variants=(BASE,), **options):
    return Session(small().trace(), list(variants), **options)


def test_a_session_that_stops_at_every_event_gives_the_same_bytes():
    (wanted,) = replay(small().trace(), [BASE])
    with session_of() as session:
        event = 0
        while session.advance(to_event=event):
            assert session.events == event
            event += 1
        assert session.results()[0].to_bytes() == wanted.to_bytes()
        assert event == wanted.event_count + 1


def test_a_session_stops_at_an_operation_and_goes_on():
    (wanted,) = replay(small().trace(), [BASE])
    with session_of() as session:
        for operation in (1, 7, 8, 90, 91):
            assert session.advance(to_operation=operation)
            assert session.operations == operation
        assert not session.advance()
        assert session.results()[0].to_bytes() == wanted.to_bytes()


def test_the_state_is_that_of_the_operation_it_stopped_at():
    with session_of([BASE, resolve(PatchSet("walk"))]) as session:
        assert session.advance(to_event=len(small().rows) - 100)
        shadow, walk = session.state()
        assert shadow["engine"] == "shadow"
        assert shadow["vcpus"][0]["cr3"] == walk["vcpus"][0]["cr3"] == "0x1000"
        pages = {page["gfn"]: page for page in shadow["pages"]}
        assert {int(gfn, 16) for gfn in pages} <= {1, 2, 3, 4}
        before = shadow["counters"]["exits"]
        session.advance()
        assert session.state()[0]["counters"]["exits"] > before
        assert json.loads(json.dumps(session.state())) is not None


def test_a_snapshot_is_refused_at_an_operation_and_taken_at_an_event(tmp_path):
    (wanted,) = replay(small().trace(), [BASE])
    path = tmp_path / "snapshot"
    with session_of() as session:
        session.advance(to_event=60)
        with path.open("wb") as file:
            session.snapshot().write(file)
        session.advance(to_operation=session.operations + 1)
        with pytest.raises(ReplayRefused, match="cannot be taken at an operation"):
            session.snapshot()
    with session_of(resume_from=path) as resumed:
        assert resumed.events == 60
        resumed.advance()
        assert resumed.results()[0].to_bytes() == wanted.to_bytes()


def test_a_session_that_is_closed_early_leaves_no_thread():
    before = threading.active_count()
    with session_of(threads=3) as session:
        session.advance(to_event=10)
    assert threading.active_count() == before


def test_after_an_operation_it_goes_on_to_the_very_event():
    """Rows are made thousands ahead of the operation it stopped at; none of them is done yet."""
    with session_of() as one, session_of() as other:
        one.advance(to_operation=3)
        assert one.events < 10
        for event in (20, 75, 150):
            assert one.advance(to_event=event)
            assert other.advance(to_event=event)
            assert one.events == other.events == event
            assert one.operations == other.operations
            assert one.state() == other.state()


@pytest.mark.parametrize("engine", ["shadow", "walk"])
def test_an_engine_says_without_a_compiler_why_it_refuses_a_trace(engine):
    header = TraceHeader("capture", "deep", "long5", 1, slots=(MemorySlot(0, 0, 16),))
    variant = BASE if engine == "shadow" else resolve(PatchSet("walk"))
    assert "five levels" in get_engine(engine).refuses(header, variant)
    assert not get_engine(engine).refuses(small().header(), variant)
