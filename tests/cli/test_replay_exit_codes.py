"""Small vectors of defects that these kernels really had, and what a shell sees of them."""

import json
import shlex
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from refault.engines.audit import auditing
from refault.errors import ReplayRefused
from tests.cli.running import run_here

VECTORS = Path(__file__).with_name("vectors")
BASES = ("-v", "base", "-v", "apr", "-v", "rel35")


@pytest.fixture
def replayed(tmp_path, monkeypatch):
    """Replays a vector or a capture, in this process."""

    def replay(name, *arguments):
        path = VECTORS / name
        if path.suffix == ".jsonl":
            assert (
                run_here(monkeypatch, tmp_path, "import", path, "--out", tmp_path).returncode == 0
            )
            path = tmp_path / f"{name.removesuffix('.ops.jsonl')}.rft"
        return run_here(monkeypatch, tmp_path, "replay", path, *arguments)

    return replay


def told(answer):
    (comparison,) = json.loads(answer.stdout)
    return {
        column["label"]: (column["verdict"]["name"], column["reason"])
        for column in comparison["columns"]
    }


def test_a_livelock_is_exit_code_1_and_says_which_columns_and_why(replayed):
    off = ("--audit", "off")
    text = replayed("protect-nonleaf.ops.jsonl", *BASES, *off)
    columns = told(replayed("protect-nonleaf.ops.jsonl", *BASES, *off, "--json"))

    assert text.returncode == ExitCode.ANSWER_IS_NO
    assert "rel35  GUEST-VISIBLE CHANGE: livelock at operation 12" in text.stdout
    assert columns["rel35"] == ("guest-visible-change", "livelock at operation 12; as under base")


def test_a_livelock_of_the_base_alone_is_exit_code_1(replayed):
    answer = replayed("protect-nonleaf.ops.jsonl", "-v", "base", "--audit", "off")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert "base  GUEST-VISIBLE CHANGE: livelock at operation 12" in answer.stdout


def test_a_livelock_that_an_audit_knows_by_name_is_exit_code_0(replayed):
    answer = replayed("protect-nonleaf.ops.jsonl", *BASES)
    text = " ".join(answer.stdout.split())

    assert answer.returncode == ExitCode.OK
    assert "livelock at operation 12; the base fails F-S8 (F-X6, known); F-T7" in text
    assert "rel35 unchanged" in text


def test_without_an_audit_a_column_that_shows_something_else_is_exit_code_1(replayed):
    answer = replayed("rsvd-pat.ops.jsonl", *BASES, "--json", "--audit", "off")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert told(answer)["base"] == ("base", "")
    assert told(answer)["apr"] == (
        "guest-visible-change",
        (
            "the guest or the host saw something else than under base; the trace does not say "
            "which is right"
        ),
    )


def test_operations_are_audited_so_the_column_whose_outcome_is_lawful_is_a_repair(replayed):
    answer = replayed("rsvd-pat.ops.jsonl", *BASES, "--json")
    columns = told(answer)

    assert answer.returncode == ExitCode.OK
    assert columns["base"] == ("base", "the base fails F-T1 (B8, known); F-T5 (B8, known)")
    verdict, reason = columns["apr"]
    assert verdict == "repair"
    assert reason.startswith("repairs F-T1 (B8, known): a leaf grants no more than")
    assert "where the outcomes differ, base's are not lawful" in reason
    (document,) = json.loads(answer.stdout)
    assert [row["check"] for row in document["audit"]["failed"]] == ["F-T1", "F-T5"]


def test_a_repaired_notifier_is_not_called_worse_for_what_it_costs(replayed):
    answer = replayed("notifier-index.ops.jsonl", *BASES)
    text = " ".join(answer.stdout.split())

    assert answer.returncode == ExitCode.OK
    assert "rel35 repair: repairs F-H1 (B16, known): after the host took a frame away" in text
    assert "exits +100%" in text
    assert "Audit (every): what must hold, and where it does not F-H1 after the host" in text
    assert max(map(len, answer.stdout.splitlines())) <= 72


