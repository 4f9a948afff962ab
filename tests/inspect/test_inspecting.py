"""A place of a trace, however one comes there, and what its history says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from refault.catalogue import Parameters, patch_set_from_text, resolve
from refault.cli.trace_files import as_trace
from refault.diverge.shadow_walk import walk_by_page
from refault.engines import get_engine
from refault.engines.audit import words as au
from refault.engines.shadow.state import words
from refault.engines.shadow.state.fields import state_of
from refault.errors import InvalidParameter, ReplayRefused
from refault.inspect import shelf as shelves
from refault.inspect.changes import Seen, changes_before
from refault.inspect.inspecting import look, timeline_of
from refault.inspect.place import Timeline
from refault.inspect.shelf import Shelf
from refault.inspect.state import notation
from refault.inspect.text import WIDTH, Told, view_text
from refault.linux.variants import variant_of_build
from refault.questions import Where
from refault.replay import x86
from refault.replay.session import Session
from refault.trace.reader import trace_digest

ROOT = Path(__file__).resolve().parents[2]
LOST_MARK = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"
CAPTURE = ROOT / "demo/traces/linux61-boot-1cpu.rft"
TOLD = Told("trace", "variant", ["refault", "inspect"])


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REFAULT_CACHE", str(tmp_path))
    return tmp_path


def variant_of(name):
    return resolve(patch_set_from_text(name))


@pytest.fixture
def lost_mark():
    with as_trace(LOST_MARK) as trace:
        yield timeline_of(trace, variant_of("p3"))


def capture(name="base", apart=20_000):
    variant = variant_of(name)
    key = (trace_digest(CAPTURE), variant.digest, get_engine(variant.engine).digest)
    return Timeline(CAPTURE, variant, Shelf(key, apart))


def state_at(timeline, operation):
    with timeline.at_operation(operation) as place:
        return state_of(place.host.machine), place.next_row(), place.latest


@pytest.mark.parametrize("name", ["base", "p3,page-limit=400/64/5000"])
def test_a_place_is_that_of_a_straight_run(name):
    timeline = capture(name)
    for operation in (150_001, 40_000, 39_999, 100_000):
        with Session(CAPTURE, [timeline.variant]) as session:
            session.advance(to_operation=operation)
            [wanted] = session.state()
            reached = session.operations
        # A session goes a little further where the page limit adds operations.
        assert reached == operation or "page-limit" in name
        with timeline.at_operation(reached) as place:
            assert place.host.operation_count == reached
            assert state_of(place.host.machine) == wanted
    assert timeline.shelf.kept()


def test_snapshots_change_nothing_and_neither_does_the_way():
    fresh, used = capture(apart=1 << 40), capture()
    used.at_event(200_000).__exit__(None, None, None)
    assert len(used.shelf.kept()) >= 3
    where = Where(event=120_000, gva=0xFFFF_FFFF_8115_8000)
    forwards = look(used, where)
    back = look(used, Where(event=200_000, back=_between(used, 120_000, 200_000), gva=where.gva))
    for shelf in list(used.shelf.kept()):
        used.shelf.drop(shelf)
    without = look(fresh, where)
    assert forwards == back == without
    assert view_text(forwards, TOLD) == view_text(back, TOLD)


def _between(timeline, first, second):
    counts = []
    for event in (first, second):
        with timeline.at_event(event) as place:
            counts.append(place.host.operation_count)
    return counts[1] - counts[0]


def test_damaged_and_foreign_snapshots_are_replaced():
    timeline = capture()
    wanted = state_at(timeline, 150_000)
    first, second, *_ = kept = timeline.shelf.kept()
    good = {each.path: each.path.read_bytes() for each in kept}
    for each in kept:
        each.path.write_bytes(each.path.read_bytes()[:-100])
    # A whole one, under the name of another place.
    second.path.write_bytes(good[first.path])
    assert state_at(timeline, 150_000) == wanted
    assert {each.path: each.path.read_bytes() for each in timeline.shelf.kept()} == good


def test_several_at_once_see_the_same():
    wanted = state_at(capture(apart=1 << 40), 90_000)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: state_at(capture(), 90_000), range(4)):
            assert found == wanted


def test_a_snapshot_of_another_trace_is_not_taken():
    timeline = capture()
    wanted = state_at(timeline, 100_000)
    other = ROOT / "demo/traces/linux61-workload-1cpu.rft"
    Timeline(other, timeline.variant, timeline.shelf).at_event(60_000).__exit__(None, None, None)
    assert state_at(timeline, 100_000) == wanted


def test_the_shelf_is_bounded(monkeypatch):
    monkeypatch.setattr(shelves, "COUNT_MAX", 4)
    shelf = Shelf(("a" * 64, "b" * 64, "c" * 64), 1)
    for place in range(1, 20):
        shelf.put(place, place, lambda file: file.write(b"x" * 100))
    kept = [each.events for each in shelf.kept()]
    assert len(kept) == 4
    assert (kept[0], kept[-1]) == (1, 19)
    monkeypatch.setattr(shelves, "BYTES_MAX", 250)
    shelf.put(20, 20, lambda file: file.write(b"x" * 100))
    assert len(shelf.kept()) == 2


def test_a_cache_that_cannot_be_written_is_no_obstacle(monkeypatch, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("", encoding="utf-8")
    monkeypatch.setenv("REFAULT_CACHE", str(occupied))
    timeline = capture()
    assert state_at(timeline, 60_000)
    assert not timeline.shelf.kept()


# --- what changed, and when --------------------------------------------------------------------


def test_the_latest_change_of_an_address_is_found(lost_mark):
    view = look(lost_mark, Where(until_change=0x40_0000))
    assert view.changed.operation_index == 1046
    assert view.operation_index == 1047
    assert view.changed.changed == ("the guest's entry at 0x107000 was 0x800067, is 0x820067",)
    before = look(lost_mark, Where(operation=1046, until_change=0x40_0000))
    assert before.changed.operation_index == 1037
    assert "the leaf 0 of table 0x107 was absent, is 0x800000 rwx user" in before.changed.changed
    start = look(lost_mark, Where(operation=1030, until_change=0x40_0000))
    assert (start.operation_index, start.changed) == (1030, None)


def test_the_finding_of_the_audit_shows(lost_mark):
    """F-U1 of patch 3: the mark of entry 0 of table 0x105, from operation 1044 on."""
    view = look(lost_mark, Where(operation=1045, gva=0x40_0000))
    assert [entry.marked for entry in view.address.walk] == [False, False, True, False]
    assert view.address.walk[-1].unsync
    table = look(lost_mark, Where(operation=1045, gfn=0x105)).table
    assert [page.marks for page in table.pages] == [()]
    told = [text for turn in view.history for text in turn.changed]
    assert "table 0x105: mark of entry 0 set" in told
    assert "table 0x105: mark of entry 0 cleared" in told
    assert view.history[-1].operation_index == 1044


def test_the_unmarked_link_of_a_finding_is_named_at_its_place(lost_mark):
    """What F-U1 says is seen in the view that the report's command shows."""
    view = look(lost_mark, Where(operation=1045, gfn=0x105))
    [page] = view.table.pages
    assert page.below == (
        "[0] sp gfn 106 2/4 q0 wux pge nxe root 0 sync, 1 out of sync below; NOT marked here",
    )
    assert "NOT marked here" in " ".join(view_text(view, TOLD).split())
    [marked] = look(lost_mark, Where(operation=1045, gfn=0x106)).table.pages
    assert marked.below == ("[2] sp gfn 107 1/4 q0 wux pge nxe root 0 unsync; marked here",)


