"""Every recipe, in every paging mode, replays with every witness agreeing."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from refault.catalogue import PatchSet, patch_set_from_text, resolve
from refault.errors import InvalidParameter, SynthFailed
from refault.replay import x86
from refault.replay.session import replay
from refault.synth import RECIPES, Order, get_recipe, make
from refault.trace import EventKind, TraceReader, TraceValidator
from refault.trace.contents import join_blocks

BASE = resolve(PatchSet())
WALK = resolve(PatchSet("walk"))
MODES = ("long", "pae", "32bit")


def made(recipe, *, events=30_000, processes=None, **given):
    """The bytes of a trace, quickly packed."""
    given.setdefault("processes", 64 if get_recipe(recipe).processes > 100 else processes)
    file = io.BytesIO()
    summary = make(Order(recipe, events=events, **given), file, level=1)
    return file.getvalue(), summary


def events_of(data):
    with TraceReader(io.BytesIO(data)) as trace:
        return join_blocks(list(trace.blocks()))


def replayed(data, *variants, tmp_path):
    path = tmp_path / "synth.rft"
    path.write_bytes(data)
    return replay(path, variants)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_witness_agrees_under_base_and_under_the_architecture(recipe, mode, tmp_path):
    data, _ = made(recipe, mode=mode, seed=len(recipe) * 7 + len(mode))
    for result in replayed(data, WALK, BASE, tmp_path=tmp_path):
        assert result.stopped is None
        assert not result.finding_count, result.findings
        assert result.semantics["witnessed"] == result.semantics["accesses"] > 10_000
        assert set(result.skipped) <= {"store-carried-by-table-store"}


@pytest.mark.parametrize("recipe", ["many", "global", "pti", "pvm"])
def test_several_vcpus_agree_too(recipe, tmp_path):
    data, summary = made(recipe, vcpus=4, seed=11)
    assert summary.vcpu_count == 4
    assert set(events_of(data).vcpu.tolist()) == {0, 1, 2, 3}
    (result,) = replayed(data, BASE, tmp_path=tmp_path)
    assert not result.finding_count
    assert result.semantics["witnessed"] == result.semantics["accesses"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_seed_names_its_bytes(recipe):
    first, again, other = (made(recipe, seed=seed, events=20_000)[1].digest for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_interpreted_the_guest_makes_the_same_bytes():
    program = (
        "import io; from refault.synth import Order, make; "
        "print(make(Order('cow', events=2000), io.BytesIO(), level=1).digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "REFAULT_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [made("cow", events=2000, processes=None)[1].digest]


def test_a_longer_trace_begins_as_the_shorter_one():
    short, long = (events_of(made("exec", events=count)[0]) for count in (10_000, 25_000))
    for name in ("kind", "vcpu", "flags", "aux", "insns", "a", "b"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[: short.event_count])


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_written_is_a_valid_trace_that_says_what_it_is(recipe):
    data, summary = made(recipe, seed=3, events=5_000)
    validator = TraceValidator()
    validator.feed(data)
    assert validator.close().digest == summary.digest
    header = summary.header
    assert header.origin == "synthetic"
    assert header.losses
    assert header.provenance["recipe"] == recipe
    assert header.provenance["seed"] == 3
    assert header.provenance["recipe_version"] == RECIPES[recipe].version
    events = events_of(data)
    numbers = {str(a) for a in events.a[events.kind == EventKind.MARK].tolist()}
    assert numbers
    assert numbers <= set(header.workload_marks)


def test_a_length_in_instructions_is_kept():
    file = io.BytesIO()
    summary = make(Order("fork", instructions=400_000), file, level=1)
    assert 400_000 <= summary.instruction_count < 420_000


def test_a_length_in_events_is_exact_but_for_the_content_of_a_table():
    for count in (1, 17, 999, 12_345):
        _, summary = made("fork", events=count)
        assert count <= summary.event_count <= count + 512


# --- what each recipe is about really happens ----------------------------------------------------


def kinds(events):
    return {kind: int(np.count_nonzero(events.kind == kind)) for kind in EventKind}


def test_fork_and_cow_break_sharing_by_faults_on_present_pages():
    for recipe in ("fork", "cow"):
        events = events_of(made(recipe)[0])
        codes = events.b[events.kind == EventKind.PAGE_FAULT]
        assert np.count_nonzero(codes == (x86.PF_PRESENT | x86.PF_WRITE | x86.PF_USER)) > 300


def test_exec_makes_and_drops_address_spaces():
    events = events_of(made("exec")[0])
    roots = set(events.a[(events.kind == EventKind.CR) & (events.aux == 3)].tolist())
    assert len(roots) > 2
    assert kinds(events)[EventKind.TABLE_DROP] > 100


def test_mmap_flushes_by_page_and_as_a_whole():
    events = events_of(made("mmap")[0])
    assert kinds(events)[EventKind.INVLPG] > 100
    loads = (events.kind == EventKind.CR) & (events.aux == 3)
    same = events.a[loads][1:] == events.a[loads][:-1]
    assert np.count_nonzero(same) > 5


def test_many_processes_share_the_kernels_tables():
    events = events_of(made("many", processes=300, events=60_000)[0])
    loads = (events.kind == EventKind.CR) & (events.aux == 3)
    assert len(set(events.a[loads].tolist())) > 50
    roots = np.unique(events.a[loads]) + 8 * 273
    tops = (events.kind == EventKind.TABLE_ENTRY) & np.isin(events.a, roots)
    shared = [value for value in events.b[tops].tolist() if value >= 0]  # a leaf has NX
    assert len(shared) > 50
    assert len(set(shared)) == 1  # the direct map of all


def test_thp_makes_splits_and_makes_again(tmp_path):
    for mode in MODES:
        data, _ = made("thp", mode=mode, events=150_000)
        events = events_of(data)
        stores = (events.kind == EventKind.TABLE_STORE) & (events.aux >> 4 == 2)
        large = events.b[stores] & x86.LARGE != 0
        assert np.count_nonzero(large) > 5
        marks = events.a[events.kind == EventKind.MARK].tolist()
        assert {3, 4} <= set(marks)
        # What was mapped large is mapped by a table and large again, at the same entry.
        seen = {}
        for place, value in zip(events.a[stores].tolist(), events.b[stores].tolist(), strict=True):
            if value & x86.PRESENT:
                seen.setdefault(place, []).append(bool(value & x86.LARGE))
        assert any(history[:3] == [True, False, True] for history in seen.values()), mode


def test_global_flushes_through_cr4():
    data, _ = made("global")
    events = events_of(data)
    values = events.a[(events.kind == EventKind.CR) & (events.aux == 4)]
    off = values & x86.CR4_PGE == 0
    assert np.count_nonzero(off) > 20
    assert np.array_equal(np.flatnonzero(off) + 1, np.flatnonzero(~off)[1:])


def test_pti_has_two_roots_a_process_and_programs_see_no_kernel():
    events = events_of(made("pti")[0])
    pairs = events.a[(events.kind == EventKind.CR) & (events.aux == 3)]
    assert len(set(pairs.tolist())) >= 12
    entries = events.kind == EventKind.TABLE_ENTRY
    top = {page >> 12 for page in events.a[(events.kind == EventKind.CR) & (events.aux == 3)]}
    indexes = {}
    for place in events.a[entries].tolist():
        if place >> 12 in top:
            indexes.setdefault(place >> 12, set()).add((place & 0xFFF) >> 3)
    with_kernel = {273 in each for each in indexes.values()}
    assert with_kernel == {True, False}


def test_the_roots_of_a_process_are_a_pair_that_a_host_can_keep_together(tmp_path):
    kept = resolve(patch_set_from_text("pvm-root-pair"))
    base, pair = replayed(made("pvm")[0], BASE, kept, tmp_path=tmp_path)
    assert not pair.finding_count
    assert pair.work["vm_exits"] < base.work["vm_exits"] * 0.9


def test_pressure_takes_pages_and_limits_the_host(tmp_path):
    data, _ = made("pressure", events=80_000)
    events = events_of(data)
    counts = kinds(events)
    for kind in ("OP_NR_PAGES", "OP_UNMAP", "OP_AGE", "OP_SHRINK"):
        assert counts[EventKind[kind]] > 0
    swapped = (events.kind == EventKind.TABLE_STORE) & (events.b & 1 == 0) & (events.b != 0)
    assert np.count_nonzero(swapped) > 100


def test_migration_logs_reads_and_stops_and_the_host_takes_ranges(tmp_path):
    data, summary = made("migration", events=80_000)
    events = events_of(data)
    counts = kinds(events)
    assert counts[EventKind.OP_LOG] == counts[EventKind.OP_DIRTYLOG] > 2
    assert counts[EventKind.OP_LOG] - counts[EventKind.OP_LOG_OFF] in {0, 1}
    assert counts[EventKind.OP_GET_DIRTY_LOG] > 5 * counts[EventKind.OP_LOG]
    assert counts[EventKind.OP_UNMAP_RANGE] > 2
    order = [kind for kind in events.kind.tolist() if kind in {35, 61}]
    assert order[:4] == [35, 61, 35, 61]
    ranges = events.kind == EventKind.OP_UNMAP_RANGE
    assert (events.a[ranges] + events.b[ranges] <= 512 << 8).all()
    assert summary.header.provenance["recipe_version"] == 2
    walk, base = replayed(data, WALK, BASE, tmp_path=tmp_path)
    for result in (walk, base):
        assert not result.finding_count
        assert not set(result.skipped) - {"store-carried-by-table-store"}
        assert result.semantics["witnessed"] == result.semantics["accesses"]
    assert base.counters["remote_tlb_flush"] >= counts[EventKind.OP_GET_DIRTY_LOG] // 2


@pytest.mark.parametrize("recipe", ["fork", "thp", "pressure"])
def test_a_pae_guest_writes_entries_by_halves_as_linux_does(recipe):
    events = events_of(made(recipe, mode="pae", seed=6)[0])
    tables = [EventKind.TABLE_STORE, EventKind.TABLE_ENTRY, EventKind.TABLE_SNAPSHOT]
    stores = np.isin(events.kind, tables)
    low, halves, bits, whole = {}, 0, 0, 0
    columns = (each[stores].tolist() for each in (events.kind, events.aux, events.a, events.b))
    for kind, aux, place, value in zip(*columns, strict=True):
        size, level = aux & 15, aux >> 4
        if kind == EventKind.TABLE_SNAPSHOT:  # entries that are zero do not follow
            low.update(dict.fromkeys(range(place, place + 4096, 8), 0))
            continue
        if kind == EventKind.TABLE_ENTRY or size == 3:
            low[place] = value & 0xFFFF_FFFF
            whole += kind == EventKind.TABLE_STORE and level == 1
            continue
        assert size == 2
        assert 0 <= value < 1 << 32
        if place & 4:  # never below an entry that is present
            assert not low.get(place - 4, 0) & x86.PRESENT
            halves += 1
        else:
            bits += bool(low.get(place, 0) & value & x86.PRESENT)
            low[place] = value
    assert halves > 2000
    assert bits > 3 or recipe == "pressure"
    assert whole < halves // 50


# --- corners --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"recipe": "nothing"}, "refault synth list"),
        ({"recipe": "fork", "mode": "5level"}, "no synthetic guest has five"),
        ({"recipe": "fork", "mode": "real"}, "choose one of long, pae, 32bit"),
        ({"recipe": "fork", "seed": -1}, "seed -1"),
        ({"recipe": "fork", "events": 0}, "events 0"),
        ({"recipe": "fork", "vcpus": 9}, "vcpus 9"),
        ({"recipe": "fork", "processes": 1 << 20}, "processes 1048576"),
        ({"recipe": "fork", "mode": "pae", "ram_mib": 1024}, "ram-mib 1024"),
        ({"recipe": "fork", "instructions": 5}, "length once"),
    ],
)
def test_an_order_that_cannot_be_is_refused_by_the_value(given, named, tmp_path):
    target = tmp_path / "out.rft"
    with pytest.raises(InvalidParameter, match=named):
        make(Order(**({"events": 100} | given)), target)
    assert not list(tmp_path.iterdir())


def test_a_guest_without_memory_says_so_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "out.rft"
    with pytest.raises(SynthFailed, match=r"no frame is free; give it more --ram-mib"):
        make(Order("many", events=3_000_000, processes=4000, ram_mib=64), target, level=1)
    assert not list(tmp_path.iterdir())


def test_a_small_guest_reclaims_and_still_agrees(tmp_path):
    data, _ = made("pressure", events=60_000, ram_mib=64)
    (result,) = replayed(data, BASE, tmp_path=tmp_path)
    assert not result.finding_count
    assert result.semantics["witnessed"] == result.semantics["accesses"]
