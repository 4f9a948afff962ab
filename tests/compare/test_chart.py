import json
import re

import pytest
import vl_convert

from refault.compare import Column, chart, compare, to_dict
from tests.builders import make_column, make_result, seed_series_columns


def document_of(trace="linux61-boot-1cpu"):
    return to_dict(compare(seed_series_columns(trace), trace_name=trace))


def cells_of(spec, grid=0):
    return spec["vconcat"][grid]["data"]["values"]


def cell(spec, row, place):
    return [found for found in cells_of(spec) if found["row"] == row][place]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_vega_draws_it_without_a_warning_and_the_picture_says_what_the_cells_say(theme, capfd):
    spec = chart([document_of("linux61-workload-1cpu"), document_of()], theme=theme)
    svg = vl_convert.vegalite_to_svg(json.loads(json.dumps(spec)))
    assert svg.startswith("<svg")
    drawn = set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    for grid in range(2):
        assert {found["text"] for found in cells_of(spec, grid)} <= drawn
    assert {"linux61-workload-1cpu", "linux61-boot-1cpu", "exits", "verdict"} <= drawn
    assert "WARN" not in capfd.readouterr().err


def test_the_text_of_a_cell_has_sign_and_arrow():
    spec = chart([document_of()])
    assert [cell(spec, "exits", place)["text"] for place in range(5)] == [
        *("96185", "=", "▼ −0.24%", "▼ −0.24%", "▲ +18.9%")
    ]
    assert [cell(spec, "exits", place)["percent"] for place in range(5)] == pytest.approx(
        [0, 0, 0, 0, 18.882],
        abs=0.001,  # no colour below the threshold
    )


def test_cells_where_the_guest_is_misled_are_marked_and_stand_first():
    spec = chart([document_of()])
    rows = list(dict.fromkeys(found["row"] for found in cells_of(spec)))
    assert rows[:5] == ["verdict", "wrong address", "missed fault", "of these, stale", "exits"]
    assert [cell(spec, "wrong address", place)["text"] for place in range(5)] == [
        *("0", "0", "⚠ 32", "⚠ 32", "0")
    ]
    alarms = {
        (found["row"], found["column"].strip("\u200b"))
        for found in cells_of(spec)
        if found["is_alarm"]
    }
    assert alarms == {(row, column) for row in rows[:4] for column in ("1-3", "1-4*, 1-5*")}


def test_the_marked_cells_are_drawn_in_their_own_colour_with_white_text():
    svg = vl_convert.vegalite_to_svg(chart([document_of()]))
    assert svg.count('fill="#7a0177"') == 8  # verdict and three rows, in two columns
    alarms = re.findall(r"<text[^>]*fill=\"([^\"]*)\"[^>]*>⚠ [^<]*</text>", svg)
    assert alarms == ["#ffffff"] * 8


def test_only_counters_that_differ_are_drawn():
    spec = chart([document_of("linux61-workload-1cpu")])
    rows = {found["row"] for found in cells_of(spec)}
    assert "mmu_pte_write" not in rows
    assert "parent_marks" in rows
    assert "11 more counters are the same" in spec["vconcat"][0]["title"]["subtitle"][0]


def test_identical_columns_and_missing_runs_still_make_a_chart():
    waiting = Column("p6", "v2.6.34-pre +p6", "p6", None, "queued", variant_digest="6" * 64)
    comparison = compare([make_column("base"), make_column("p3"), waiting])
    spec = chart([to_dict(comparison)])
    assert [found["text"] for found in cells_of(spec)] == ["base", "identical", "missing"]
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")


def test_a_counter_that_comes_from_zero_has_no_percent_and_the_strongest_colour():
    comparison = compare(
        [
            make_column("base", make_result(counters={"mmu_recycled": 0})),
            make_column("p3", make_result(variant="p3", counters={"mmu_recycled": 700})),
        ]
    )
    spec = chart([to_dict(comparison)])
    assert cell(spec, "mmu_recycled", 1)["text"] == "▲ +700"
    assert cell(spec, "mmu_recycled", 1)["percent"] == 100


def test_two_columns_with_equal_labels_stay_two_columns():
    columns = [make_column("x", make_result(variant=str(n))) for n in range(3)]
    spec = chart([to_dict(compare(columns))])
    assert len({found["column"] for found in cells_of(spec)}) == 3


def test_the_mark_of_a_column_without_a_real_code_result_is_explained():
    assert any(
        line.startswith("* no real-code result")
        for line in chart([document_of()])["vconcat"][0]["title"]["subtitle"]
    )
    sound = to_dict(compare([make_column("base"), make_column("p3")]))
    assert len(chart([sound])["vconcat"][0]["title"]["subtitle"]) == 1