def test_the_history_of_a_table_is_of_no_other_table():
    """A shadow page is used again for another table: what it was then is no part of this one."""
    view = look(capture("series"), Where(operation=766_409, gfn=0x3C00))
    told = [text for turn in view.history for text in turn.changed]
    assert told
    assert all(text.startswith("table 0x3c00") for text in told)
    assert not any("the page was" in text for text in told)


def test_how_to_read_it_is_said_once_and_not_in_the_shell(lost_mark):
    view = look(lost_mark, Where(operation=1045, gva=0x40_0000))
    assert view_text(view, TOLD).count("How to read it") == 1
    assert "How to read it" not in view_text(view, TOLD._replace(has_legend=False))


def test_changes_are_those_that_single_steps_show():
    """Row by row from the first operation on, of the words that a walk at the end rests on."""
    timeline, end = capture(apart=1), 36_000
    with timeline.at_operation(end) as place:
        host = place.host
        handles = [sp for sp, _ in walk_by_page(host, 0, place.latest.a, notation(host))]
    seen = [Seen(au.WATCH_PAGE, handles[-1] + words.UNSYNC)]
    seen += [Seen(au.WATCH_SPT, (sp << 5) + 510) for sp in handles]
    seen.append(Seen(au.WATCH_VM, words.PF_FIXED))
    wanted = []
    with timeline.at_operation(3000) as place:
        place.keeps = False
        before = [value_of(place.host.machine, each) for each in seen]
        while (operation := place.host.operation_count) < end:
            place.advance_part(1)
            now = [value_of(place.host.machine, each) for each in seen]
            pairs = zip(seen, before, now, strict=True)
            wanted += [(operation, each) for each, old, new in pairs if is_other(each, old, new)]
            before = now
    found = changes_before(timeline, end, seen, 1 << 30)
    kept = sorted((each.operation, each.seen) for each in found if each.operation >= 3000)
    assert kept == sorted(wanted)
    assert len(kept) > 1000
    operations = sorted({each.operation for each in found})
    assert changes_before(timeline, end, seen, 5) == [
        each for each in found if each.operation in operations[-5:]
    ]


