"""The cost model: weights from a URL or a file, cycles beside counts that stay as they are."""

import dataclasses

import pytest

from refault.compare import compare, to_dict, to_text
from refault.compare.cost_text import cost_text, with_models
from refault.compare.costs import WEIGHTS, Costs, model
from refault.compare.layout import display_width
from refault.errors import InvalidParameter
from tests.builders import seed_series_columns

TRACE = "linux61-boot-1cpu"


@pytest.fixture(scope="module")
def comparison():
    return compare(seed_series_columns(TRACE), trace_name=TRACE)


def test_each_term_is_an_exact_count_times_its_weight(comparison):
    costs = Costs(exit=1, local_flush=0, remote_flush=10, walk_step=0, sync=0, zap=100)
    found = model(comparison, costs, vcpus=2)
    counters = comparison.base.result.counters
    assert found.totals[0] == (
        (comparison.base.result.work.get("vm_exits") or counters["exits"])
        + 10 * counters["remote_tlb_flush"]
        + 2000 * counters["mmu_pte_write"]
        + 100 * counters["mmu_shadow_zapped"]
    )
    assert found.changes[0] == 0


def test_a_remote_flush_costs_by_its_receivers(comparison):
    flushes = comparison.base.result.counters["remote_tlb_flush"]
    costs = dataclasses.replace(
        Costs(0, 0, 3000, 600, 0, 0, 0, 0),
    )
    for vcpus, each in ((1, 0), (2, 3000), (4, 4200)):
        assert model(comparison, costs, vcpus=vcpus).totals[0] == each * flushes
    asked = dataclasses.replace(costs, vcpus=4)
    assert model(comparison, asked, vcpus=1).totals[0] == 4200 * flushes


def test_no_count_and_no_verdict_changes(comparison):
    plain = to_dict(comparison)
    [told] = with_models([plain], [model(comparison, Costs())])
    assert told.pop("cost_model")["is_model"] is True
    assert told == plain


def test_a_column_without_a_result_has_no_cycles(comparison):
    columns = seed_series_columns(TRACE)
    columns[1] = dataclasses.replace(columns[1], result=None, state="queued")
    found = model(compare(columns, trace_name=TRACE), Costs())
    assert found.totals[1] is None
    assert found.changes[1] is None


def test_the_text_says_that_it_is_a_model(comparison):
    text = cost_text([(TRACE, model(comparison, Costs(exit=1800)))])
    assert "a model, not a measurement" in " ".join(text.split())
    assert "(exit:1800;" in text
    assert all(display_width(line) <= 72 for line in text.splitlines())
    assert "Cost model" not in to_text([comparison], title="t", command="c")


def test_every_weight_has_a_default_a_meaning_and_a_source():
    names = [field.name for field in dataclasses.fields(Costs)]
    assert names == [*WEIGHTS, "vcpus"]
    assert all(weight.source and weight.what for weight in WEIGHTS.values())


@pytest.mark.parametrize("text", ["default", "exit:1800", "exit:1800,zap:1,vcpus:4"])
def test_the_text_of_a_url_there_and_back(text):
    assert Costs.from_text(text).to_text() == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected name:cycles"),
        ("exit", "expected name:cycles"),
        ("exit:-1", "expected name:cycles"),
        ("exit:\u0661", "expected name:cycles"),
        ("exit:1,exit:2", "given twice"),
        ("exits:1", "no weight 'exits'; there are exit,"),
        ("exit:9999999999", "expected 0 to 1000000000"),
        ("vcpus:2000", "vcpus is 2000; expected 0 to 1024"),
    ],
)
def test_wrong_weights_are_named(text, says):
    with pytest.raises(InvalidParameter, match=says):
        Costs.from_text(text)


def test_a_file_of_weights(tmp_path):
    toml, json = tmp_path / "costs.toml", tmp_path / "costs.json"
    toml.write_text("exit = 1800  # ours\nvcpus = 2\n")
    json.write_text('{"exit": 1800, "vcpus": 2}')
    assert Costs.from_file(toml) == Costs.from_file(json) == Costs(exit=1800, vcpus=2)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", "exit: 1", "not TOML"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[1]", "expected weights by name"),
        ("a.toml", "exit = 1.5", "exit is 1.5"),
        ("a.toml", "exit = true", "exit is True"),
        ("a.toml", "x" * 70000, "longer than any file"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidParameter, match=says):
        Costs.from_file(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidParameter, match="cannot be read"):
        Costs.from_file(tmp_path / "none.toml")


def test_the_text_says_where_a_verdict_weighs_and_what_was_estimated(comparison):
    """It said that no verdict rests on the model; where costs rise and fall, one does."""
    text = " ".join(cost_text([(TRACE, model(comparison, Costs()))]).split())
    assert "no verdict rests on it" not in text
    assert "only where some costs rose and others fell does a verdict weigh them so" in text
    assert "Estimates, measured by nobody we could cite: local_flush, sync, zap" in text
    given = model(comparison, Costs(local_flush=1, sync=1, zap=1))
    assert "Estimates" not in cost_text([(TRACE, given)])
    assert [term["name"] for term in given.to_dict()["terms"] if term["is_estimate"]] == []
