"""A trace is asked about itself: whole captures agree, and what is taken out is found."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refault.errors import ReplayRefused, ResultError
from refault.trace import Block, EventKind, TraceHeader, TraceReader, TraceWriter
from refault.trace.makeup import MakeUp
from refault.verify import Verification, verify
from refault.verify.walking import FLAG_NOGPA
from tests.replay.test_lowering import CODE, GUESTS, HEAP, IS_USER, USER, of_pae
from tests.trace.files import trace_bytes

BOOT = Path(__file__).parents[2] / "demo" / "traces" / "linux61-boot-1cpu.rft"


def verified(guest) -> Verification:
    with TraceReader(guest.trace()) as trace:
        return verify(trace)


def without(source, kind, every):
    """The trace with each ``every``th event of that kind taken out."""
    file = io.BytesIO()
    with TraceReader(source) as reader, TraceWriter(file, reader.header, level=1) as writer:
        seen = 0
        for block in reader.blocks():
            of_kind = np.flatnonzero(block.kind == kind)
            gone = of_kind[(np.arange(len(of_kind)) + seen) % every == every - 1]
            seen += len(of_kind)
            kept = np.delete(np.arange(block.event_count), gone)
            writer.append_block(Block(0, *(column[kept] for column in block[1:])))
    file.seek(0)
    return file


def test_every_witness_of_a_real_guest_agrees():
    found = verify(BOOT)

    assert {each.name: each.asked for each in found.witnesses} == {
        "read": 620_297,
        "write": 297_585,
        "fetch": 511_578,
        "fault": 15_591,
    }
    assert found.agreed == found.asked
    assert found.without_witness == 10_228
    assert (found.stores, found.stores_outside, found.first) == (414_799, 0, ())
    assert found.is_good


def test_lost_table_stores_are_noticed():
    with TraceReader(without(BOOT, EventKind.TABLE_STORE, 100)) as trace:
        found = verify(trace)

    assert not found.is_good
    assert 0.99 < found.share < 0.9999
    assert "under the bar of 99.99%" in found.complaint
    assert len(found.first) == 20
    assert [each.event_index for each in found.first] == sorted(
        each.event_index for each in found.first
    )


@pytest.mark.parametrize("name", GUESTS)
def test_guests_of_every_paging_mode_agree(name):
    found = verified(GUESTS[name]())

    assert (found.asked, found.agreed) == (5, 5)
    assert found.is_good


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda g: g.read(HEAP, 0x9000), "reached 0x9000; its tables give 0x8000"),
        (lambda g: g.read(0x4000_0000, 0x9000), "reached 0x9000; an entry is absent"),
        (lambda g: g.read(0xC000_1000, 0x1000), "its tables give 0x1000, which they do not allow"),
        (lambda g: g.fault(CODE, 4), "a #PF of code 0x4; its tables give 0x5000"),
        (lambda g: g.fault(CODE, 5), "a #PF of code 0x5; its tables give 0x5000, and allow it"),
        (
            lambda g: (g.event(EventKind.TABLE_DROP, a=0x6000, b=1), g.read(CODE, 0x5000)),
            "reached 0x5000; a table is not in the trace",
        ),
    ],
)
def test_a_witness_that_the_tables_contradict_is_told_with_its_event(change, told):
    guest = of_pae()
    change(guest)
    found = verified(guest)

    assert found.asked - found.agreed == 1
    assert not found.is_good
    [first] = found.first
    assert first.event_index == len(guest.rows) - 1
    assert told in first.to_line()


def test_stores_to_pages_that_the_trace_does_not_hold_are_counted():
    guest = of_pae()
    guest.store(0x9000, 0xA000 | USER, 1)

    assert verified(guest).stores_outside == 1


def test_what_the_capture_could_not_see_is_no_witness():
    guest = of_pae()
    guest.event(EventKind.ACCESS, IS_USER | 16, aux=0, a=CODE, b=(1 << 64) - 1)
    guest.fault(CODE, 1 << 5 | 5)
    found = verified(guest)

    assert (found.without_witness, found.unjudged) == (1, 1)
    assert found.is_good


def test_values_that_the_capture_cannot_explain_make_it_no_good():
    guest = of_pae()
    file = io.BytesIO()
    with TraceReader(guest.trace()) as reader, TraceWriter(file, reader.header, level=1) as writer:
        for block in reader.blocks():
            writer.append_block(block)
        writer.close({"unexplained_stores": 3})
    file.seek(0)
    with TraceReader(file) as trace:
        found = verify(trace)

    assert found.share == 1
    assert found.complaint.startswith("3 stores left another value in memory")


def test_operations_have_nothing_to_verify():
    data = trace_bytes([(32, 0, 0, 0, 0, 1, 0)], TraceHeader("operations", "vector", "long", 1))
    with (
        TraceReader(io.BytesIO(data)) as trace,
        pytest.raises(ReplayRefused, match="vector: these"),
    ):
        verify(trace)


def test_a_capture_without_witnesses_is_not_called_good():
    guest = of_pae()
    guest.rows = [row for row in guest.rows if row[0] not in {1, 6}]

    assert verified(guest).complaint == ("it holds no witness: nothing says what a real guest saw")


def test_the_document_comes_back_and_is_refused_where_it_is_none():
    guest = of_pae()
    guest.read(HEAP, 0x9000)
    found = verified(guest)

    assert Verification.from_bytes(found.to_bytes()) == found
    with pytest.raises(ResultError, match="verification"):
        Verification.from_dict({"trace_digest": "0"})


def test_interpreted_it_says_the_same(tmp_path):
    """Interpreted kernels are the same source as Python: the same document."""
    guest = of_pae()
    guest.read(HEAP, 0x9000)
    path = tmp_path / "pae.rft"
    path.write_bytes(guest.trace().read())
    done = command(path, "--json", REFAULT_INTERPRETED="1")
    [shown] = json.loads(done.stdout)

    assert done.returncode == 1
    assert shown.pop("trace") == "pae.rft"
    assert shown == verify(path).to_dict()


def test_the_command_lists_classes_and_the_first_that_differ(tmp_path):
    guest = of_pae()
    guest.read(HEAP, 0x9000)
    bad = tmp_path / "bad.rft"
    bad.write_bytes(guest.trace().read())
    vector = tmp_path / "vector.rft"
    header = TraceHeader("operations", "vector", "long", 1)
    vector.write_bytes(trace_bytes([(32, 0, 0, 0, 0, 1, 0)], header))

    done = command(bad, BOOT)
    assert done.returncode == 1
    assert ["read", "4", "3", "75.0000%"] in [line.split() for line in done.stdout.splitlines()]
    assert "vCPU 0, read, user 0x8049000: the guest reached 0x9000" in done.stdout
    assert "not good: 83.3333% of its witnesses agree, under the bar of 99.99%" in done.stdout
    assert done.stdout.rstrip().endswith("good")
    refused = command(vector)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nothing to verify" in refused.stderr
    assert command(tmp_path / "none.rft").returncode == 2


def command(*words, **environment):
    program = "from refault.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "verify", *map(str, words)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def frames_by_hand(path, width):
    """The distinct frames of memory in each slice, counted with Python's sets."""
    found: dict[int, set[int]] = {}
    now = 0
    with TraceReader(path) as reader:
        memory = [range(s.base_gfn, s.base_gfn + s.page_count) for s in reader.header.slots]
        for block in reader.blocks():
            times = now + np.cumsum(block.insns.astype(np.int64))
            now = int(times[-1])
            is_seen = (block.kind == EventKind.ACCESS) & (block.flags & FLAG_NOGPA == 0)
            for place, gpa in zip(times[is_seen] // width, block.b[is_seen], strict=True):
                # Devices have frames too, and they are no memory.
                if any(int(gpa) >> 12 in slot for slot in memory):
                    found.setdefault(int(place), set()).add(int(gpa) >> 12)
    return now, found


def test_the_working_set_is_what_sets_of_frames_would_count():
    told = verify(BOOT).working_set

    now, by_hand = frames_by_hand(BOOT, told.width)

    assert len(told.frames) == now // told.width + 1
    assert 32 < len(told.frames) <= 64
    assert told.frames == tuple(len(by_hand.get(n, ())) for n in range(len(told.frames)))
    assert told.touched == len(set().union(*by_hand.values()))
    assert told.memory == 65_536
    with TraceReader(BOOT) as reader:
        makeup = MakeUp(in_instructions=True)
        for block in reader.blocks():
            makeup.add(block)
    assert makeup.to_dict()["width"] == told.width
    assert makeup.to_dict()["slices"] == len(told.frames)


def test_documents_of_before_have_no_working_set():
    body = verify(BOOT).to_dict()
    assert Verification.from_dict(body).working_set is not None
    del body["working_set"]
    assert Verification.from_dict(body).working_set is None
