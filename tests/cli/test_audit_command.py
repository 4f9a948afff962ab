"""``refault audit``: what it prints of a report, what it refuses, and how it ends."""

import json
import shlex
from pathlib import Path

import pytest
import zstandard

from refault.audits import EXCEPTIONS, AuditReport, Step
from refault.cli.exits import ExitCode
from refault.engines.audit import auditing
from refault.errors import ReplayRefused
from tests.builders import make_broken, make_report
from tests.cli.running import run, run_here

VECTORS = Path(__file__).with_name("vectors")
VECTOR = VECTORS / "high-half-write-zaps.ops.jsonl"
CAPTURE = VECTORS / "rsvd-pat.capture.rft"

STALE = make_broken(
    "F-H1",
    operation_index=47,
    vcpu=1,
    address=0x7F00_1000,
    address_kind="gva",
    count=3,
    cause=(Step(9, 39, "unmap gfn 0x300 looked in the wrong list"),),
)
DRIFT = make_broken("F-C1", exception="F-X6", address=None, address_kind="")


@pytest.fixture
def audits(monkeypatch):
    """Stands for the engine: answers these findings for each variant, and keeps what was asked."""
    asked = []

    def findings(*broken, refuses="", **given):
        def audit(trace, variants, level, **how):
            asked.append((trace.name, [each.name for each in variants], level.word))
            how["progress"](1, 1)
            if refuses:
                raise ReplayRefused(refuses)
            return [
                make_report(*broken, level=level.word, variant_name=each.name, **given)
                for each in variants
            ]

        monkeypatch.setattr(auditing, "audit", audit)
        return asked

    return findings


@pytest.fixture
def refault(monkeypatch, tmp_path):
    return lambda *arguments: run_here(monkeypatch, tmp_path, "audit", *arguments)


def test_a_sound_variant_is_one_line(audits, refault):
    audits()
    answer = refault(VECTOR, "-v", "base")
    assert answer.returncode == ExitCode.OK
    assert answer.stdout == (
        "high-half-write-zaps under base (v2.6.34-pre)\n"
        "---------------------------------------------\n"
        "no check failed: 1,000 sweeps, 1,855,437 accesses; level every,\n"
        "  1,881,074 operations.\n"
    )


def test_a_finding_is_told_with_its_cause_and_the_command_that_gives_it_again(audits, refault):
    audits(STALE, DRIFT)
    answer = refault(VECTOR, "-v", "p2")
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert max(map(len, answer.stdout.splitlines())) <= 72
    assert (
        "2 checks failed: 1,000 sweeps, 1,855,437 accesses; level every,\n"
        "  1,881,074 operations.\n"
        "\n"
        "F-H1  after the host took a frame away no leaf and no live TLB entry\n"
        "      reaches it, nor writes it once the host's page is read-only\n"
        "  3 places, first at operation 47 (event 77), vCPU 1, gva 0x7f001000\n"
        "  operation: unmap gfn 0x300\n"
        "  is: a leaf maps it\n"
        "  should be: no leaf\n"
        "  cause: operation 9 (event 39): unmap gfn 0x300 looked in the wrong\n"
        "    list\n"
        "\n"
        "F-C1  lpages is the number of large leaves\n"
        "  1 place, first at operation 12 (event 42)\n"
    ) in answer.stdout
    flat = " ".join(answer.stdout.split())
    assert f"known exception F-X6: {EXCEPTIONS['F-X6']}" in flat
    command = shlex.split(answer.stdout.split("Reproduce with:")[1].replace("\\\n", ""))
    assert command == ["refault", "audit", str(VECTOR), "-v", "p2", "--level", "every"]


def test_known_exceptions_and_lost_work_end_well(audits, refault):
    audits(DRIFT, "F-P4")
    answer = refault(VECTOR, "-v", "base")
    assert answer.returncode == ExitCode.OK
    flat = " ".join(answer.stdout.split())
    assert "all of it known exceptions or lost work." in flat
    assert "this is lost work: no answer is wrong" in flat
    assert "Reproduce with:" in flat


def test_a_run_that_stopped_is_not_sound(audits, refault):
    audits(stopped="empty-list at operation 7", unfinished=1)
    answer = refault(VECTOR, "-v", "base")
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    flat = " ".join(answer.stdout.split())
    assert "stopped before the end: empty-list at operation 7" in flat
    assert "1 sweep ended at their bound of steps" in flat or "1 sweep ended" in flat


def test_the_level_follows_the_content_unless_it_is_given(audits, refault):
    asked = audits()
    refault(VECTOR, CAPTURE, "-v", "base")
    refault(CAPTURE, "-v", "base", "--level", "sampled", "--every", "100", "--seed", "7")
    assert [level for _, _, level in asked] == ["every", "flush", "sampled-100-7"]


