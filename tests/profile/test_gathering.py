"""What is gathered beside a run: it sums to the totals, and changes no byte of the result."""

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from refault.attribution import TABLES_SHOWN, VIEWS, Attribution
from refault.catalogue import patch_set_from_text, resolve, variant_from_golden_name
from refault.cli.trace_files import as_trace
from refault.engines.account import words as ac
from refault.errors import ResultError, SnapshotRefused
from refault.profile import gathering, sidecar
from refault.profile.telling import SPLIT
from refault.replay.compile.jit import INTERPRETED
from refault.replay.session import replay
from refault.results import COUNTERS, WORK
from refault.timeline import SAMPLES_MAX, Timeline, interval_of
from refault.trace import EventKind, TraceReader, TraceWriter
from tests.engines.guests import Guest, P, U, W
from tests.patience import PATIENCE_SECONDS

BASE = variant_from_golden_name("base")
ROOT = Path(__file__).resolve().parents[2]
CAPTURE = ROOT / "demo/traces/linux61-workload-1cpu.rft"
VECTORS = ROOT / "tests/golden/vectors"


class Marked(Guest):
    """A guest whose trace has a note."""

    def header(self):
        return dataclasses.replace(super().header(), notes=("again",))


def busy(pages=96):
    """A guest with tables that go out of sync, are written, flushed and zapped."""
    guest = Marked(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(4, {i: (100 + i) << 12 | P | W | U for i in range(256)})
    guest.boot(0x1000)
    for page in range(pages):
        guest.load(page << 12).store(page << 12, page + 1)
    # The last-level table maps itself: it is written through entry 255.
    guest.poke(0x4000 + 255 * 8, 0x4000 | P | W | U)
    for page in range(pages):
        guest.store((255 << 12) + page * 8, (100 + page) << 12 | P | U)
        guest.invlpg(page << 12)
        guest.load(page << 12)
        if page % 16 == 0:
            guest.cr3(0x1000)
            guest.add(EventKind.OP_NOTE, a=0)
    return guest.add(EventKind.OP_ZAPALL).load(0)


def gathered_of(guest, *variants, **options):
    return gathering.replay(io.BytesIO(guest.bytes()), list(variants or [BASE]), **options)


def check(each):
    """What holds of every run."""
    result, timeline, attribution = each
    assert timeline.sample_count <= SAMPLES_MAX
    totals = result.counters | result.work
    for name in (*COUNTERS, *WORK):
        assert timeline.series[name][-1] == totals[name], name
    for name in SPLIT:
        column = timeline.series[name]
        assert list(column) == sorted(column), name
        for view in VIEWS:
            found = sum(part.counters.get(name, 0) for part in attribution.views[view])
            assert found == totals[name], (view, name)
    assert timeline.series["events"][-1] == result.event_count
    assert timeline.series["instructions"][-1] == result.instruction_count
    assert timeline.series["operations"][-1] == result.operation_count
    assert Timeline.from_bytes(timeline.to_bytes()) == timeline
    assert Attribution.from_bytes(attribution.to_bytes()) == attribution


@pytest.mark.parametrize("name", ["base", "p2", "p6", "series", "apr", "rel35"])
def test_every_split_sums_to_the_totals_and_the_result_keeps_its_bytes(name):
    variant = variant_from_golden_name(name)
    guest = busy()
    [found] = gathered_of(guest, variant)
    check(found)
    assert found.result.to_bytes() == replay(guest.trace(), [variant])[0].to_bytes()
    assert found.result.counters["mmu_shadow_zapped"] > 0


def test_a_page_limit_that_changes_is_nobodys_row():
    variant = resolve(patch_set_from_text("base,page-limit=20/64/50"))
    guest = busy()
    [found] = gathered_of(guest, variant)
    check(found)
    assert found.result.to_bytes() == replay(guest.trace(), [variant])[0].to_bytes()


def test_a_capture_is_split_and_its_guest_tables_live():
    [found] = gathering.replay(CAPTURE, [BASE])
    check(found)
    assert found.result.to_bytes() == replay(CAPTURE, [BASE])[0].to_bytes()
    attribution = found.attribution
    assert len(attribution.tables) == TABLES_SHOWN
    assert attribution.memory.pages >= max(found.timeline.series["active"])
    lives = [*attribution.tables, attribution.direct]
    assert all(life.refaulted <= life.created and life.zapped <= life.created for life in lives)
    assert all(life.created - life.refaulted == 1 for life in attribution.tables)
    assert found.timeline.unit == "instructions"
    assert [mark.number for mark in found.timeline.marks][:2] == [1, 16]
    assert found.timeline.marks[0].name == "the workload begins"


@pytest.mark.parametrize("name", ["base", "rel35"])
def test_lives_of_all_tables_sum_to_the_counters(name, monkeypatch):
    monkeypatch.setattr("refault.profile.telling.TABLES_SHOWN", 1 << 20)
    [found] = gathering.replay(CAPTURE, [variant_from_golden_name(name)])
    attribution = found.attribution
    lives = [*attribution.tables, attribution.direct]
    counters = found.result.counters
    assert sum(life.created for life in lives) == counters["mmu_cache_miss"]
    assert sum(life.zapped for life in lives) == counters["mmu_shadow_zapped"]
    assert sum(life.written for life in lives) == counters["mmu_pte_write"]
    assert sum(life.synced for life in lives) == counters["synced"]
    assert len(attribution.tables) == attribution.table_count


@pytest.mark.parametrize("letter", sorted({path.name[0] for path in VECTORS.glob("*.zst")}))
def test_golden_vectors_keep_their_bytes(letter):
    """The service's results come through the loop that accounts; the digest names the model's."""
    variants = [variant_from_golden_name(name) for name in ("base", "p3", "series", "rel35")]
    for path in sorted(VECTORS.glob(f"{letter}*.ops.jsonl.zst")):
        with as_trace(path) as trace:
            plain = replay(trace, variants)
            gathered = gathering.replay(trace, variants, threads=2)
        for each, result in zip(gathered, plain, strict=True):
            check(each)
            assert each.result.to_bytes() == result.to_bytes(), path.name


def digests():
    [found] = gathered_of(busy(20))
    return f"{found.timeline.digest} {found.attribution.digest}"


def test_interpreted_and_compiled_give_the_same_documents():
    answer = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import digests; print(digests())"],
        env={**os.environ, "REFAULT_INTERPRETED": "0" if INTERPRETED else "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    assert answer.stdout.strip() == digests()


def test_no_marks_one_event_and_none():
    [found] = gathered_of(Guest(pages=64).boot(0x1000))
    check(found)
    assert found.timeline.marks == ()
    empty = Guest(pages=64)
    empty.rows = empty.rows[:1]
    [found] = gathered_of(empty)
    check(found)
    assert found.timeline.sample_count == 2
    assert found.attribution.totals["vm_exits"] == 0


def test_marks_split_the_run():
    [found] = gathered_of(busy())
    names = [part.name for part in found.attribution.views["mark"]]
    assert names[0] == "before the first mark"
    assert len(names) == 2
    assert found.timeline.mark_count == 6


def test_too_many_samples_are_thinned_as_if_the_interval_had_been_longer():
    guest = busy()
    for _ in range(40):
        for page in range(96):
            guest.load(page << 12)
    data = guest.bytes()
    [whole] = gathered_of(guest)
    # Without the closing index the length is not known before the end.
    reader = TraceReader(io.BytesIO(data))
    for _ in reader.blocks():
        pass
    [cut] = gathering.replay(io.BytesIO(data[: _end_of_blocks(data)]), [BASE])
    assert cut.result.truncated
    assert cut.timeline.series == whole.timeline.series
    assert cut.timeline.interval == whole.timeline.interval
    assert interval_of(whole.result.event_count) == whole.timeline.interval


def _end_of_blocks(data):
    return data.rindex(b"INDX")


def test_a_resumed_run_has_the_same_documents(tmp_path):
    guest = busy()
    snapshots = []

    def keep(snapshot):
        path = tmp_path / f"{len(snapshots)}"
        with path.open("wb") as file:
            seal = snapshot.write(file)
        snapshots.append((path, seal))

    trace = tmp_path / "trace.rft"
    write_in_blocks(guest, trace, 100)
    [whole] = gathering.replay(trace, [BASE], on_snapshot=keep, snapshot_every=1)
    check(whole)
    assert len(snapshots) >= 3
    for path, seal in snapshots:
        assert path.read_bytes()[-32:].hex() == seal
        [resumed] = gathering.replay(trace, [BASE], resume_from=path)
        assert resumed == whole
        # The hosts alone resume as well: the snapshot's format is what it was.
        assert replay(trace, [BASE], resume_from=path) == [whole.result]


def write_in_blocks(guest, path, size):
    with TraceWriter(path, guest.header(), level=1, block_events=size) as writer:
        writer.append_block(guest.block())


def test_a_snapshot_without_accounts_is_refused(tmp_path):
    path, trace = tmp_path / "snapshot", tmp_path / "trace.rft"
    trace.write_bytes(busy().bytes())

    def keep(snapshot):
        with path.open("wb") as file:
            snapshot.write(file)

    replay(trace, [BASE], on_snapshot=keep)
    with pytest.raises(SnapshotRefused, match="no accounts"):
        gathering.replay(trace, [BASE], resume_from=path)


def test_an_account_whose_rows_lie_outside_is_refused():
    data = [[0] * size for size in ac.SIZES]
    body = {"unit": "events", "events": 1, "instructions": 0}
    data[ac.Account._fields.index("state")][ac.MARK_COUNT] = 1 << 40
    with pytest.raises(SnapshotRefused):
        sidecar._checked(body | {"hosts": [{"samples": {}, "account": data}]})


def test_what_finds_no_room_is_summed_with_the_others(monkeypatch):
    [found] = gathered_of(busy())
    body = found.attribution.to_dict()
    body["views"]["cause"][0]["counters"]["exits"] = 10**6
    with pytest.raises(ResultError, match="by cause there are"):
        Attribution.from_dict(body)


def test_variants_of_other_engines_say_what_is_missing():
    walk = resolve(patch_set_from_text("walk"))
    [found, base] = gathering.replay(CAPTURE, [walk, BASE])
    assert found.attribution.views == {}
    assert "nothing to split" in found.attribution.missing["views"]
    assert found.timeline.names == ()
    assert "counters" in found.timeline.missing
    assert base.attribution.views
