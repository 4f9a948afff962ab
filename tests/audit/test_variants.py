"""What audits find under the variants, on what the golden data and the demo have."""

from pathlib import Path

import pytest

from refault.audits import COST_CHECKS, Level
from refault.catalogue import PatchSet, resolve, values
from refault.compare import Verdict, compare
from refault.engines.audit import tell
from refault.engines.audit import words as au
from refault.engines.audit.host import Host
from refault.engines.shadow.state import words
from refault.replay import x86
from refault.replay.budget import Budget
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from tests.audit.planting import LEAF, PAGING, WRITE, begun
from tests.audit.planting import LONG as TABLES
from tests.audit.running import VECTORS, audited, of_operations, result_stream, told, variants
from tests.builders import make_column
from tests.engines.test_variants_later import two_roles
from tests.engines.variants import SELF, link, shadowed

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden"
TRACES = ROOT / "demo/traces"
CORPUS = ROOT / "demo/corpus"
#: The long random guests: a third of an hour at level every.
LONG = ("g07", "g11", "g16", "g21", "g24", "m06", "m11", "m12", "m13", "m16")
SHORT = [
    path
    for folder in ("vectors", "more", "april/extra")
    for path in sorted((GOLDEN / folder).glob("*.ops.jsonl.zst"))
    if not path.name.startswith(LONG)
]
LONG_ONES = [
    path
    for folder in ("vectors", "more")
    for path in sorted((GOLDEN / folder).glob("*.ops.jsonl.zst"))
    if path.name.startswith(LONG)
]


def name_of(path):
    return path.name.removesuffix(".ops.jsonl.zst")


def vector(name):
    return next(path for path in (*SHORT, *LONG_ONES) if name_of(path) == name)


#: CR4.PSE is in no role (tests.engines.defects): after a change tables of large pages are kept.
#: Under pvm-table-queue all leaves may be older than the tables, so it is F-T3 that says it.
OF_PSE = {"x01_pse_off": {"F-T1", "F-T3", "F-T5"}}
#: What kernels after the series do, and what PVM proposes, on bases that can have it.
ALL_UNSYNC = "sync-transient+unsync-many+invlpg-unsync"
LATER = (
    f"v2.6.35.6+{ALL_UNSYNC}+pte-prefetch-exact+write-lost-flush+sync-flush-lazy",
    f"kvm-2010-04+zap-account+pvm-dirty-epoch+{ALL_UNSYNC}",
    "v2.6.34-pre+zap-account+unsync-many+pvm-prefault+pvm-root-pair",
    "v2.6.35.6+pte-prefetch+pvm-dirty-epoch",
    "kvm-2010-04+zap-account+pvm-table-queue",
    "v2.6.35.6+pvm-table-queue+pvm-prefault+pvm-root-pair",
)


def unexplained(report, name=""):
    """The findings that neither the specification knows nor only cost time."""
    known = COST_CHECKS | OF_PSE.get(name, set())
    return [each for each in report.broken if each.exception is None and each.check not in known]


# --- patch 3: lost marks ----------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["p3", "p3count"])
def test_a_lost_mark_is_told_long_before_the_wrong_translation(variant):
    report = audited(vector("s29_lost_mark"), variant)[0]

    assert told(report) == [("F-U1", 1044), ("F-U4", 1047), ("F-T2", 1047), ("F-T5", 1049)]
    mark, _, _, access = report.broken
    assert mark.got == "entry 0 of table 0x105 (level 3) is not marked, though the link below it is"
    assert [step.text.partition(": ")[2] for step in mark.cause[1:]] == [
        "table 0x105: mark of entry 0 set; table 0x107 went out of sync",
        "table 0x107 came back in sync",
        "table 0x105: mark of entry 0 cleared",
        "table 0x107 went out of sync",
    ]
    assert (access.got, access.want) == ("it reached 0x800000", "the guest's tables: 0x820000")
    assert not report.is_sound


def test_the_complete_patch_3_loses_none():
    assert told(audited(vector("s29_lost_mark"), "p3fix")[0]) == []


# --- patch 4: CR4 -------------------------------------------------------------------------------


