import csv
import io
import json

import pytest

from refault.compare import chart, compare, to_csv, to_dict, to_markdown
from refault.compare.costs import Costs, model
from refault.compare.documents import CSV_COLUMNS, MODELLED
from refault.errors import ComparisonError
from refault.results import COUNTERS, SEMANTICS
from tests.builders import make_column, make_result, seed_series_columns


@pytest.fixture
def boot():
    return compare(seed_series_columns("linux61-boot-1cpu"), trace_name="linux61-boot-1cpu")


def row_of(document, group, name):
    return next(row for row in document[group] if row["name"] == name)


def test_the_json_holds_all_a_page_shows_and_survives_json(boot):
    document = json.loads(json.dumps(to_dict(boot)))
    assert document == to_dict(boot)
    assert [column["label"] for column in document["columns"]] == [
        *("base, 1", "1-2", "1-3", "1-4, 1-5", "1-6")
    ]
    assert [column["has_real_code_result"] for column in document["columns"]] == [
        *(True, True, True, False, True)
    ]
    assert row_of(document, "counters", "exits") == {
        "name": "exits",
        "values": [96185, 96185, 95952, 95952, 114347],
        "changes": [0, 0, -233, -233, 18162],
        "percents": ["0%", "0%", "-0.24%", "-0.24%", "+18.9%"],
        "notable": [False, False, False, False, True],
        "is_same": False,
        "is_cost": True,
        "is_gauge": False,
    }
    assert row_of(document, "semantics", "wrong_address")["values"] == [0, 0, 32, 32, 0]
    assert document["verdict"]["name"] == "guest-visible-change"
    assert document["columns"][2]["findings"][0]["gva"] == "0x7fc8aa720000"
    assert document["columns"][1]["is_same_to_guest"] is True
    assert document["notes"] == ["linux61-boot-1cpu: not replayed: 71,204 device accesses."]


def test_the_json_lists_every_counter_once_the_costs_first(boot):
    names = [row["name"] for row in to_dict(boot)["counters"]]
    assert sorted(names) == sorted(COUNTERS)
    assert names[0] == "exits"
    costs = [row["is_cost"] for row in to_dict(boot)["counters"]]
    assert costs == sorted(costs, reverse=True)


def test_the_csv_has_every_number_of_every_column(boot):
    rows = list(csv.DictReader(io.StringIO(to_csv([boot, boot]))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == 2 * 5 * (len(COUNTERS) + len(SEMANTICS))
    found = next(row for row in rows if (row["name"], row["column"]) == ("exits", "1-6"))
    assert (found["base"], found["value"], found["change"]) == ("96185", "114347", "18162")
    assert found["verdict"] == "mixed-worse"


@pytest.mark.parametrize("label", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_no_spreadsheet_runs_a_label(label):
    column = make_column(label, make_result(variant="p3"), golden_name=None)
    rows = csv.DictReader(io.StringIO(to_csv([compare([make_column("base"), column])])))
    assert {row["column"] for row in rows} == {"base", f"'{label.strip()}"}


def test_the_markdown_has_one_table_a_trace_with_as_many_cells_in_every_row(boot):
    text = to_markdown([boot, boot], title="six *patches*", command=["refault", "replay", "a b"])
    assert text.startswith("# six \\*patches\\*\n")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in tables} == {5}
    assert text.count("| **wrong_address** | 0 | 0 | 32 | 32 | 0 |") == 2
    assert "| `exits` | 96,185 | = | -233 (-0.24%) | -233 (-0.24%) | +18,162 (+18.9%) |" in text
    assert "    refault replay 'a b'\n" in text
    assert "\\* the real kernel code was never run with these patches." in text


def test_modelled_cycles_stand_below_the_counts_in_markdown_and_csv(boot):
    modelled = model(boot, Costs.from_text("exit:1800"))
    cycles = [1800 * column.result.counters["exits"] for column in boot.columns]

    rows = list(csv.DictReader(io.StringIO(to_csv([boot], [modelled]))))
    text = to_markdown([boot], title="t", command="c", models=[modelled])

    found = [row for row in rows if row["kind"] == MODELLED and row["name"] == "exit"]
    assert [row["column"] for row in found] == [column.label for column in boot.columns]
    assert [int(row["value"]) for row in found] == cycles
    assert (found[-1]["base"], found[-1]["percent"]) == (str(cycles[0]), "+18.9%")
    whole = [row for row in rows if row["name"] == "in all"]
    assert [int(row["value"]) for row in whole] == list(modelled.totals)
    counts = list(csv.DictReader(io.StringIO(to_csv([boot]))))
    assert [row for row in rows if row["kind"] != MODELLED] == counts
    assert "Cost model, not a measurement" in text
    assert f"| `exit` | 1,800 | {' | '.join(f'{each:,}' for each in cycles)} |" in text
    assert "| **in all** |" in text
    assert "Cost model" not in to_markdown([boot], title="t", command="c")


def test_a_label_cannot_leave_its_markdown_cell():
    column = make_column("a|b\n# c", make_result(variant="p3"))
    text = to_markdown([compare([make_column("base"), column])], title="t", command="c")
    assert "a\\|b \\# c" in text
    assert "\n# c" not in text


def test_nothing_to_show_is_refused():
    with pytest.raises(ComparisonError, match="nothing to print"):
        to_markdown([], title="t", command="c")
    with pytest.raises(ComparisonError, match="nothing to draw"):
        chart([])
