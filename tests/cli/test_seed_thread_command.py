"""``refault report seed-thread``: what it prints and writes, what it refuses, and how it ends."""

import json
import shlex
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from refault.replay.session import warm_up
from tests.cli.running import run_here

ROOT = Path(__file__).resolve().parents[2]
LOST_MARK = "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """Loaded from where they are kept; below, only what is computed has a cache of its own."""
    warm_up()


@pytest.fixture
def refault(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    return lambda *arguments: run_here(
        monkeypatch, tmp_path, *arguments, REFAULT_CACHE=str(tmp_path / "cache")
    )


def test_the_report_is_printed_and_written_in_every_form(refault, tmp_path):
    answer = refault("report", "seed-thread", LOST_MARK, "--out", tmp_path / "out" / "here")
    assert answer.returncode == ExitCode.OK, answer.stderr
    files = {path.suffix: path.read_text() for path in (tmp_path / "out" / "here").iterdir()}
    assert files.keys() == {".txt", ".md", ".json", ".html"}
    assert answer.stdout == files[".txt"]
    for name, suffix in (("md", ".md"), ("html", ".html")):
        assert refault("report", "seed-thread", LOST_MARK, "--format", name).stdout == files[suffix]
    told = refault("report", "seed-thread", LOST_MARK, "--json")
    assert json.loads(told.stdout) == json.loads(files[".json"])
    short = refault("report", "seed-thread", LOST_MARK, "--summary").stdout
    assert "Patch 3: On s29_lost_mark: F-U1" in short
    assert len(short) < len(files[".txt"]) / 5


def test_its_commands_lead_to_the_finding(refault, tmp_path):
    told = json.loads(refault("report", "seed-thread", LOST_MARK, "--json").stdout)
    [patch] = [each for each in told["patches"] if each["number"] == 3]
    finding = patch["forms"][0]["findings"][0]
    seen = refault(*finding["commands"]["inspect"][1:])
    assert seen.returncode == ExitCode.OK, seen.stderr
    assert "table 0x105: mark of entry 0 cleared" in seen.stdout
    audited = refault(*finding["commands"]["audit"][1:])
    assert audited.returncode == ExitCode.ANSWER_IS_NO
    assert "first at operation 1044" in audited.stdout
    first = patch["forms"][0]["traces"][0]["first_difference"]
    parted = refault(*first["command"][1:])
    assert "They differ first at operation 1049" in parted.stdout
    refault("import", LOST_MARK, "--out", tmp_path)
    words = [
        str(tmp_path / word) if word.endswith(".rft") else word for word in patch["commands"][0][1:]
    ]
    compared = refault(*words, "--json")
    columns = json.loads(compared.stdout)[0]["columns"]
    assert [column["labels"][0] for column in columns][:2] == ["p2", "p3"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("missing.rft",), "missing.rft"),
        (("README.md",), "README.md"),
        (("demo",), "demo"),
        ((LOST_MARK, "--format", "pdf"), "pdf"),
        ((LOST_MARK, "--audit", "off"), "off"),
        ((LOST_MARK, "--audit", "deep"), "deep"),
        ((LOST_MARK, "--kernel", "nowhere"), "nowhere"),
        ((LOST_MARK, "--out", "README.md"), "README.md"),
    ],
)
def test_what_cannot_be_used_is_named(refault, arguments, named):
    answer = refault("report", "seed-thread", *arguments)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert answer.stderr.startswith("refault: ")
    assert named in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not answer.stdout


def test_a_damaged_trace_is_named(refault, tmp_path):
    whole = (ROOT / "demo/traces/linux61-workload-1cpu.rft").read_bytes()
    harmed = tmp_path / "harmed.rft"
    harmed.write_bytes(whole[:3000] + b"\x00" * 16 + whole[3016:])
    answer = refault("report", "seed-thread", harmed)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "harmed.rft" in answer.stderr
    assert not answer.stdout


@pytest.mark.parametrize("words", [("b-7k3f",), ("batch", "b-7k3f"), ("--mail", "b-7k3f")])
def test_a_batch_is_reported_with_or_without_the_word(refault, words):
    answer = refault("report", *words, "--url", "http://127.0.0.1:1")
    assert answer.returncode == ExitCode.UNREACHABLE
    assert "http://127.0.0.1:1" in answer.stderr


def test_help_tells_both_apart(refault):
    told = refault("report", "--help").stdout
    assert "seed-thread" in told
    assert "batch" in told
    assert shlex.split("refault report b-7k3f")[2] in told
