import pytest

from refault.compare import Column, Threshold, Verdict, compare
from refault.errors import ComparisonError
from refault.results import COUNTERS
from tests.builders import digest_of, make_column, make_finding, make_result

BASE = make_result(variant="base")
MISLED = {
    "semantics": {"wrong_address": 1, "missed_fault": 2, "stale": 3},
    "outcomes": "misled",
    "findings": (make_finding(),),
    "finding_count": 3,
}


def judged(column, base=None, **how):
    first = make_column("base", BASE) if base is None else base
    return compare([first, column], **how).columns[1]


def verdict_of(column, **how):
    return judged(column, **how).verdict


def p3(**given):
    return make_column("p3", make_result(variant="p3", **given))


def without_result(state, **given):
    return Column("p3", "v2.6.34-pre +p3", "p3", None, state, **given)


def test_verdicts_stand_in_the_order_they_are_decided_in():
    assert [verdict.value for verdict in Verdict] == [
        "integrity",
        "broken-invariant",
        "guest-visible-change",
        "crashed",
        "regression",
        "mixed-worse",
        "mixed",
        "repair",
        "improvement",
        "unchanged",
        "identical",
        "witnessed",
        "missing",
        "base",
    ]
    assert [verdict.rank for verdict in Verdict] == list(range(14))
    assert all(len(verdict.word) <= 10 for verdict in Verdict)


STOPPED = make_finding(kind="use-after-free", operation_index=1048)
EVERYTHING = MISLED | {"stopped": STOPPED, "counters": {"exits": 200_000}}


def test_each_verdict_outranks_every_later_one():
    alarmed = make_column("p3", make_result(variant="p3", **EVERYTHING), alarm="other bytes")
    assert verdict_of(alarmed) is Verdict.INTEGRITY
    assert verdict_of(p3(**EVERYTHING)) is Verdict.BROKEN_INVARIANT
    assert verdict_of(p3(**MISLED, counters={"exits": 200_000})) is Verdict.GUEST_VISIBLE_CHANGE
    assert verdict_of(p3(counters={"exits": 200_000})) is Verdict.REGRESSION
    assert verdict_of(p3(counters={"exits": 200_000, "synced": 1})) is Verdict.MIXED_WORSE
    assert verdict_of(p3(counters={"exits": 1, "synced": 11_000})) is Verdict.MIXED
    assert verdict_of(p3(counters={"synced": 1})) is Verdict.IMPROVEMENT
    assert verdict_of(p3(counters={"pf_fixed": 1})) is Verdict.UNCHANGED
    assert verdict_of(p3(pages="other")) is Verdict.UNCHANGED
    assert verdict_of(p3()) is Verdict.IDENTICAL


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("crashed", Verdict.CRASHED),
        ("failed", Verdict.CRASHED),
        ("timed-out", Verdict.CRASHED),
        ("queued", Verdict.MISSING),
        ("running", Verdict.MISSING),
        ("cancelled", Verdict.MISSING),
        ("done", Verdict.MISSING),
    ],
)
def test_a_run_without_a_result_is_crashed_or_missing_by_its_state(state, verdict):
    column = judged(without_result(state, error="worker lost three times"))
    assert (column.verdict, column.reason) == (verdict, "worker lost three times")
    assert judged(without_result(state)).reason


def test_no_functional_change_is_the_digest_over_what_the_guest_saw():
    assert judged(p3(counters={"exits": 200_000})).is_same_to_guest is True
    changed = judged(p3(outcomes="others"))
    assert changed.is_same_to_guest is False
    assert changed.verdict is Verdict.GUEST_VISIBLE_CHANGE
    assert "saw something else than under base" in changed.reason
    assert judged(without_result("queued")).is_same_to_guest is None


def test_a_guest_visible_change_says_what_and_how_often():
    assert judged(p3(**MISLED)).reason == "1 access reached a wrong address, 2 faults were missed"


def test_a_finding_the_guest_cannot_see_breaks_an_invariant_even_if_the_run_went_on():
    finding = make_finding(kind="assertion", operation_index=7)
    column = judged(p3(findings=(finding,)))
    assert column.verdict is Verdict.BROKEN_INVARIANT
    assert column.reason == "assertion at operation 7"


def test_a_livelock_is_guest_visible():
    column = judged(p3(findings=(make_finding(kind="livelock", operation_index=7),)))
    assert (column.verdict, column.reason) == (
        Verdict.GUEST_VISIBLE_CHANGE,
        "livelock at operation 7",
    )


