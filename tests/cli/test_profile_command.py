"""``refault profile``: tables, JSON and CSV, and what it refuses."""

import csv
import io
import json
from pathlib import Path

import pytest

from refault.attribution import Attribution
from refault.cli.exits import ExitCode
from refault.compare.layout import display_width
from refault.profile.text import WIDTH
from refault.timeline import Timeline
from tests.cli.running import run_here

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = ROOT / "demo/traces/linux61-workload-1cpu.rft"
VECTOR = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"


@pytest.fixture
def refault(monkeypatch, tmp_path):
    return lambda *arguments: run_here(monkeypatch, tmp_path, "profile", *arguments)


def test_the_tables_of_a_capture_are_those_of_the_howto(refault):
    answer = refault(WORKLOAD, "-v", "base")
    assert answer.returncode == ExitCode.OK, answer.stderr
    assert all(display_width(line) <= WIDTH for line in answer.stdout.splitlines())
    howto = (ROOT / "docs/howto/profile.md").read_text(encoding="utf-8")
    shown = howto.split("```text\n")[1].split("```")[0]
    for part in shown.split("…\n"):
        assert part.strip("\n") in answer.stdout


def test_json_has_both_documents_whole(refault):
    answer = refault(VECTOR, "-v", "base", "-v", "p3", "--json")
    assert answer.returncode == ExitCode.OK, answer.stderr
    told = json.loads(answer.stdout)
    assert [each["label"] for each in told] == ["base", "p3"]
    for each in told:
        timeline = Timeline.from_dict(each["timeline"]["body"])
        attribution = Attribution.from_dict(each["attribution"]["body"])
        assert timeline.key.digest == each["timeline"]["key"]
        assert attribution.digest == each["attribution"]["digest"]
        assert timeline.series["exits"][-1] == attribution.totals["exits"]


def test_csv_is_a_line_a_sample(refault):
    answer = refault(VECTOR, "-v", "base", "--csv")
    assert answer.returncode == ExitCode.OK, answer.stderr
    head, *rows = csv.reader(io.StringIO(answer.stdout))
    assert head[:3] == ["events", "instructions", "operations"]
    assert "active" in head
    assert 1 < len(rows) <= 1000


def test_csv_of_two_variants_is_refused(refault):
    answer = refault(VECTOR, "-v", "base", "-v", "p3", "--csv")
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "give one --variant" in answer.stderr


def test_another_engine_says_what_it_does_not_yield(refault):
    answer = refault(VECTOR, "-v", "walk")
    assert answer.returncode == ExitCode.OK, answer.stderr
    assert "No views: the architecture alone leaves the guest for nothing" in answer.stdout


def test_costs_stand_below_a_comparison_and_beside_its_json(monkeypatch, tmp_path):
    def replay(*arguments):
        return run_here(monkeypatch, tmp_path, "replay", WORKLOAD, "-v", "base", *arguments)

    plain, told = replay(), replay("--costs", "exit:1800")
    assert told.returncode == plain.returncode == ExitCode.OK, told.stderr
    before, _, below = told.stdout.partition("Cost model, ")
    assert before.split("Reproduce")[0] == plain.stdout.split("Reproduce")[0]
    assert "a model, not a measurement" in " ".join(below.split())
    assert "95,200,200" in below
    [comparison] = json.loads(replay("--costs", "exit:1800", "--json").stdout)
    assert comparison["cost_model"]["vcpus"] == 1
    wrong = replay("--costs", "exits:1")
    assert wrong.returncode == ExitCode.BAD_INPUT
    assert "no weight 'exits'" in wrong.stderr
    missing = replay("--costs", "nowhere.toml")
    assert "nowhere.toml cannot be read" in missing.stderr