def test_a_capture_is_audited_only_if_asked(replayed):
    bare = replayed("rsvd-pat.capture.rft", *BASES, "--json")
    asked = replayed("rsvd-pat.capture.rft", *BASES, "--json", "--audit", "flush")

    assert "audit" not in json.loads(bare.stdout)[0]
    command = shlex.split(json.loads(bare.stdout)[0]["audit_command"])
    assert command[:2] == ["refault", "audit"]
    assert command[3::2] == ["-v"] * 3
    assert "audit_command" not in json.loads(asked.stdout)[0]
    for form in ("text", "md"):
        line = " ".join(replayed("rsvd-pat.capture.rft", *BASES, "--format", form).stdout.split())
        asks = f"To ask: {shlex.join(command)}"
        assert f"Not audited: which rules of the MMU a column breaks unseen. {asks}" in line
    reports = json.loads(asked.stdout)[0]["audit"]["reports"]
    assert [report["level"] for report in reports] == ["flush"] * len(reports)
    assert told(asked)["base"] == (
        "base",
        "1 fault was missed; the base fails F-T1 (B8, known); F-T5 (B8, known)",
    )


def test_what_an_engine_cannot_be_checked_for_is_no_repair(replayed):
    """Of another engine only outcomes are known: that nothing else fails there says nothing."""
    answer = replayed("notifier-index.ops.jsonl", "-v", "base", "-v", "walk", "--json")

    compared = json.loads(answer.stdout)[0]
    shadow, walk = compared["audit"]["reports"]
    assert (shadow["engine"], walk["engine"], walk["broken"]) == ("shadow", "walk", [])
    assert compared["columns"][1]["verdict"] != "repair"


def test_an_event_log_is_of_a_run_alone_unless_an_audit_is_asked_for(replayed, tmp_path):
    log = tmp_path / "log.txt"
    alone = replayed("notifier-index.ops.jsonl", "-v", "base", "--json", "--events", log)
    lines = log.read_text()
    asked = replayed(
        *("notifier-index.ops.jsonl", "-v", "base", "--json"),
        *("--events", log, "--audit", "every"),
    )

    assert "audit" not in json.loads(alone.stdout)[0]
    assert "audit" in json.loads(asked.stdout)[0]
    assert log.read_text() == lines


def test_an_audit_that_cannot_be_is_one_clear_line(replayed):
    answer = replayed("notifier-index.ops.jsonl", "-v", "base", "--audit", "close")

    assert answer.returncode == ExitCode.BAD_INPUT
    assert answer.stderr == ("refault: level 'close': choose one of off, sampled, flush, every\n")


def test_a_base_that_misled_the_guest_is_exit_code_1_unless_all_others_repair_it(replayed):
    alone = replayed("rsvd-pat.capture.rft", "-v", "base", "--json")
    repaired = replayed("rsvd-pat.capture.rft", *BASES, "--json")

    assert alone.returncode == ExitCode.ANSWER_IS_NO
    assert told(alone)["base"] == ("guest-visible-change", "1 fault was missed")
    assert repaired.returncode == ExitCode.OK
    assert [told(repaired)[label][0] for label in ("apr", "rel35")] == ["repair", "repair"]


def test_a_run_that_stops_on_a_defect_is_exit_code_1(replayed):
    answer = replayed("limit-empty-list.ops.jsonl", "-v", "base")

    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert "BROKEN INVARIANT: empty-list" in answer.stdout


def test_a_column_that_only_costs_more_is_exit_code_0(replayed):
    answer = replayed("high-half-write-zaps.ops.jsonl", *BASES)

    assert answer.returncode == ExitCode.OK
    assert "mixed, worse on balance: exits +33.3%" in " ".join(answer.stdout.split())


@pytest.mark.parametrize(
    ("asked", "code"), [((), ExitCode.OK), (("--audit", "every"), ExitCode.BAD_INPUT)]
)
def test_an_audit_the_engine_refuses_leaves_the_comparison(monkeypatch, tmp_path, asked, code):
    def refuse(*arguments, **how):
        raise ReplayRefused("it would take more memory")

    monkeypatch.setattr(auditing, "audit", refuse)
    vector = VECTORS / "notifier-index.ops.jsonl"
    assert run_here(monkeypatch, tmp_path, "import", vector, "--out", tmp_path).returncode == 0
    path = tmp_path / "notifier-index.rft"
    answer = run_here(monkeypatch, tmp_path, "replay", path, "-v", "base", *asked)

    assert answer.returncode == code
    assert "Reproduce with:" in answer.stdout
    assert "Audit" not in answer.stdout
    assert answer.stderr == f"refault: not audited: {path}: it would take more memory\n"
