"""Shrinking a trace to what shows one defect, held against replays, audits and brute force."""

import re
from pathlib import Path

import numpy as np
import pytest

from refault.audits import Level
from refault.catalogue import PatchSet, patch_set_from_text, resolve
from refault.cli.trace_files import as_trace
from refault.engines.audit.auditing import audit
from refault.errors import NothingToShrink, ShrinkRefused, TraceError
from refault.replay.session import replay
from refault.shrink import rerooting
from refault.shrink.program import joined
from refault.shrink.registers import are_lawful
from refault.shrink.shrinking import Job, shrink
from refault.shrink.trials import rows_of
from refault.shrink.wanted import wanted_of
from refault.trace import TraceReader
from refault.trace.format import EventKind
from refault.trace.writer import TraceWriter
from refault.verify import verify
from tests.shrink import guests

ROOT = Path(__file__).resolve().parents[2]
LOST_MARK = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"
BOOT = ROOT / "demo/traces/linux61-boot-1cpu.rft"


def variant(text):
    return resolve(patch_set_from_text(text))


def shrunk(source, keep, out, **how):
    with as_trace(source) as trace:
        return shrink(Job(trace, wanted_of(keep, variant), out, **how))


def block_of(trace):
    with TraceReader(trace) as reader:
        return reader.header, joined(list(reader.blocks()))


def kinds(trace, name):
    """Kinds of findings of a replay."""
    [result] = replay(trace, [variant(name) if name != "walk" else resolve(PatchSet("walk"))])
    return {finding.kind for finding in result.findings}


def failed(trace, name):
    [report] = audit(trace, [variant(name)], Level("every"))
    return set(report.failed)


@pytest.fixture(scope="module")
def boot(tmp_path_factory):
    """The boot capture, shrunk to a missed fault under patch 3."""
    out = tmp_path_factory.mktemp("boot") / "missed.rft"
    return out, shrunk(BOOT, "finding:missed-fault@p3", out)


def test_the_boot_capture_comes_down_to_a_few_dozen_events(boot):
    out, told = boot
    assert told.source_events == 1_926_706
    assert told.first_event == 1_340_566
    assert told.summary.event_count <= 40
    assert told.is_minimal
    assert told.is_proved
    with TraceReader(out) as reader:
        for _ in reader.blocks():
            pass
        assert reader.summary.digest == told.summary.digest


def test_the_defect_is_the_variants_and_the_guest_is_legal(boot):
    out, _ = boot
    assert kinds(out, "p3") == {"missed-fault"}
    assert kinds(out, "walk") == set()
    assert verify(out).is_good
    for sound in ("base", "p2", "p3fix", "p4", "p6", "rel35"):
        assert kinds(out, sound) == set(), sound


def test_an_audit_proves_it_and_finds_nothing_wrong_with_the_base(boot):
    out, _ = boot
    assert {"F-U1", "F-T5"} <= failed(out, "p3")
    assert failed(out, "base") == set()


def test_no_event_can_be_left_out(boot, tmp_path):
    """By brute force: each event left out in turn, and the whole replayed."""
    out, _ = boot
    header, block = block_of(out)
    for left_out in range(block.event_count):
        kept = np.arange(block.event_count) != left_out
        trace = tmp_path / "part.rft"
        try:
            with TraceWriter(trace, header, level=1) as writer:
                writer.append_block(type(block)(0, *(each[kept] for each in block[1:])))
        except TraceError:  # a snapshot without its entry
            continue
        is_legal = not kinds(trace, "walk") and verify(trace).is_good
        with TraceReader(trace) as reader:
            is_legal = is_legal and are_lawful(rows_of(reader))
        is_wrong = "missed-fault" in kinds(trace, "p3") and "missed-fault" not in kinds(
            trace, "base"
        )
        assert not (is_legal and is_wrong and "F-T5" in failed(trace, "p3")), left_out


def test_the_header_says_what_it_was_made_of(boot):
    out, told = boot
    header, _ = block_of(out)
    assert header.name == "missed"
    assert header.origin == "edited"
    facts = header.provenance
    assert (facts["source"], facts["source name"]) == (told.source_digest, "linux61-boot-1cpu")
    assert (facts["keep"], facts["reference"]) == ("finding:missed-fault@p3", "v2.6.34-pre")
    assert facts["variant p3"] == variant("p3").digest
    assert (facts["tests"], facts["accepted"]) == (told.tests, told.accepted)
    cut, begins = header.losses
    assert "1,926,706 events" in cut
    assert f"begins at event {facts['begins at event']}" in begins
    assert 1_335_000 < facts["begins at event"] < told.first_event


