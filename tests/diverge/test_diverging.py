"""The first operation at which two variants differ, held against whole runs side by side."""

import json
from pathlib import Path

import numpy as np
import pytest

from refault.catalogue import PatchSet, patch_set_from_text, resolve
from refault.cli.trace_files import as_trace
from refault.diverge.around import plain
from refault.diverge.diverging import diverge
from refault.diverge.measures import places_of
from refault.diverge.position import open_hosts
from refault.diverge.search import Job
from refault.diverge.text import Told, report_text
from refault.engines.base import Watch
from refault.errors import InvalidParameter, ReplayCancelled, TraceTruncated
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.lowering.rows import RowSource
from refault.replay.session import replay
from refault.trace import TraceReader

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/golden/vectors"
LOST_MARK = VECTORS / "s29_lost_mark.ops.jsonl.zst"
CAPTURE = ROOT / "demo/traces/linux61-boot-1cpu.rft"
CASES = ROOT / "tests/cli/vectors"
BUGS = ROOT / "tests/audit/vectors"


def variants(*names):
    return [resolve(patch_set_from_text(name)) for name in names]


@pytest.fixture
def compared():
    def compare(path, first, second, on="outcome", **how):
        wants_next = how.pop("wants_next", False)
        with as_trace(path) as trace:
            return diverge(Job(trace, variants(first, second), **how), on, wants_next=wants_next)

    return compare


def brute_force(trace, first, second):
    """The row of the first outcome that differs, by recording every one of two whole runs."""
    with TraceReader(trace) as reader:
        source = RowSource(reader.header)
        hosts = open_hosts(reader.header, variants(first, second), Budget(), Watch(record_all=True))
        row = 0
        for ops, count, _ in source.parts(reader.blocks()):
            seen = []
            for host in hosts:
                host.notes.findings.raw = []
                host.execute(ops, count)
                outcomes = np.zeros((count, 3), np.int64)
                for records in host.notes.findings.raw:
                    outcomes[records[:, rec.ROW], 0] = records[:, rec.CODE]
                    outcomes[records[:, rec.ROW], 1] = records[:, rec.ADDRESS]
                    outcomes[records[:, rec.ROW], 2] = records[:, rec.VALUE]
                outcomes[outcomes[:, 0] == out.PF_DIRECT, 0] = out.PF
                seen.append(outcomes)
            other = np.flatnonzero((seen[0] != seen[1]).any(axis=1))
            if len(other):
                return row + int(other[0])
            row += count
    return None


def test_patch_3_loses_a_mark_and_later_a_translation(compared):
    report = compared(LOST_MARK, "base", "p3")
    [found] = report.divergences
    assert found.row == found.first.operation_index == found.second.operation_index == 1049
    assert (found.first.code, found.second.code) == (out.OK, out.OK)
    assert (found.first.address, found.second.address) == (0x820000, 0x800000)
    assert found.before.first.guest.gpa == 0x820000
    assert [entry.kind for entry in found.before.second.walk][-1] == "leaf"
    assert found.before.second.walk[-1].unsync
    assert not found.before.first.walk[-1].unsync
    assert found.after.first.reaches == 0x820000
    assert found.after.second.reaches == 0x800000
    # The store that makes the table out of sync, five operations before: p3 marks no upper level.
    assert found.origin.operation_index == 1044
    assert {int(page.gfn) for page in found.origin.pages} == {0x100, 0x105}


@pytest.mark.parametrize(
    ("path", "operation", "leftover", "unmarked"),
    [
        (LOST_MARK, 1044, "entry 2 of sp gfn 106", "entry 0 of sp gfn 105"),
        (CAPTURE, 1297172, "entry 290 of sp gfn 5569", "entry 255 of sp gfn 55ee"),
    ],
)
def test_the_report_says_in_sentences_why_patch_3_is_unsound(
    compared, path, operation, leftover, unmarked
):
    report = compared(path, "base", "p3", threads=2)
    text = report_text(report, Told(path.name, ("base", "p3"), ["refault"]))
    told = " ".join(text.split())
    assert "parent-stop-bit: stop walking parents that are already marked" in told
    assert "A is right, B is wrong." in told
    assert "goes down marked links only" in told
    lost = told.partition(f"The mark was lost at operation {operation}")[2]
    stop, _, rest = lost.partition("which was marked before, and stopped")
    assert leftover in stop
    assert unmarked in rest.partition("and stayed so.")[0]
    assert "How to read it" in text


def test_the_side_that_is_called_right_is_the_architectures(compared):
    """Each outcome that differs is held against the engine that has no hypervisor."""
    judged = 0
    for path in sorted(BUGS.glob("*.ops.jsonl")):
        for found in compared(path, "base", "rel35").divergences:
            says = " ".join(found.reasons)
            if "is right" not in says:
                continue
            judged += 1
            right = "base" if "A is right" in says else "rel35"
            later = compared(path, right, "walk").divergences
            assert not later or later[0].row > found.row, path.name
    assert judged > 1


