"""Timelines side by side: slices by hand, differences, runs that ended early, refusals."""

import csv
import io

import pytest

from refault.compare.attribution_chart import attribution_chart, counters_shown, parts_shown
from refault.compare.attribution_chart import csv_of as attribution_csv
from refault.compare.timeline_chart import timeline_chart
from refault.compare.timelines import Line, beside, csv_of
from refault.errors import ComparisonError, InvalidParameter
from refault.timeline import Mark
from tests.builders import make_run_attribution, make_timeline

A = make_timeline(events=(0, 3, 8, 10), vm_exits=(0, 30, 40, 100), active=(0, 9, 2, 4))
B = make_timeline(events=(0, 5, 10), vm_exits=(0, 10, 130), active=(0, 5, 5))
SHORT = make_timeline(events=(0, 4), vm_exits=(0, 7), active=(0, 3))


def values(*timelines, counter="vm_exits", **given):
    lines = [Line(f"run {place}", each) for place, each in enumerate(timelines)]
    return beside(lines, slices=5, counters=[counter], **given).values[counter]


def test_slices_sum_to_the_end_and_totals_are_those_of_samples():
    [of_a, of_b] = values(A, B)
    assert of_a == (0, 30, 0, 10, 60)
    assert sum(of_a) == 100
    assert sum(of_b) == 130
    assert values(A, B, view="total") == ((0, 30, 30, 40, 100), (0, 0, 10, 10, 130))


def test_what_is_there_now_is_the_most_in_each_slice():
    assert values(A, counter="active") == ((0, 9, 9, 9, 4),)
    assert values(A, counter="active", view="total") == ((0, 9, 9, 2, 4),)


def test_a_difference_is_against_the_first_run():
    [zeros, of_b] = values(A, B, view="difference")
    assert set(zeros) == {0}
    assert of_b == (0, -30, -20, -30, 30)


def test_a_run_that_ended_early_has_nothing_after_its_end():
    assert values(A, SHORT)[1] == (0, 7, None, None, None)
    assert values(A, SHORT, view="difference")[1] == (0, -23, None, None, None)


def test_csv_has_a_line_a_slice_and_an_empty_cell_for_no_number():
    found = beside([Line("base", A), Line("p3", SHORT)], slices=5, counters=["vm_exits"])
    rows = list(csv.reader(io.StringIO(csv_of(found))))
    assert rows[0] == ["events", "vm_exits base", "vm_exits p3"]
    assert rows[1:] == [
        ["2", "0", "0"], ["4", "30", "7"], ["6", "0", ""], ["8", "10", ""], ["10", "60", ""]
    ]  # fmt: skip


def test_csv_heads_have_no_character_that_moves_a_terminals_cursor():
    found = beside([Line("p3\x1b[2J\u202e", A)], slices=5, counters=["vm_exits"])
    assert csv_of(found).splitlines()[0] == "events,vm_exits p3?[2J?"


@pytest.mark.parametrize(
    ("lines", "given", "says"),
    [
        ([A], {"counters": ["guesses"]}, "there are vm_exits, active"),
        ([A], {"view": "angle"}, "choose one of slice, total, difference"),
        ([A], {"view": "difference"}, "name a second run"),
        ([A], {"slices": 3}, "slices: 4 to 200"),
        ([A] * 9, {}, "9 runs: 1 to 8"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_what_can(lines, given, says):
    with pytest.raises(InvalidParameter, match=says):
        beside([Line("run", each) for each in lines], **given)


def test_runs_of_different_traces_or_without_a_counter_are_refused():
    other = make_timeline(trace="other", events=(0, 1), vm_exits=(0, 1))
    with pytest.raises(ComparisonError, match="different traces"):
        beside([Line("a", A), Line("b", other)])
    bare = make_timeline(events=(0, 1), missing={"counters": "this engine counts nothing"})
    with pytest.raises(ComparisonError, match="this engine counts nothing"):
        beside([Line("a", bare)])


def test_the_chart_has_the_numbers_of_the_table_and_the_marks():
    marked = make_timeline(events=(0, 10), vm_exits=(0, 5), marks=(Mark(7, "<b>boot</b>", 4, 4),))
    found = beside([Line("base", marked), Line("base", marked)], slices=4)
    spec = timeline_chart(found, "boot")
    [panel] = spec["vconcat"]
    *_, lines = panel["layer"]
    drawn = {}
    for point in lines["data"]["values"]:
        drawn.setdefault(point["run"], []).append(point["value"])
    assert len(drawn) == 2, "equal labels are two lines"
    assert [each[1:] for each in drawn.values()] == [
        list(each) for each in found.values["vm_exits"]
    ]
    assert {point["place"] for point in panel["layer"][0]["data"]["values"]} == {4}
    assert panel["layer"][1]["data"]["values"] == [{"place": 4, "text": "7"}]


def test_a_chart_of_an_attribution_keeps_what_has_no_room_as_one_row():
    found = make_run_attribution({f"cause {number}": {"exits": number} for number in range(1, 20)})
    parts = parts_shown(found.views["cause"], ["exits"])
    assert sum(part.counters["exits"] for part in parts) == found.totals["exits"]
    assert parts[-1].name == "7 more"
    spec = attribution_chart(found)
    [bars] = spec["hconcat"]
    assert sum(row["count"] for row in bars["data"]["values"]) == found.totals["exits"]
    rows = list(csv.DictReader(io.StringIO(attribution_csv(found))))
    assert sum(int(row["count"]) for row in rows) == found.totals["exits"]


def test_names_of_a_trace_are_no_formulas_and_wrong_views_are_refused():
    found = make_run_attribution({"=HYPERLINK(1)": {"exits": 1}})
    assert "'=HYPERLINK(1)" in attribution_csv(found)
    found = make_run_attribution({"a\x1b[2J\u202eb": {"exits": 1}})
    assert "cause,a?[2J?b,exits,1" in attribution_csv(found)
    with pytest.raises(InvalidParameter, match="choose one of cause"):
        attribution_chart(found, "colour")
    with pytest.raises(InvalidParameter, match="there are exits"):
        counters_shown(found, ["guesses"])
    with pytest.raises(ComparisonError, match="nothing to draw by mark"):
        attribution_chart(found, "mark")
