"""``refault inspect``: what it prints, what it refuses, and how it ends."""

import io
import json
import re
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from refault.replay.session import warm_up
from tests.cli.running import run_here

ROOT = Path(__file__).resolve().parents[2]
LOST_MARK = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """Loaded from where they are kept; below, only the snapshots have a cache of their own."""
    warm_up()


@pytest.fixture
def refault(monkeypatch, tmp_path):
    return lambda *arguments: run_here(
        monkeypatch, tmp_path, "inspect", *arguments, REFAULT_CACHE=str(tmp_path / "cache")
    )


def test_the_view_is_the_one_in_the_howto(refault):
    answer = refault(LOST_MARK, "-v", "p3", "--at-operation", "1045", "--gva", "0x400000")
    assert answer.returncode == ExitCode.OK, answer.stderr
    told, _, command = answer.stdout.partition("Reproduce with:")
    howto = (ROOT / "docs/howto/inspect.md").read_text(encoding="utf-8")
    assert told.strip() in howto
    assert command.replace("\\\n", "").split() == [
        "refault", "inspect", str(LOST_MARK), "-v", "p3",
        "--at-operation", "1045", "--gva", "0x400000",
    ]  # fmt: skip


def test_json_has_all_of_it(refault):
    answer = refault(LOST_MARK, "-v", "p3", "--until-change", "gva", "0x400000", "--json")
    assert answer.returncode == ExitCode.OK, answer.stderr
    told = json.loads(answer.stdout)
    assert told["variant"]["label"] == "p3"
    assert told["operation_index"] == 1047
    assert told["changed"]["operation_index"] == 1046
    assert told["upcoming"]["kind"] == "cr3"
    assert told["address"]["reaches"] == "0x800000"
    assert told["address"]["guest"]["gpa"] == "0x820000"
    assert told["address"]["walk"][-1]["unsync"] is True


def test_backwards_and_forwards_say_the_same(refault):
    there = refault(LOST_MARK, "-v", "p3", "--at-operation", "1040", "--gfn", "0x107")
    back = refault(
        LOST_MARK, "-v", "p3", "--at-operation", "1050", "--back", "10", "--gfn", "0x107"
    )
    assert there.returncode == ExitCode.OK, there.stderr
    assert there.stdout == back.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--at", "9999999"),
        ("--at-operation", "9999999"),
        ("--at", "1", "--at-operation", "1"),
        ("--gva", "0x8000000000000000"),
        ("--gva", "here"),
        ("--gva", "0", "--gfn", "0"),
        ("--gva", "0", "--vcpu", "1"),
        ("--until-change", "gfn", "5"),
        ("--until", "the end"),
        ("--until", "zap gfn 0x105", "--until-change", "gva", "0"),
        ("--forward",),
        ("--page", "1000000"),
        ("--page", "1", "--gva", "0"),
        ("--shell", "--json"),
        ("--back", "5000"),
    ],
)
def test_what_is_not_there_is_bad_input(refault, arguments):
    answer = refault(LOST_MARK, "-v", "base", *arguments)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert answer.stderr.startswith("refault: ")
    assert not answer.stdout


def test_a_file_that_is_no_trace_is_bad_input(refault, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("hello", encoding="utf-8")
    assert refault(other, "-v", "base").returncode == ExitCode.BAD_INPUT
    assert refault(tmp_path / "absent.rft", "-v", "base").returncode == ExitCode.BAD_INPUT


def test_a_shell_takes_commands_and_survives_what_is_wrong(refault, monkeypatch):
    lines = [
        "gfn 0x107", "until unsync gfn 0x107", "back 2", "next unsync gfn 0x107", "page 4",
        "vcpu 0", "change gva 0x400000", "forward", "show", "back 99999", "gva", 'gva "', "at 5 5",
        "until noon", "nope", "all now", "", "help until", "help", "help nope", "notation", "all",
        "end", "quit",
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    answer = refault(LOST_MARK, "-v", "p3", "--at-operation", "1044", "--shell")
    assert answer.returncode == ExitCode.OK, answer.stderr
    titles = re.findall(r"under p3, before operation (\d+)", answer.stdout)
    assert titles == [
        "1044", "1044", "1039", "1037", "1039", "1039", "1039", "1038", "1039", "1039",
        "1039", "1053",
    ]  # fmt: skip
    wanted = "expected get, sync, unsync or zap and a table, such as zap gfn 0x105"
    assert answer.stderr.splitlines() == [
        "refault: back 99,999: there are 1,039 operations before",
        "refault: a number is missing, such as 0x400000 or 1024",
        "refault: '\"': expected one number, such as 0x400000 or 1024",
        "refault: '5 5': expected one number, such as 0x400000 or 1024",
        f"refault: until 'noon': {wanted}",
        "refault: nope: no such command; `help` lists them",
        "refault: 'now': nothing comes after this command",
        "refault: nope: no such command; `help` lists them",
    ]
    assert "gva A         both walks of that guest address, and their history" in answer.stdout
    assert "the entry is noted as leading to something out of sync" in answer.stdout
    assert "back to right after the latest" in answer.stdout