def test_a_fault_for_a_reserved_bit_is_not_judged(compared):
    [found] = compared(CASES / "rsvd-pat.ops.jsonl", "base", "rel35").divergences
    assert found.reasons == ()


def test_pages_differ_before_a_guest_can_see_it(compared):
    [found] = compared(LOST_MARK, "base", "p3", "pages").divergences
    assert found.row == 1044
    assert found.before.pages == ()
    assert {int(page.gfn) for page in found.after.pages} == {0x100, 0x105}


def test_pages_after_which_all_is_alike_again_are_no_next_difference(compared):
    first, following = compared(LOST_MARK, "base", "p3", "pages", wants_next=True).divergences
    known = {int(page.gfn) for page in first.after.pages}
    assert following.row > first.row
    assert {int(page.gfn) for page in following.after.pages} - known


def test_a_variant_does_not_differ_from_itself(compared):
    for on in ("outcome", "pages", "synced"):
        report = compared(LOST_MARK, "p3", "p3", on, threads=2)
        assert not report.divergences
        assert report.outcome_digests[0] == report.outcome_digests[1]
        assert report.page_digests[0] == report.page_digests[1]
        assert len(report.trace_digest) == 64
        assert report.operations == (1053, 1053)


def test_the_digests_are_those_of_plain_replays(compared):
    report = compared(LOST_MARK, "base", "p2")
    with as_trace(LOST_MARK) as trace:
        results = replay(trace, variants("base", "p2"))
    assert report.outcome_digests == tuple(each.outcome_digest for each in results)
    assert report.page_digests == tuple(each.page_digest for each in results)


def test_engines_of_two_kinds_are_compared_by_what_the_guest_sees(compared):
    assert not compared(LOST_MARK, "base", "walk").divergences
    [found] = compared(LOST_MARK, "walk", "p3").divergences
    assert found.row == 1049
    assert not found.before.first.is_kept
    assert found.before.first.guest == found.before.second.guest
    # The model answers how many mappings an unmap found; the architecture has no host to ask.
    assert not compared(CASES / "notifier-index.ops.jsonl", "rel35", "walk").divergences


def test_an_answer_to_the_host_is_an_outcome(compared):
    [found] = compared(CASES / "notifier-index.ops.jsonl", "base", "rel35").divergences
    assert found.operation.kind == op.UNMAP
    assert (found.first.address, found.second.address) == (0, 1)
    assert found.before.first.reverse_maps[0].gfn == found.operation.a


@pytest.mark.parametrize("page_limit", ["", ",page-limit=64"])
def test_a_kernel_that_breaks_differs_from_one_that_goes_on(compared, page_limit):
    names = (f"base{page_limit}", f"rel35{page_limit}")
    [found] = compared(CASES / "limit-empty-list.ops.jsonl", *names).divergences
    assert found.operation.kind == op.NR_PAGES
    assert found.first.broke.startswith("empty-list")
    assert found.second.broke is None


@pytest.mark.parametrize("counter", ["hw_flush", "synced", "mmu_unsync", "vm_exits"])
def test_the_curve_of_a_counter_ends_at_the_difference_of_plain_replays(compared, counter):
    account = compared(CAPTURE, "base", "p3", counter, threads=2).account
    results = [each.counters | each.work for each in replay(CAPTURE, variants("base", "p3"))]
    assert (account.first, account.second) == tuple(each[counter] for each in results)
    assert account.curve[-1][1] == account.difference
    assert len(account.curve) <= 60
    assert account.curve == tuple(sorted(account.curve))


def test_the_carriers_of_a_counter_add_up_to_its_difference(compared):
    account = compared(CAPTURE, "base", "series", "hw_flush").account
    assert account.difference
    assert not account.more_carriers or len(account.carriers) == 10
    every = compared(LOST_MARK, "base", "p3", "synced").account
    assert sum(each.difference for each in every.carriers) == every.difference == -2
    assert [(each.operation, each.region) for each in every.carriers] == [("cr3", "-")]


def test_a_counter_differs_first_where_all_counters_of_all_rows_say_so(compared):
    report = compared(CAPTURE, "base", "series", "hw_flush", wants_next=True)
    first, following = report.divergences
    with TraceReader(CAPTURE) as reader:
        source = RowSource(reader.header)
        hosts = open_hosts(reader.header, variants("base", "series"), Budget())
        row = 0
        for ops, count, _ in source.parts(reader.blocks()):
            for at in range(count):
                part = type(ops)(*(column[at : at + 1] for column in ops))
                for host in hosts:
                    host.execute(part, 1)
                counts = [host.counters()["hw_flush"] for host in hosts]
                if counts[0] != counts[1]:
                    assert (row + at, tuple(counts)) == (first.row, first.counts)
                    assert following.row > first.row
                    assert following.operation.kind != first.operation.kind
                    return
            row += count