def test_a_vector_comes_down_to_a_known_minimum(tmp_path):
    out = tmp_path / "mark.rft"
    told = shrunk(LOST_MARK, "diverges:base,p3", out)
    # A machine and its slot, ten entries, two halves of a boot, and eight operations.
    assert told.summary.event_count == 22
    assert told.is_proved
    [base, p3] = replay(out, [variant("base"), variant("p3")])
    assert base.outcome_digest != p3.outcome_digest
    assert "F-T5" in failed(out, "p3")
    assert failed(out, "base") == set()


class Killed(BaseException):
    """As a signal would end it."""


FEWER_SYNCS = "counter:synced:p3<base"


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """A vector shrunk without being disturbed."""
    out = tmp_path_factory.mktemp("whole") / "mark.rft"
    return shrunk(LOST_MARK, FEWER_SYNCS, out), out.read_bytes()


def test_the_same_trace_gives_the_same_bytes(at_once, tmp_path):
    again = tmp_path / "mark.rft"
    shrunk(LOST_MARK, FEWER_SYNCS, again)
    assert again.read_bytes() == at_once[1]


@pytest.mark.parametrize("after", [1, 150])
def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_bytes(after, at_once, tmp_path):
    out, state = tmp_path / "mark.rft", tmp_path / "mark.rft.shrink-state"

    def kill(progress):
        if progress.tests > after:
            raise Killed

    with pytest.raises(Killed):
        shrunk(LOST_MARK, FEWER_SYNCS, out, state=state, on_progress=kill)
    assert not out.exists()
    # Killed while a line was being written.
    with state.open("a", encoding="ascii") as file:
        file.write('{"k":"0123')
    stages = set()
    told = shrunk(
        LOST_MARK,
        FEWER_SYNCS,
        out,
        state=state,
        on_progress=lambda progress: stages.add(progress.stage),
    )
    assert "looking for it" not in stages
    # Some candidates are asked about twice.
    assert after / 2 <= told.resumed <= after
    assert (told.tests, told.accepted) == (at_once[0].tests, at_once[0].accepted)
    assert out.read_bytes() == at_once[1]
    assert not state.exists()


def test_a_budget_leaves_a_whole_trace_and_the_next_call_finishes_it(at_once, tmp_path):
    out, state = tmp_path / "mark.rft", tmp_path / "state"
    sizes = []
    while True:
        # Each call has a little more time than it needs to come to where the one before ended.
        minutes = (0.3 + 0.1 * len(sizes)) / 60
        told = shrunk(LOST_MARK, FEWER_SYNCS, out, state=state, minutes=minutes)
        sizes.append(told.summary.event_count)
        [base, p3] = replay(out, [variant("base"), variant("p3")])
        assert p3.counters["synced"] < base.counters["synced"]
        if told.is_minimal:
            break
        assert state.exists()
    assert sizes == sorted(sizes, reverse=True)
    assert out.read_bytes() == at_once[1]


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """The boot capture from some ten thousand events before its first wrong address on."""
    trace = tmp_path_factory.mktemp("late") / "late.rft"
    beginnings = rerooting.programs(BOOT, 1_342_000, lambda: None)
    program = next(each for each in beginnings if each.begins < 1_330_000)
    with TraceWriter(trace, program.header, level=1) as writer:
        writer.append_block(program.block)
    return trace


