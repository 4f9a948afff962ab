"""Bugs that KVM's developers found later in these very kernels, each as a vector.

``tests/audit/vectors`` has one vector for each, named after what goes wrong. The check that must
say it, where, and in which base is written here; a base that lacks the bug must say nothing.
"""

import pytest

from tests.audit.running import VECTORS, audited, told

BASES = ("base", "apr", "rel35")
NOTHING = []
LEAF_THEN_ACCESS = [("F-T1", 9), ("F-T5", 10)]
#: What each of 2.6.34, April 2010 and 2.6.35 shows.
CASES = {
    "accessed-lost": ([("F-H2", 13)],) * 3,
    "cr0wp-not-in-role": ([("F-T1", 7), ("F-T5", 9)],) * 2 + (NOTHING,),
    "direct-base-gfn": (LEAF_THEN_ACCESS,) * 3,
    "direct-sp-shared": (LEAF_THEN_ACCESS,) * 2 + (NOTHING,),
    "fetch-flag-bypass": ([("F-T5", 7)],) * 3,
    "forced-write-keeps-user": ([("F-T1", 7), ("F-T5", 8)],) * 2 + (NOTHING,),
    "high-half-write-zaps": (NOTHING, [("F-P4", 11)], [("F-P4", 11)]),
    "large-over-table-no-flush": ([("F-T6b", 18)],) * 2 + (NOTHING,),
    "limit-empty-list": (NOTHING,) * 3,
    "lpages-drift": ([("F-C1", 7)],) * 3,
    "notifier-index": ([("F-H1", 7)],) * 2 + ([("F-C1", 7)],),
    "pae-cr3-pcd": ([("F-P1", 8)],) * 3,
    "permission-hides-absent": ([("F-T5", 4)],) * 3,
    "protect-nonleaf": ([("F-S8", 11), ("F-T7", 12)],) * 3,
    "rmap-of-absent": ([("F-C1", 9), ("F-R1", 9)],) * 3,
    "rsvd-emulated-store": ([("F-T1", 11), ("F-T5", 12)],) * 3,
    "rsvd-pat": ([("F-T5", 9), ("F-T1", 9)],) + (NOTHING,) * 2,
    "rsvd-sync": ([("F-T2", 11), ("F-T5", 12)],) * 3,
    "shrinker-count": ([("F-H3", 14)],) * 2 + (NOTHING,),
    "stale-subtree": ([("F-U5", 14), ("F-T5", 15)],) * 3,
    "sync-drop-no-flush": ([("F-H1", 17)],) * 3,
    "unshadow-uaf": (NOTHING,) * 3,
    "write-to-readonly-overwrite": ([("F-W1", 19), ("F-T1", 20), ("F-T5", 23), ("F-T6", 23)],) * 3,
}
#: Seen only where processors have TLBs.
WITH_TLB = {"large-over-table-no-flush", "sync-drop-no-flush", "write-to-readonly-overwrite"}
#: The model itself stops there: nothing is left to check.
STOPS = {
    "limit-empty-list": ("empty-list", 2),
    "unshadow-uaf": ("use-after-free", 2),
    "rmap-of-absent": ("assertion", 3),
}


def test_every_vector_has_its_expectation():
    assert {path.name.removesuffix(".ops.jsonl") for path in VECTORS.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_right_check_says_it_where_it_goes_wrong(name):
    tlb = ",tlb=1" if name in WITH_TLB else ""
    path = VECTORS / f"{name}.ops.jsonl"
    reports = audited(path, *(f"{base}{tlb}" for base in BASES))

    assert tuple(told(report) for report in reports) == CASES[name]
    kind, bases = STOPS.get(name, ("", 0))
    assert [report.stopped is not None for report in reports] == [i < bases for i in range(3)]
    assert all(report.stopped.startswith(kind) for report in reports[:bases])
    assert not any(report.unfinished for report in reports)


@pytest.mark.parametrize("name", sorted(CASES.keys() - WITH_TLB))
def test_flush_level_misses_no_wrong_outcome(name):
    """Every access and every flush is checked: only a state that heals in between may be missed."""
    path = VECTORS / f"{name}.ops.jsonl"
    whole = audited(path, *BASES)
    coarse = audited(path, *BASES, level="flush")
    for every, flush in zip(whole, coarse, strict=True):
        checks = {each.check for each in flush.broken}
        assert checks <= {each.check for each in every.broken}
        assert {each.check for each in every.broken} - checks <= {"F-S8", "F-R1", "F-C1", "F-U5"}


@pytest.mark.parametrize(
    ("name", "check", "steps"),
    [
        ("accessed-lost", "F-H2", [(9, "A cleared"), (11, "A set"), (12, "A cleared")]),
        ("protect-nonleaf", "F-S8", [(9, "is a link"), (11, "is a link without W")]),
        (
            "direct-sp-shared",
            "F-T1",
            [
                (5, "the guest's entry at 0x3008 was 0x0, is 0x2000e5"),
                (7, "was absent, is 0x200000 rwx user"),
                (8, "was 0x200000 rwx user, is 0x200000 r-x user"),
                (9, "was 0x200000 r-x user, is 0x200000 rwx user"),
            ],
        ),
        ("lpages-drift", "F-C1", [(6, "lpages was 0, is 1")]),
        (
            "rmap-of-absent",
            "F-R1",
            [
                (8, "was absent, is 0x200000 r-x user; the list of the frame's leaves changed"),
                (9, "was 0x200000 r-x user, is absent"),
            ],
        ),
    ],
)
def test_the_cause_is_the_operations_that_led_there(name, check, steps):
    report = audited(VECTORS / f"{name}.ops.jsonl", "base")[0]
    found = next(each for each in report.broken if each.check == check)
    assert [step.operation_index for step in found.cause] == [index for index, _ in steps]
    for step, (_, text) in zip(found.cause, steps, strict=True):
        assert step.text.endswith(text)