def test_mixed_costs_are_named_with_what_rose_and_what_fell():
    column = judged(p3(counters={"exits": 114_347, "parent_marks": 12_158, "pf_guest": 1}))
    assert column.verdict is Verdict.MIXED_WORSE
    assert column.reason == (
        "exits +18.9%; but parent_marks -61.5%; leans worse: modelled cycles +12.1%"
    )


@pytest.mark.parametrize(
    ("exits", "verdict"),
    [
        (96185 + 961, Verdict.UNCHANGED),  # 0.999 %
        (96185 + 962, Verdict.REGRESSION),  # 1.0002 %
        (96185 - 952, Verdict.UNCHANGED),
        (96185 - 953, Verdict.IMPROVEMENT),  # the base is 1.0007 % more
    ],
)
def test_the_threshold_is_one_percent_of_the_smaller_of_the_two(exits, verdict):
    assert verdict_of(p3(counters={"exits": exits})) is verdict


def test_a_change_of_exactly_the_threshold_does_not_pass_it():
    base = make_column("base", make_result(counters={"exits": 100_000}))
    for exits, verdict in ((101_000, Verdict.UNCHANGED), (101_001, Verdict.REGRESSION)):
        assert judged(p3(counters={"exits": exits}), base=base).verdict is verdict


def test_nothing_is_read_against_a_base_that_cannot_be_trusted():
    base = make_column("base", BASE, alarm="other bytes")
    column = judged(p3(counters={"exits": 200_000}), base=base)
    assert (column.verdict, column.is_same_to_guest) == (Verdict.MISSING, None)


def test_a_rare_event_that_doubles_is_no_regression():
    assert verdict_of(p3(counters={"remote_tlb_flush": 2})) is Verdict.UNCHANGED
    assert verdict_of(p3(counters={"remote_tlb_flush": 200})) is Verdict.REGRESSION
    assert verdict_of(p3(counters={"mmu_recycled": 200})) is Verdict.REGRESSION  # base has none


def test_the_threshold_can_be_chosen():
    column = p3(counters={"exits": 96186})
    assert verdict_of(column, threshold=Threshold(0, 2_000_000)) is Verdict.REGRESSION
    strict = judged(column, threshold=Threshold(permille=5))
    assert strict.reason == "no cost moved by more than 0.5 %; the guest sees the same"


def test_a_variant_that_survives_where_the_base_breaks_is_a_repair():
    base = make_column("base", make_result(stopped=STOPPED))
    column = judged(p3(counters={"exits": 200_000}), base=base)
    assert column.verdict is Verdict.REPAIR
    assert column.reason == (
        "runs to the end, where base stops at operation 1048 (use-after-free); "
        "the counters cannot be compared"
    )


def test_a_variant_that_is_right_where_the_base_is_wrong_is_a_repair_whatever_it_costs():
    base = make_column("base", make_result(**MISLED))
    assert judged(p3(), base=base).verdict is Verdict.REPAIR
    costly = judged(p3(counters={"exits": 200_000}), base=base)
    assert costly.verdict is Verdict.REPAIR
    assert costly.reason == (
        "the guest sees what the real one saw, where base is wrong in 3 accesses; exits +108%"
    )


def test_a_variant_without_the_finding_of_its_base_is_a_repair():
    livelock = make_finding(kind="livelock", operation_index=12)
    base = make_column("base", make_result(findings=(livelock,), outcomes="hung"))
    column = judged(p3(), base=base)
    assert column.verdict is Verdict.REPAIR
    assert column.reason == (
        "has no livelock, where base has one at operation 12; "
        "the guest or the host saw something else than under base"
    )
    assertion = make_finding(kind="assertion", operation_index=7)
    quiet = judged(p3(), base=make_column("base", make_result(findings=(assertion,))))
    assert (quiet.verdict, quiet.reason) == (
        Verdict.REPAIR,
        "has no assertion, where base has one at operation 7",
    )


@pytest.mark.parametrize(
    ("base", "own", "ending"),
    [
        (MISLED, MISLED, "; as under base"),
        (
            MISLED,
            {"semantics": {"missed_fault": 1}, "outcomes": "less"},
            "; fewer than under base, which is wrong in 3 accesses",
        ),
        (
            MISLED,
            {"semantics": {"missed_fault": 9}, "outcomes": "more"},
            "; base is wrong in 3 accesses",
        ),
        ({"stopped": STOPPED}, MISLED, "; base stops at operation 1048 (use-after-free)"),
    ],
)
def test_what_is_wrong_is_told_beside_what_is_wrong_with_the_base(base, own, ending):
    column = judged(p3(**own), base=make_column("base", make_result(**base)))
    assert column.verdict is Verdict.GUEST_VISIBLE_CHANGE
    assert column.reason.endswith(ending)