def test_cr4_as_posted_is_never_stored():
    """The guest sets and clears CR4.PGE to flush; the patch compares with a value that stays."""
    report, stored = audited(vector("s13_pge_toggle"), "p4", "p4r")
    assert told(report) == [("F-P2", 1159), ("F-T3", 1189), ("F-T5", 1190)]
    assert (report.broken[0].got, report.broken[0].want) == ("CR4 is 0xa0", "0x20")
    assert told(stored) == []


def test_cr4_stored_keeps_old_pdptes():
    """Under PAE a write that changes CR4.PGE loads the four PDPTEs again (SDM 4.4.1)."""
    report = audited(vector("m06_pae_wp_nx_np_30k"), "p4r", level="flush")[0]
    first = next(each for each in report.broken if each.check == "F-P2")
    assert first.got == "PDPTE 1 is 0x0"
    assert first.operation == "cr4 vCPU 0 0x20"


# --- patch 2: the base of the series --------------------------------------------------------------


def test_the_base_of_patch_2_breaks_as_it_is_known_to():
    uaf = audited(vector("s10a_bucket_bug"), "base")[0]
    assert uaf.stopped.startswith("use-after-free")
    assert not uaf.is_sound

    endless = audited(vector("s19d_limit_below_refill"), "base")[0]
    assert [(each.check, each.operation) for each in endless.broken] == [("F-S3", "nr_pages 0x40")]
    assert endless.stopped.startswith("endless-zap")
    over = audited(vector("s19b_shrink_limit_idle"), "base")[0]
    assert over.stopped.startswith("empty-list")


def test_patch_3_loses_a_sync_in_a_real_guest():
    """The boot of Linux 6.1: from the lost mark to the wrong address are 631,630 operations."""
    report = audited(TRACES / "linux61-boot-1cpu.rft", "p3", level="flush")[0]
    first = {each.check: each.operation_index for each in reversed(report.broken)}
    assert first["F-U1"] == 671_114
    assert first["F-T5"] == 1_302_744
    # What follows from it is not put down to what the base does wrong anyway.
    assert {each.exception for each in report.broken if each.check != "F-T1"} == {None}


# --- sound variants -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHORT, ids=name_of)
def test_sound_variants_break_nothing_that_is_not_known(path):
    for report in audited(path, "p2", "p3fix", "p6", "rel35"):
        assert unexplained(report, name_of(path)) == []
        assert report.unfinished == 0


@pytest.mark.parametrize("path", SHORT, ids=name_of)
def test_later_mechanisms_break_nothing_that_is_not_known(path):
    for report in audited(path, *LATER):
        left = unexplained(report, name_of(path))
        if "+pte-prefetch " in f"{report.variant_name} ":
            # As merged first it takes an entry with reserved bits for an absent one (e730b63cc08).
            left = [each for each in left if each.check != "F-W4"]
        assert left == []
        assert report.unfinished == 0


@pytest.mark.parametrize("path", LONG_ONES, ids=name_of)
def test_later_mechanisms_break_nothing_in_long_random_guests(path):
    for report in audited(path, *LATER, level="flush"):
        assert unexplained(report) == []


@pytest.mark.parametrize(
    ("name", "patch_id", "check"),
    [
        ("write-to-readonly-overwrite", "write-lost-flush", "F-W1"),
        ("sync-drop-no-flush", "sync-flush-lazy", "F-H1"),
    ],
)
def test_bugs_that_later_kernels_mended_are_mended(name, patch_id, check):
    """The audit finds them in the base; with the patch that mended them it finds nothing."""
    texts = ("v2.6.35.6,tlb=1", f"v2.6.35.6+{patch_id},tlb=1")
    base, mended = audited(VECTORS / f"{name}.ops.jsonl", *texts)
    assert check in {each.check for each in base.broken}
    assert told(mended) == []


def checks_after(guest, *patch_ids, spoil):
    """The checks that fail at the end, after something was done to the host's machine."""
    host = Host(resolve(PatchSet("v2.6.35.6", patch_ids)), guest.header(), Budget(), Level("every"))
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host.execute(ops, count)
    spoil(host.machine)
    host.finish()
    return {au.NAMES[group.first[au.CHECK]] for group in tell.groups_of(host)}