def test_default_variants_are_those_of_a_replay_each_machine_once(audits, refault):
    asked = audits(STALE)
    answer = refault(VECTOR)
    ((_, names, _),) = asked
    assert names[0] == "v2.6.34-pre"
    assert len(names) == len(set(names)) == 5
    assert "under base, 1 (v2.6.34-pre)\n" in answer.stdout
    # A label of the series is no variant's name: the command names the patches.
    last = answer.stdout.rpartition("Reproduce with:")[2].replace("\\\n", "")
    assert "unsync-list-global" in last
    assert " -v 1-6" not in last


def test_vectors_are_imported_on_the_way_packed_or_not(audits, refault, tmp_path):
    asked = audits()
    packed = tmp_path / "mine.ops.jsonl.zst"
    packed.write_bytes(zstandard.compress(VECTOR.read_bytes()))
    assert refault(packed, "-v", "base").returncode == ExitCode.OK
    assert asked == [("mine.rft", ["v2.6.34-pre"], "every")]


def test_json_has_each_report_with_its_key_and_out_the_same(audits, refault, tmp_path):
    audits(STALE)
    kept = tmp_path / "audit.json"
    answer = refault(VECTOR, "-v", "base", "-v", "p2", "--json", "--out", kept)
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    (document,) = json.loads(answer.stdout)
    assert json.loads(kept.read_text()) == [document]
    assert (document["trace"], document["level"]) == ("high-half-write-zaps", "every")
    base, _ = document["audits"]
    assert (base["label"], base["is_sound"]) == ("base", False)
    assert base["key"]["kind"] == "audit"
    assert base["key"]["level"] == "every"
    assert AuditReport.from_dict(base["report"]).digest == base["digest"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_file_that_cannot_be_written_is_said_before_anything_is_audited(
    audits, refault, tmp_path
):
    asked = audits()
    answer = refault(VECTOR, "-v", "base", "--out", tmp_path / "nowhere" / "audit.json")
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "--out" in answer.stderr
    assert not asked


def test_a_truncated_trace_is_said_to_be_so(audits, refault, tmp_path):
    audits()
    (tmp_path / "cut.rft").write_bytes(CAPTURE.read_bytes()[:-5])
    (tmp_path / "no_block.rft").write_bytes(CAPTURE.read_bytes()[:400])
    cut = refault(tmp_path / "cut.rft", "-v", "base")
    assert "the file is truncated" in " ".join(cut.stdout.split())
    nothing = refault(tmp_path / "no_block.rft", "-v", "base")
    assert nothing.returncode == ExitCode.BAD_INPUT
    assert "no_block.rft: " in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("-v", "base", "--level", "off"), "--level off checks nothing"),
        (("-v", "base", "--level", "close"), "level 'close': choose one of"),
        (("-v", "base", "--every", "10"), "--every is for --level sampled"),
        (("-v", "base", "--level", "flush", "--seed", "1"), "--seed is for --level sampled"),
        (("-v", "base", "--level", "sampled", "--every", "0"), "every: expected 1 to"),
        (("-v", "zap-acount"), "zap-acount"),
    ],
)
def test_what_cannot_be_audited_is_one_clear_line(audits, refault, arguments, complaint):
    asked = audits()
    answer = refault(VECTOR, *arguments)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert answer.stdout == ""
    assert complaint in answer.stderr
    assert not asked


def test_a_file_of_another_kind_is_named_with_what_reads_it(audits, refault, tmp_path):
    audits()
    path = tmp_path / "notes.txt"
    path.write_text("nothing of ours\n")
    answer = refault(path, "-v", "base")
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "notes.txt: byte 0: this is " in answer.stderr


def test_a_trace_an_engine_refuses_is_told_in_one_line(audits, refault):
    audits(refuses="nine vCPUs")
    answer = refault(VECTOR, "-v", "base", "--json")
    assert answer.returncode == ExitCode.BAD_INPUT
    assert (answer.stdout, answer.stderr) == ("", f"refault: {VECTOR}: nine vCPUs\n")


def test_the_engine_s_own_report_is_shown_and_its_command_gives_it_again(tmp_path):
    vector = VECTORS / "notifier-index.ops.jsonl"
    arguments = ("audit", vector, "-v", "base", "-v", "rel35")
    answer = run(tmp_path, *arguments, REFAULT_INTERPRETED="1")

    assert answer.stderr == ""
    assert answer.returncode == ExitCode.OK
    assert max(map(len, answer.stdout.splitlines())) <= 72
    base, rel35 = answer.stdout.split("notifier-index under ")[1:]
    assert "F-H1  after the host took a frame away" in base
    assert "operation: unmap gfn 0x400" in base
    assert "cause: operation 6" in base
    assert EXCEPTIONS["B16"].split()[0] in base
    assert "F-H1" not in rel35

    words = shlex.split(base.split("Reproduce with:")[1].replace("\\\n", ""))
    again = run(tmp_path, *words[1:], REFAULT_INTERPRETED="1")
    assert again.stdout == f"notifier-index under {base}".removesuffix("\n")
    as_json = [run(tmp_path, *words[1:], "--json", REFAULT_INTERPRETED="1") for _ in range(2)]
    assert as_json[0].stdout == as_json[1].stdout