def test_the_base_is_judged_by_itself():
    def base_of(result, **given):
        return compare([make_column("base", result, **given)]).base

    assert base_of(make_result()).verdict is Verdict.BASE
    assert base_of(make_result(**MISLED)).verdict is Verdict.GUEST_VISIBLE_CHANGE
    assert base_of(make_result(stopped=STOPPED)).verdict is Verdict.BROKEN_INVARIANT
    assert base_of(make_result(), alarm="other bytes").verdict is Verdict.INTEGRITY


def test_without_a_result_of_the_base_there_is_nothing_to_say_but_what_a_run_says_itself():
    base = without_result("queued", variant_digest=digest_of("base"))
    assert verdict_of(p3(), base=base) is Verdict.MISSING
    assert verdict_of(p3(**MISLED), base=base) is Verdict.GUEST_VISIBLE_CHANGE


def test_columns_of_one_machine_share_a_column_and_keep_their_labels():
    comparison = compare(
        [
            make_column("base", make_result(variant="b")),
            make_column("1-4", make_result(variant="x"), golden_name=None),
            make_column("1-5", make_result(variant="x"), golden_name=None),
            make_column("1", make_result(variant="b")),
        ]
    )
    assert [column.labels for column in comparison.columns] == [("base", "1"), ("1-4", "1-5")]
    assert comparison.columns[1].variant_names == ("v2.6.34-pre +1-4", "v2.6.34-pre +1-5")
    assert comparison.columns[1].label == "1-4, 1-5"
    assert [column.has_real_code_result for column in comparison.columns] == [True, False]


def test_a_column_takes_the_result_of_whichever_run_has_one():
    waiting = without_result("queued", variant_digest=digest_of("p3"))
    comparison = compare([make_column("base"), waiting, p3()])
    assert comparison.columns[1].result == make_result(variant="p3")


def test_equal_keys_with_unequal_bytes_raise_the_integrity_alarm():
    column = compare(
        [
            make_column("base", BASE),
            p3(),
            make_column("again", make_result(variant="p3", pages="x")),
        ]
    ).columns[1]
    assert column.verdict is Verdict.INTEGRITY
    assert make_result(variant="p3").digest[:12] in column.reason


def test_the_base_comes_first_whichever_it_is():
    columns = [make_column(label) for label in ("base", "p2", "p3")]
    comparison = compare(columns, base=2)
    assert [column.label for column in comparison.columns] == ["p3", "base", "p2"]


def test_deltas_are_exact_for_the_largest_counters():
    big = 2**63 - 1
    comparison = compare(
        [
            make_column("base", make_result(counters={"exits": big - 1})),
            p3(counters={"exits": big}),
        ]
    )
    exits = next(row for row in comparison.counters if row.name == "exits")
    assert (exits.values, exits.deltas) == ((big - 1, big), (0, 1))
    assert not exits.is_same
    assert [row.name for row in comparison.counters] == list(COUNTERS)
    assert sum(not row.is_same for row in comparison.counters) == 1


def test_runs_that_do_not_belong_together_are_refused():
    with pytest.raises(ComparisonError, match="nothing to compare"):
        compare([])
    with pytest.raises(ComparisonError, match="base column 2 does not exist; the 2 columns"):
        compare([make_column("base"), make_column("p3")], base=2)
    with pytest.raises(ComparisonError, match="different traces"):
        compare([make_column("base"), p3(trace="other")])
    with pytest.raises(ComparisonError, match="different versions of engine shadow"):
        compare([make_column("base"), p3(simulator="older")])
    with pytest.raises(ComparisonError, match="are of trace"):
        compare([make_column("base")], trace_digest=digest_of("other"))


def test_the_worst_verdict_of_a_comparison_is_that_of_its_worst_column():
    assert compare([make_column("base"), p3(**MISLED)]).worst_verdict is (
        Verdict.GUEST_VISIBLE_CHANGE
    )
    assert compare([make_column("base"), p3()]).worst_verdict is Verdict.IDENTICAL