def value_of(machine, seen):
    array = {au.WATCH_VM: machine.vm, au.WATCH_PAGE: machine.page, au.WATCH_SPT: machine.spt}
    words_there = array[seen.array]
    return int(words_there[seen.place]) if seen.place < len(words_there) else 0


def is_other(seen, old, new):
    ignored = x86.ACCESSED | x86.DIRTY if seen.array == au.WATCH_SPT else 0
    return bool((old ^ new) & ~ignored)


# --- what there is not -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (Where(event=5000), "the trace has 1,054 events"),
        (Where(operation=5000), "there are 1,053 operations"),
        (Where(back=1054), "there are 1,053 operations before"),
        (Where(gva=0x8000_0000_0000), "not canonical"),
        (Where(gva=0, vcpu=1), "no vCPU 1: there are 1"),
        (Where(vcpu=7), "no vCPU 7"),
        (Where(gfn=1 << 40), "no such frame"),
        (Where(operation=0, gva=0), "there are none yet"),
    ],
)
def test_places_that_are_not_there(lost_mark, where, says):
    with pytest.raises(InvalidParameter, match=says):
        look(lost_mark, where)


def test_the_rules_alone_have_the_guests_side():
    with as_trace(LOST_MARK) as trace:
        timeline = timeline_of(trace, variant_of("walk"))
        view = look(timeline, Where(gva=0x40_0000))
        assert view.address.guest.gpa == 0x82_0000
        assert (view.address.walk, view.history, view.summary) == ((), (), None)
        assert view.vcpus[0].mode == "long mode"
        assert "Shadow" not in view_text(view, TOLD)
        for where in (Where(gfn=0x105), Where(until_change=0x40_0000)):
            with pytest.raises(InvalidParameter, match="shadow MMU"):
                look(timeline, where)