def forget(m):
    """The root counts as synced just now."""
    m.page[m.vm[words.CPUS + words.ROOT] + words.EPOCH] = m.vm[words.CHANGE_EPOCH]


def test_an_epoch_that_hides_an_out_of_sync_page_from_the_next_sync_is_found():
    guest = shadowed().load(SELF)
    assert checks_after(guest, "pvm-dirty-epoch", spoil=lambda _: None) == set()
    assert checks_after(guest, "pvm-dirty-epoch", spoil=forget) == {"F-U1"}


def test_many_pages_of_a_table_out_of_sync_are_a_finding_only_where_that_is_not_the_rule():
    """F-W2's second half: a table in two roles, both pages of which are out of sync."""

    def single(m):
        m.vm[words.KNOB_UNSYNC_ROLES] = values.UNSYNC_ROLES_ONE

    guest = two_roles().store(SELF + 0x800, link(103))
    assert checks_after(guest, "unsync-many", spoil=lambda _: None) == set()
    assert checks_after(guest, "unsync-many", spoil=single) == {"F-W2"}


@pytest.mark.parametrize("path", LONG_ONES, ids=name_of)
def test_sound_variants_break_nothing_in_long_random_guests(path):
    for report in audited(path, "p2", "p6", "rel35", level="flush"):
        assert unexplained(report) == []


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("s20_write_protect_off", "p2", {("F-T1", "F-X1"), ("F-T5", "F-X1")}),
        ("s28_dirtylog_large_without_log", "rel35", {("F-S8", "F-X6"), ("F-T7", "F-X6")}),
        ("s08b_large_guest_large_host", "rel35", {("F-C1", "F-X6")}),
        ("s17_permissions", "rel35", {("F-T5", "B1")}),
        ("s19a_shrink_limit_in_use", "rel35", {("F-S3", "D2"), ("F-H3", "D2")}),
        ("g07_2cpu_bigguest_smallhost_50k", "p2", {("F-T1", "F-X2")}),
    ],
)
def test_known_exceptions_have_their_names(name, variant, expected):
    report = audited(vector(name), variant)[0]
    assert {(each.check, each.exception) for each in report.broken} == expected
    assert report.is_sound == (report.stopped is None)


@pytest.mark.parametrize(
    ("trace", "of_base", "of_release"),
    [
        ("linux61-boot-1cpu.rft", {("F-T1", "F-X2")}, {("F-P4", "F-X6")}),
        ("linux61-workload-1cpu.rft", set(), set()),
    ],
)
def test_real_guests_meet_known_exceptions_only(trace, of_base, of_release):
    reports = audited(TRACES / trace, "base", "rel35", level="flush", threads=2)
    for report, expected in zip(reports, (of_base, of_release), strict=True):
        assert {(each.check, each.exception) for each in report.broken} == expected
        assert report.sweeps > 20


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ("sqlite-1cpu.rft", set()),
        ("fork-pae-1cpu.rft", set()),
        ("fork-32bit-1cpu.rft", {("F-P4", "F-X6")}),
        ("many-4cpu.rft", set()),
    ],
)
def test_real_guests_of_other_kinds_meet_known_exceptions_only(trace, expected):
    """Fails where the audit loses a frame of memory that one stretch of rows made with others."""
    [report] = audited(CORPUS / trace, "base", level="flush")
    assert {(each.check, each.exception) for each in report.broken} == expected
    assert report.sweeps > 20


def test_a_base_that_loses_a_page_by_cr0_wp_is_told_so_and_alarms_nobody(tmp_path):
    lines = [
        *begun({**TABLES, 0x4000: 0x64000 | LEAF - WRITE}),
        ["cr0", 0, PAGING & ~x86.CR0_WP],
        ["log", 0],
        ["ld", 0, 0, 0],
        ["st", 0, 0, 0, 7],
        ["get_dirty_log", 0],
    ]
    path = of_operations(lines, tmp_path)
    result = replay(result_stream(path), variants("base"))[0]
    assert {finding.kind for finding in result.findings} == {"lost-dirty-page"}
    base = compare([make_column("base", result, audit=audited(path, "base")[0])]).base
    assert base.verdict is Verdict.BASE
    assert "lost-dirty-page" in base.reason
    assert "F-D1 (F-X1, known)" in base.reason
