"""``refault diverge``: what it prints, what it refuses, and how it ends."""

import json
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from tests.cli.running import run_here

ROOT = Path(__file__).resolve().parents[2]
LOST_MARK = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"


@pytest.fixture
def refault(monkeypatch, tmp_path):
    return lambda *arguments: run_here(monkeypatch, tmp_path, "diverge", *arguments)


def test_the_report_is_the_one_in_the_howto(refault):
    answer = refault(LOST_MARK, "base", "p3")
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    told, _, command = answer.stdout.partition("Reproduce with:")
    howto = (ROOT / "docs/howto/diverge.md").read_text(encoding="utf-8")
    assert told.strip() in howto
    assert command.replace("\\\n", "").split() == [
        "refault", "diverge", str(LOST_MARK), "base", "p3",
    ]  # fmt: skip


def test_no_difference_ends_well_and_says_why(refault):
    answer = refault(LOST_MARK, "base", "base")
    assert answer.returncode == ExitCode.OK
    assert "No difference in 1,053 operations." in answer.stdout


def test_json_has_all_of_it(refault):
    answer = refault(LOST_MARK, "base", "p3", "--json")
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    told = json.loads(answer.stdout)
    assert [each["label"] for each in told["variants"]] == ["base", "p3"]
    [found] = told["divergences"]
    assert found["operation"]["kind"] == "ld"
    assert found["operation"]["a"] == "0x400000"
    assert found["first"]["address"] == "0x820000"
    assert found["before"]["second"]["walk"][-1]["unsync"] is True
    assert found["origin"]["operation_index"] == 1044


def test_the_next_difference_is_looked_for_if_asked(refault):
    answer = refault(LOST_MARK, "base", "p3", "--next")
    assert "No later difference that is not a consequence of this one." in answer.stdout
    assert "--next" in answer.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("base", "nothing-like-this"),
        ("base", "p3", "--on", "hw_flushes"),
        ("base", "p3", "--on", "What?"),
        ("base", "walk", "--on", "pages"),
        ("base",),
    ],
)
def test_what_cannot_be_used_is_bad_input(refault, arguments):
    assert refault(LOST_MARK, *arguments).returncode == ExitCode.BAD_INPUT


def test_a_file_that_is_no_trace_is_bad_input(refault, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("hello", encoding="utf-8")
    assert refault(other, "base", "p3").returncode == ExitCode.BAD_INPUT
    assert refault(tmp_path / "absent.rft", "base", "p3").returncode == ExitCode.BAD_INPUT


def test_a_truncated_trace_is_compared_as_far_as_it_goes(refault, tmp_path):
    short = tmp_path / "short.rft"
    short.write_bytes((ROOT / "demo/traces/linux61-boot-1cpu.rft").read_bytes()[:3000])
    answer = refault(short, "base", "p3")
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "short.rft" in answer.stderr
