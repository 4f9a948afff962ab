"""Small vectors of defects that these kernels really had, and what a shell sees of them."""

import json
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from tests.cli.running import run

VECTORS = Path(__file__).with_name("vectors")
BASES = ("-v", "base", "-v", "apr", "-v", "rel35")


@pytest.fixture
def replayed(tmp_path):
    """Replays a vector or a capture; few operations, so that reading them beats compiling."""

    def replay(name, *arguments):
        path = VECTORS / name
        if path.suffix == ".jsonl":
            assert run(tmp_path, "import", path, "--out", tmp_path).returncode == 0
            path = tmp_path / f"{name.removesuffix('.ops.jsonl')}.rft"
        return run(tmp_path, "replay", path, *arguments, REFAULT_INTERPRETED="1")

    return replay


def told(answer):
    (comparison,) = json.loads(answer.stdout)
    return {
        column["label"]: (column["verdict"]["name"], column["reason"])
        for column in comparison["columns"]
    }


def test_a_livelock_is_exit_code_1_and_says_which_columns_and_why(replayed):
    text = replayed("protect-nonleaf.ops.jsonl", *BASES)
    columns = told(replayed("protect-nonleaf.ops.jsonl", *BASES, "--json"))

    assert text.returncode == ExitCode.ANSWER_IS_NO
    assert "rel35  GUEST-VISIBLE CHANGE: livelock at operation 12" in text.stdout
    assert columns["rel35"] == ("guest-visible-change", "livelock at operation 12")


def test_a_livelock_of_the_base_alone_is_exit_code_1(replayed):
    answer = replayed("protect-nonleaf.ops.jsonl", "-v", "base")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert "base  GUEST-VISIBLE CHANGE: livelock at operation 12" in answer.stdout


def test_a_column_that_shows_the_guest_something_else_is_exit_code_1_without_a_witness(replayed):
    answer = replayed("rsvd-pat.ops.jsonl", *BASES, "--json")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert told(answer)["base"] == ("base", "")
    assert told(answer)["apr"] == (
        "guest-visible-change",
        (
            "the guest or the host saw something else than under base; the trace does not say "
            "which is right"
        ),
    )


def test_a_base_that_misled_the_guest_is_exit_code_1_on_a_capture_too(replayed):
    answer = replayed("rsvd-pat.capture.rft", *BASES, "--json")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert told(answer)["base"] == ("guest-visible-change", "1 fault was missed")


def test_a_run_that_stops_on_a_defect_is_exit_code_1(replayed):
    answer = replayed("limit-empty-list.ops.jsonl", "-v", "base")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert "BROKEN INVARIANT: empty-list" in answer.stdout


def test_a_column_that_only_costs_more_is_exit_code_0(replayed):
    answer = replayed("high-half-write-zaps.ops.jsonl", *BASES)

    assert answer.returncode == ExitCode.OK
    assert "regression" in answer.stdout
