"""Columns of several engines in one comparison: every form says which is which."""

import csv
import dataclasses
import io

import pytest

from refault.compare import compare, to_csv, to_dict, to_markdown, to_text
from refault.compare.documents import CSV_COLUMNS
from refault.compare.mail import to_mail
from refault.results import WORK
from tests.builders import make_column, make_result

KERNEL = "Linux 6.12.117 b5e6d998a532"


@pytest.fixture
def mixed():
    result = make_result(variant="mine", engine="kernel", counters={"exits": 96186})
    kernel = dataclasses.replace(
        make_column("mine", result=result), variant_name=KERNEL, golden_name=None, engine="kernel"
    )
    waiting = dataclasses.replace(
        kernel, label="mine+1", result=None, state="queued", variant_digest="1" * 64
    )
    return compare([make_column("base"), kernel, waiting], trace_name="boot")


def test_text_says_which_columns_are_of_which_engine(mixed):
    text = to_text([mixed], title="x", command="y")

    assert "  Engines: model base; kernel mine, mine+1." in text.splitlines()
    assert KERNEL in text
    # What is not there yet is of the kernel too, whose numbers are not the model's alone.
    assert "mine*" not in text


def test_markdown_has_a_row_of_engines(mixed):
    lines = to_markdown([mixed], title="x", command="y").splitlines()

    assert "| engine | model | kernel | kernel |" in lines


def test_csv_ends_with_the_engine(mixed):
    rows = list(csv.DictReader(io.StringIO(to_csv([mixed]))))

    assert tuple(rows[0]) == (*CSV_COLUMNS, "engine")
    assert {(row["column"], row["engine"]) for row in rows} == {
        ("base", "model"),
        ("mine", "kernel"),
        ("mine+1", "kernel"),
    }


def test_json_has_the_engine_of_a_column_without_a_result(mixed):
    assert [column["engine"] for column in to_dict(mixed)["columns"]] == [
        "shadow",
        "kernel",
        "kernel",
    ]


def test_the_mail_names_the_engines_and_whose_each_column_is(mixed):
    document = to_dict(mixed)
    variants = {column["label"]: column for column in document["columns"]}
    batch = {
        "plan": "each",
        "patch_sets": [{"id": "s", "name": "set", "base": "b", "patches": []}],
        "columns": [
            {
                "label": label,
                "patch_set_id": "s",
                "prefix_length": None,
                "variant": {"digest": column["variant_digest"], "engine": column["engine"]},
            }
            for label, column in variants.items()
        ],
        "simulator_digest": "a" * 64,
        "simulators": {"shadow": "a" * 64, "kernel": "b" * 64},
    }
    told = {"title": "x", "comparisons": [document], "batch": batch, "command": ["y"]}

    lines = to_mail(told, link="http://x").splitlines()

    assert f"Engine   {'a' * 12} model" in lines
    assert f"Engine   {'b' * 12} kernel" in lines
    assert any(line.startswith("Variant ") and line.endswith("mine (kernel)") for line in lines)
    assert not any(line.startswith("Model ") for line in lines)


def test_a_counter_of_the_kernel_that_is_work_to_the_model_has_one_row():
    model = make_result(work=dict.fromkeys(WORK, 3))
    kernel = make_result(variant="mine", engine="kernel", counters={"insn_emulation": 7})
    both = compare([make_column("base", model), make_column("mine", kernel)], trace_name="boot")

    [row] = [row for row in both.counters if row.name == "insn_emulation"]

    assert row.values == (3, 7)
    assert len({row.name for row in both.counters}) == len(both.counters)


def test_one_engine_needs_no_word():
    one = compare([make_column("base")], trace_name="boot")

    assert "Engines:" not in to_text([one], title="x", command="y")
    assert "| engine" not in to_markdown([one], title="x", command="y")
    assert to_csv([one]).splitlines()[0] == ",".join(CSV_COLUMNS)