def test_a_long_capture_agrees_with_two_whole_runs_side_by_side(compared):
    report = compared(CAPTURE, "base", "p3", threads=2)
    [found] = report.divergences
    assert found.row == brute_force(CAPTURE, "base", "p3")
    assert found.operation.event == 1_340_566
    assert found.before.first.guest.ends == "absent at level 1"
    assert found.first.code == out.PF
    assert report.operations is None


def test_a_capture_under_sound_variants_has_no_difference(compared):
    assert not compared(CAPTURE, "base", "series", threads=2).divergences


def test_what_follows_from_the_first_difference_is_passed_over(compared):
    """A store that went to another frame is read back, and read again, at the same address."""
    many = VECTORS / "g07_2cpu_bigguest_smallhost_50k.ops.jsonl.zst"
    report = compared(many, "base", "p3", wants_next=True, threads=2)
    assert report.wants_next
    assert len(report.divergences) == 1


def test_the_next_difference_is_at_another_place(compared, tmp_path):
    """A user page that a forced write made writable; then a large page that unmap does not find."""
    table, page = 0x104000, 0x120000
    rows = [
        ["vm", 1, 0],
        ["mem", 0, 256, 4096, 2],
        *(["poke", at, to | 0x27] for at, to in ((0x101000, 0x102000), (0x102000, 0x103000))),
        ["poke", 0x103008, 0x4000E7],
        ["poke", 0x103010, table | 0x27],
        ["poke", table, page | 0x25],
        ["boot", 0, 0x80000033, 0x101000, 0x20, 0x500],
        ["st", 0, 0x400008, 0, 7],
        ["st", 0, 0x400008, 1, 8],
        ["st", 0, 0x400010, 1, 9],
        ["st", 0, 0x200008, 1, 7],
        ["unmap", 1024],
    ]
    vector = tmp_path / "two.ops.jsonl"
    vector.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    first, following = compared(vector, "base", "rel35", wants_next=True).divergences
    assert following.row > first.row
    places = [places_of(each.operation.kind, each.operation.a) for each in (first, following)]
    assert places[0] != places[1]
    assert (first.operation.kind, following.operation.kind) == (op.ST, op.UNMAP)


def test_nothing_is_compared_once_a_kernel_broke(compared):
    broken = CASES / "limit-empty-list.ops.jsonl"
    report = compared(broken, "base", "rel35", wants_next=True)
    assert len(report.divergences) == 1
    assert report.divergences[0].is_end
    text = report_text(report, Told(broken.name, ("base", "rel35"), ["refault"]))
    assert "Where a kernel broke there is nothing to compare any more." in text


def test_every_report_fits_a_mail(compared):
    for path, names, on in (
        (LOST_MARK, ("base", "p3"), "outcome"),
        (LOST_MARK, ("base", "p3"), "synced"),
        (CAPTURE, ("base", "p3"), "outcome"),
        (CAPTURE, ("base", "series"), "hw_flush"),
        (CAPTURE, ("base", "rel35"), "pages"),
        (VECTORS / "p02_32bit.ops.jsonl.zst", ("base", "rel35"), "parent_marks"),
    ):
        report = compared(path, *names, on, wants_next=on == "pages")
        text = report_text(report, Told(path.name, names, ["refault", "diverge", path.name]))
        assert max(map(len, text.splitlines())) <= 72
        assert plain(report)["on"] == on


def test_pages_and_counters_are_asked_of_engines_that_have_them(compared):
    with pytest.raises(InvalidParameter, match="engine that has pages"):
        compared(LOST_MARK, "base", "walk", "pages")
    with pytest.raises(InvalidParameter, match="no such counter"):
        compared(LOST_MARK, "base", "walk", "hw_flush")
    with pytest.raises(InvalidParameter, match="no such counter; it has pf_fixed"):
        compared(LOST_MARK, "base", "p3", "hw_flushes")


def test_a_caller_can_end_it(compared):
    with pytest.raises(ReplayCancelled):
        compared(CAPTURE, "base", "p3", is_cancelled=lambda: True)


def test_a_truncated_trace_is_compared_up_to_its_last_whole_block(compared, tmp_path):
    short = tmp_path / "short.rft"
    short.write_bytes(CAPTURE.read_bytes()[:3000])
    with pytest.raises(TraceTruncated):
        compared(short, "base", "p3")


def test_a_patch_set_of_nothing_is_the_base():
    assert variants("base") == [resolve(PatchSet())]
