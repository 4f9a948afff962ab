"""Costs that rose weighed against costs that fell: which way a column leans, and how it ends."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.compare import Lean, Limit, Scale, Threshold, Verdict, chart, compare, overall, to_dict
from refault.compare.costs import Costs, model
from refault.results import COUNTERS
from tests.builders import BOOT, make_column, make_finding, make_result, seed_series_columns

BASE = BOOT["base"]


def pair(one, other, **how):
    """One set of counters against another."""
    return compare(
        [
            make_column("one", make_result(variant="one", counters=one)),
            make_column("other", make_result(variant="other", counters=other)),
        ],
        **how,
    )


def judged(one, other, **how):
    return pair(one, other, **how).columns[1]


def changed(**deltas):
    return {name: BASE[name] + delta for name, delta in deltas.items()}


# Two percent fewer exits are worth more than twice the marks of parents.
FEWER_EXITS = changed(exits=-2_000, parent_marks=30_000)


def test_costs_that_rose_and_fell_are_mixed_and_both_magnitudes_are_told():
    column = judged({}, FEWER_EXITS)
    assert column.verdict is Verdict.MIXED
    assert column.reason == (
        "parent_marks +95.1%; but exits -2.1%; leans better: modelled cycles -1.2%"
    )
    assert column.balance.lean is Lean.BETTER


def test_the_same_two_the_other_way_round_lean_the_other_way():
    column = judged(FEWER_EXITS, {})
    assert column.verdict is Verdict.MIXED_WORSE
    assert column.reason == (
        "exits +2.1%; but parent_marks -48.7%; leans worse: modelled cycles +1.2%"
    )
    assert column.balance.lean is Lean.WORSE


OPPOSITE = {
    Verdict.REGRESSION: {Verdict.IMPROVEMENT},
    Verdict.IMPROVEMENT: {Verdict.REGRESSION},
    Verdict.MIXED_WORSE: {Verdict.MIXED},
    Verdict.MIXED: {Verdict.MIXED, Verdict.MIXED_WORSE},
    Verdict.UNCHANGED: {Verdict.UNCHANGED},
    Verdict.IDENTICAL: {Verdict.IDENTICAL},
}
TURNED = {Lean.BETTER: Lean.WORSE, Lean.WORSE: Lean.BETTER, Lean.NEITHER: Lean.NEITHER}
values = st.one_of(st.integers(0, 300), st.integers(9_800, 10_400), st.integers(0, 10**6))
counters = st.fixed_dictionaries({}, optional=dict.fromkeys(COUNTERS, values))
weights = st.builds(
    Costs, exit=st.integers(0, 5_000), walk_step=st.integers(0, 5_000), zap=st.integers(0, 9_000)
)


@given(counters, counters, weights)
def test_what_leans_one_way_leans_the_other_way_with_the_two_exchanged(one, other, costs):
    there = judged(one, other, scale=Scale(costs))
    back = judged(other, one, scale=Scale(costs))
    assert back.verdict in OPPOSITE[there.verdict]
    assert back.balance.lean is TURNED[there.balance.lean]
    assert {each.name for each in there.balance.rose} == {each.name for each in back.balance.fell}
    if Verdict.MIXED_WORSE in {there.verdict, back.verdict}:
        assert there.balance.lean is not Lean.NEITHER


def test_the_weights_decide_and_can_be_given():
    heavy_marks = Scale(Costs(exit=1, walk_step=5_000))
    assert judged({}, FEWER_EXITS, scale=heavy_marks).verdict is Verdict.MIXED_WORSE


def test_less_than_the_threshold_on_balance_is_mixed_and_says_which_way():
    column = judged({}, changed(exits=1_000, parent_marks=-20_000))
    assert column.verdict is Verdict.MIXED
    assert column.reason == (
        "exits +1.0%; but parent_marks -63.4%; leans worse: modelled cycles +0.55%"
    )


def test_a_limit_of_the_project_that_is_exceeded_is_worse_whatever_fell():
    limits = Threshold(limits={"parent_marks": Limit(permille=100)})
    column = judged({}, FEWER_EXITS, threshold=limits)
    assert column.verdict is Verdict.REGRESSION
    assert column.reason == "parent_marks +95.1% (limit 10 %); but exits -2.1%"


def test_zaps_that_outweigh_the_cost_that_fell_make_it_mixed():
    """Zapped pages are no cost of their own, but they have a weight."""
    column = judged({}, changed(parent_marks=-10_000, mmu_shadow_zapped=5_000))
    assert column.verdict is Verdict.MIXED_WORSE
    assert column.reason == "parent_marks -31.7%; leans worse: modelled cycles +7.3%"


@pytest.mark.parametrize(
    ("one", "other", "status", "exit_code"),
    [
        ({}, FEWER_EXITS, Verdict.MIXED, 0),
        (FEWER_EXITS, {}, Verdict.MIXED_WORSE, 1),
        ({}, changed(exits=2_000), Verdict.REGRESSION, 1),
        ({}, changed(exits=-2_000), Verdict.IMPROVEMENT, 0),
    ],
)
def test_the_exit_code_follows_the_balance(one, other, status, exit_code):
    found = overall([pair(one, other)])
    assert (found.status, found.exit_code) == (status, exit_code)


def test_the_balance_is_the_cost_model_s():
    comparison = compare(seed_series_columns("linux61-boot-1cpu"))
    found = model(comparison, Costs())
    assert comparison.columns[-1].balance.now == found.totals[-1]
    assert comparison.columns[-1].balance.before == found.totals[0]


# --- colours obey the thresholds ------------------------------------------------------------


def row_of(document, name):
    return next(row for row in document["counters"] if row["name"] == name)


def colour(document, name):
    cells = chart([document])["vconcat"][0]["data"]["values"]
    return [cell["percent"] for cell in cells if cell["row"] == name]


def test_a_change_below_its_threshold_is_marked_nowhere():
    document = to_dict(pair({}, changed(exits=900, synced=200, pf_fixed=900)))
    assert row_of(document, "exits")["notable"] == [False, False]
    assert row_of(document, "synced")["notable"] == [False, True]
    assert row_of(document, "pf_fixed")["notable"] == [False, True]
    assert colour(document, "exits") == [0, 0]
    assert colour(document, "synced")[1] > 1


def test_a_limit_of_the_project_marks_what_exceeds_it():
    limits = Threshold(limits={"exits": Limit(permille=50)})
    document = to_dict(pair({}, changed(exits=2_000, synced=200), threshold=limits))
    assert row_of(document, "exits")["notable"] == [False, False]
    assert row_of(document, "synced")["notable"] == [False, True]


@pytest.mark.parametrize("place", [0, 1])
def test_counters_of_a_run_that_stopped_early_are_no_change(place):
    """Half a run has half the exits, which is no improvement."""
    stopped = make_result(variant="stopped", counters={"exits": 5}, stopped=make_finding())
    columns = [make_column("whole", make_result(variant="whole"))]
    columns.insert(place, make_column("stopped", stopped))
    document = to_dict(compare(columns))
    row = row_of(document, "exits")
    assert (row["changes"][1], row["percents"][1], row["notable"]) == (None, None, [False] * 2)
    assert colour(document, "exits") == [0, 0]
    assert "▼" not in json.dumps(chart([document])["vconcat"][0]["data"], ensure_ascii=False)
    assert document["columns"][1]["balance"] is None


def test_counters_of_a_column_whose_guest_is_misled_are_marked_nowhere():
    misled = make_result(variant="p3", semantics={"missed_fault": 1}, counters={"exits": 5})
    row = row_of(to_dict(compare([make_column("base"), make_column("p3", misled)])), "exits")
    assert row["notable"] == [False, False]
    assert row["changes"][1] == 5 - BASE["exits"]