def test_where_the_kernel_broke_nothing_comes_next():
    broken = ROOT / "tests/golden/vectors/s10a_bucket_bug.ops.jsonl.zst"
    with as_trace(broken) as trace:
        timeline = timeline_of(trace, variant_of("base"))
        end, later = look(timeline, Where()), look(timeline, Where(operation=1 << 40))
        assert end == later == look(timeline, Where(event=1 << 40))
        assert end.broke.startswith("use-after-free: ")
        assert (end.latest, end.upcoming) == (None, None)
        assert "The simulated kernel broke" in view_text(end, TOLD)
        before = look(timeline, Where(operation=1048, gva=0))
        assert before.broke is None
        assert before.upcoming is not None


def test_a_truncated_trace_says_so_where_it_ends(tmp_path):
    cut = tmp_path / "cut.rft"
    cut.write_bytes(CAPTURE.read_bytes()[:-5])
    timeline = timeline_of(cut, variant_of("base"))
    end = look(timeline, Where())
    assert (end.upcoming, end.is_truncated) == (None, True)
    assert "the file is truncated" in view_text(end, TOLD)
    assert not look(timeline, Where(operation=100)).is_truncated


def test_every_line_fits(lost_mark):
    for where in (Where(), Where(gva=0x40_0000), Where(gfn=0x107)):
        lines = view_text(look(lost_mark, where), TOLD).splitlines()
        assert max(map(len, lines)) <= WIDTH


def test_until_finds_what_the_tracepoints_of_the_whole_run_say(lost_mark):
    unsyncs = [1038, 1044]
    back = look(lost_mark, Where(until="unsync gfn 0x107"))
    assert back.changed.operation_index == unsyncs[-1]
    assert back.operation_index == unsyncs[-1] + 1
    assert back.changed.changed == (
        "kvm_mmu_unsync_page: sp gfn 107 1/4 q0 wux pge nxe root 0 sync",
    )
    before = look(lost_mark, Where(operation=unsyncs[-1], until="unsync gfn 263"))
    assert before.changed.operation_index == unsyncs[0]
    first = look(lost_mark, Where(until="unsync gfn 0x107", forward=True))
    assert first.changed == before.changed
    following = look(lost_mark, Where(operation=1039, until="unsync gfn 0x107", forward=True))
    assert following.changed == back.changed
    none = look(lost_mark, Where(operation=1038, until="zap gfn 0x107"))
    assert (none.changed, none.operation_index) == (None, 1038)
    assert none.searched == "zap gfn 0x107, before"


def test_until_is_the_same_over_stretches_between_snapshots_as_over_the_whole_run():
    fresh, used = capture(apart=1 << 40), capture()
    unsync = look(used, Where(event=200_000)).summary.unsync[0]
    assert len(used.shelf.kept()) >= 3
    where = Where(event=200_000, until=f"get gfn 0x{unsync.split()[2]}")
    found = [look(each, where) for each in (fresh, used)]
    assert found[0].changed is not None
    assert found[0] == found[1]


def test_a_page_is_known_by_its_number_in_use_or_not(lost_mark):
    table = look(lost_mark, Where(operation=1045, gfn=0x107)).table
    [page] = table.pages
    view = look(lost_mark, Where(operation=1045, page=page.number))
    assert view.page == page
    assert view.history[0].changed[0] == "table 0x107: a page is made, 1/4 q0 wux pge nxe"
    free = look(lost_mark, Where(operation=1030, page=page.number)).page
    assert free.is_free
    with pytest.raises(InvalidParameter, match="the pages are 1 to"):
        look(lost_mark, Where(page=0))


def test_a_kernel_of_ones_own_is_refused_with_what_to_do_instead(lost_mark):
    own = variant_of_build("0" * 64, "6.12.43", Parameters())
    with pytest.raises(ReplayRefused, match="refault diverge"):
        timeline_of(lost_mark.trace, own)