@pytest.mark.parametrize(
    ("keep", "most"),
    [
        ("finding:F-U1@p3", 40),
        ("finding:wrong-address@p3", 40),
        ("counter:hw_flush:p3<base", 40),
    ],
)
def test_every_kind_of_property_of_a_capture_is_kept(keep, most, late, tmp_path):
    out = tmp_path / "small.rft"
    told = shrunk(late, keep, out)
    assert told.is_minimal
    assert told.summary.event_count <= most
    assert kinds(out, "walk") == set()
    assert verify(out).is_good
    how, name, *_ = keep.replace("@", ":").split(":")
    if how == "counter":
        first, second = keep.split(":")[2].split("<")
        [a, b] = replay(out, [variant(first), variant(second)])
        assert a.counters[name] < b.counters[name]
    elif name.startswith("F-"):
        assert name in failed(out, "p3")
        assert failed(out, "base") == set()
    else:
        assert name in kinds(out, "p3")
        assert name not in kinds(out, "base")


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("finding:missed-fault@p3", r"p3 does not show missed-fault after all 1,054 events"),
        ("finding:F-W1@p3", r"it shows: F-U1 \d+, F-U4 1, F-T2 1, F-T5 1"),
        ("finding:F-U1@base", "its audit fails no check"),
        ("diverges:p2,p2alt", "show guest and host the same"),
        ("counter:synced:base<p3", "synced of A 3, synced of B 1"),
    ],
)
def test_what_does_not_show_is_refused_with_what_does(keep, message, tmp_path):
    out = tmp_path / "mark.rft"
    with pytest.raises(NothingToShrink, match=message):
        shrunk(LOST_MARK, keep, out, state=tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_another_run_is_refused(tmp_path):
    out, state = tmp_path / "mark.rft", tmp_path / "state"

    def kill(progress):
        if progress.tests > 3:
            raise Killed

    with pytest.raises(Killed):
        shrunk(LOST_MARK, "diverges:base,p3", out, state=state, on_progress=kill)
    with pytest.raises(ShrinkRefused, match="state of another run"):
        shrunk(LOST_MARK, "finding:F-T5@p3", out, state=state)
    state.write_text("notes of mine\n", encoding="utf-8")
    with pytest.raises(ShrinkRefused):
        shrunk(LOST_MARK, "diverges:base,p3", out, state=state)
    assert state.read_text(encoding="utf-8") == "notes of mine\n"


@pytest.mark.parametrize("name", ["base", "unsync-walk-struct"])
def test_a_defect_of_the_base_itself_has_no_reference(name, tmp_path):
    out = tmp_path / "freed.rft"
    source = ROOT / "tests/golden/vectors/s10a_bucket_bug.ops.jsonl.zst"
    told = shrunk(source, f"finding:use-after-free@{name}", out)
    assert told.reference is None
    assert told.summary.event_count <= 40
    assert kinds(out, name) == {"use-after-free"}
    assert kinds(out, "p2") == set()


@pytest.mark.parametrize(
    ("mode", "rows"),
    [
        ("pae", guests.pae()),
        ("32bit", guests.legacy()),
        # As capture tools begin: registers first, then tables, then the CR3 that starts it.
        ("pae", guests.registers_first(guests.pae())),
    ],
)
def test_guests_outside_long_mode_are_shrunk_too(mode, rows, tmp_path):
    source = guests.write(tmp_path / "guest.rft", mode, rows)
    out = tmp_path / "small.rft"
    stages = []
    told = shrunk(
        source,
        "counter:exits:series<base",
        out,
        on_progress=lambda progress: stages.append((progress.stage, progress.events)),
    )
    assert told.summary.event_count <= 20
    assert kinds(out, "walk") == set()
    assert verify(out).is_good
    [series, base] = replay(out, [variant("series"), variant("base")])
    assert series.counters["exits"] < base.counters["exits"]
    # What no walk reads goes in one test: the entries of 0x7000, PDPTEs aside.
    before = max(events for stage, events in stages if stage == "entries that no walk reads")
    after = max(events for stage, events in stages if stage == "events without an operation")
    assert before - after >= 2


def test_a_long_trace_of_operations_begins_late(tmp_path):
    """A guest that does nothing for long, and then loses a mark."""
    with as_trace(LOST_MARK) as trace:
        header, block = block_of(trace)
    begins = int(np.flatnonzero(block.kind == EventKind.OP_BOOT)[0]) + 1
    idle = block.part(begins, begins + 1)
    idle = type(block)(0, *(np.repeat(column, 200_000) for column in idle[1:]))
    assert idle.kind[0] == EventKind.OP_LD
    parts = [block.part(0, begins), idle, block.part(begins, block.event_count)]
    source = tmp_path / "long.rft"
    with TraceWriter(source, header, level=1) as writer:
        for part in parts:
            writer.append_block(part)
    out = tmp_path / "mark.rft"
    told = shrunk(source, "diverges:base,p3", out)
    assert told.source_events == block.event_count + 200_000
    assert told.summary.event_count == 22
    small, _ = block_of(out)
    assert small.provenance["begins at event"] > 190_000


def test_a_state_that_was_tampered_with_is_refused(tmp_path):
    out, state = tmp_path / "mark.rft", tmp_path / "state"

    def kill(progress):
        if progress.tests > 3:
            raise Killed

    with pytest.raises(Killed):
        shrunk(LOST_MARK, FEWER_SYNCS, out, state=state, on_progress=kill)
    text = state.read_text(encoding="ascii")
    for end in ('"end":99999', '"end":"no"', '"ends":1'):
        state.write_text(re.sub(r'"end":\d+', end, text), encoding="ascii")
        with pytest.raises(ShrinkRefused, match="damaged"):
            shrunk(LOST_MARK, FEWER_SYNCS, out, state=state)
    assert not out.exists()


def test_a_budget_that_is_too_short_for_anything_says_so_and_the_next_call_goes_on(
    at_once, tmp_path
):
    out, state = tmp_path / "mark.rft", tmp_path / "state"
    with pytest.raises(ShrinkRefused, match="the same command goes on"):
        shrunk(LOST_MARK, FEWER_SYNCS, out, state=state, minutes=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    shrunk(LOST_MARK, FEWER_SYNCS, out, state=state)
    assert out.read_bytes() == at_once[1]
