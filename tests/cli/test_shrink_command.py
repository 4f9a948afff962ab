"""``refault shrink``: what it prints and writes, what it refuses, and how it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from refault.cli.exits import ExitCode
from refault.trace import TraceReader
from refault.trace.writer import TraceWriter
from tests.cli.running import command, environment, run_here
from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
LOST_MARK = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"
BOOT = ROOT / "demo/traces/linux61-boot-1cpu.rft"
FEWER_SYNCS = "counter:synced:p3<base"


@pytest.fixture
def refault(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_here(monkeypatch, tmp_path, *arguments)


def test_a_missed_fault_of_the_boot_becomes_a_bug_report_and_a_test(refault, tmp_path):
    answer = refault("shrink", BOOT, "--keep", "finding:missed-fault@p3", "--as-test", "vectors")
    assert answer.returncode == ExitCode.OK, answer.stderr
    out = tmp_path / "linux61-boot-1cpu-shrunk.rft"
    with TraceReader(out) as reader:
        assert sum(block.event_count for block in reader.blocks()) <= 40
    assert "1,926,706 events" in answer.stdout
    assert "v2.6.34-pre shows no missed-fault on it" in answer.stdout
    assert "no tables since the last flush allow that access" in answer.stdout
    # The last operation is the access that should have faulted.
    assert "st vCPU 0 user 0x7fc8aa720000 = 0x0  #PF 6" in answer.stdout
    # All of it but the time stands in the howto.
    howto = (ROOT / "docs/howto/shrink.md").read_text(encoding="utf-8")
    told = [
        line for line in answer.stdout.splitlines()[1:] if not line.startswith(("took", "test"))
    ]
    assert not [line for line in told if line not in howto]
    next_command = answer.stdout.strip().splitlines()[-1].split()
    assert next_command[:2] == ["refault", "replay"]
    replayed = refault(*next_command[1:])
    assert replayed.returncode == ExitCode.ANSWER_IS_NO
    assert "missed fault" in replayed.stdout
    assert not list(tmp_path.glob("*.shrink-state"))

    # The vector is an ordinary one: it replays, it is audited, and agrees with what stands beside.
    golden = refault("golden", tmp_path / "vectors")
    assert golden.returncode == ExitCode.OK, golden.stdout
    manifest = json.loads((tmp_path / "vectors/MANIFEST.json").read_text(encoding="utf-8"))
    expect = manifest["linux61-boot-1cpu-shrunk"]["expect"]
    assert {"base", "p3", "series", "rel35", "apr"} <= expect.keys()
    assert expect["base"] != expect["p3"]
    vector = tmp_path / "vectors/linux61-boot-1cpu-shrunk.ops.jsonl.zst"
    audited = refault("audit", vector, "-v", "base", "-v", "p3", "--json")
    base, p3 = (each["report"]["broken"] for each in json.loads(audited.stdout)[0]["audits"])
    assert not base
    assert "F-T5" in {each["check"] for each in p3}


def test_json_has_all_of_it(refault, tmp_path):
    out = tmp_path / "few.rft"
    answer = refault("shrink", LOST_MARK, "--keep", FEWER_SYNCS, "--out", out, "--json")
    told = json.loads(answer.stdout)
    assert told["keep"] == FEWER_SYNCS
    assert told["trace"] == str(out)
    assert told["events"] == sum(told["events_by_kind"].values()) < told["source_events"]
    assert told["is_minimal"] is True
    assert told["shown"] == {"synced of A": 1, "synced of B": 2}
    assert told["operations"][-1].split()[1] == "cr3"
    assert told["test"] is None
    assert told["source_digest"] != told["digest"]


def test_a_manifest_that_is_none_is_left_alone_and_nothing_is_begun(refault, tmp_path):
    (tmp_path / "v").mkdir()
    manifest = tmp_path / "v/MANIFEST.json"
    manifest.write_text("[1, 2]", encoding="utf-8")
    answer = refault("shrink", BOOT, "--keep", FEWER_SYNCS, "--out", "a.rft", "--as-test", "v")
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "MANIFEST.json is no manifest" in answer.stderr
    assert manifest.read_text(encoding="utf-8") == "[1, 2]"
    assert not (tmp_path / "a.rft").exists()


def test_a_property_that_is_not_there_ends_with_1_and_says_what_is(refault, tmp_path):
    answer = refault("shrink", LOST_MARK, "--keep", "finding:F-W1@p3")
    assert answer.returncode == ExitCode.ANSWER_IS_NO
    assert "p3 does not show F-W1" in answer.stderr
    assert "F-T5 1" in answer.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--keep", "missed-fault@p3"), "expected finding:KIND@VARIANT"),
        (("--keep", "finding:missed@p3"), "there is no finding 'missed'"),
        (("--keep", "diverges:base,p99"), "p99"),
        (("--keep", "diverges:base,base"), "the same machine"),
        (("--keep", "counter:hw_flushes:base<p3"), "no such counter"),
        (("--keep", FEWER_SYNCS, "--out", "few.txt"), "ends in .rft"),
        (("--keep", FEWER_SYNCS, "--out", "absent/few.rft"), "absent"),
        (("--keep", FEWER_SYNCS, "--budget", "0"), "budget"),
        ((), "keep"),
    ],
)
def test_what_cannot_be_used_is_bad_input(refault, tmp_path, arguments, message):
    answer = refault("shrink", LOST_MARK, *arguments)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir())


def test_the_trace_itself_is_never_written_over(refault, tmp_path):
    trace = tmp_path / "boot.rft"
    trace.write_bytes(BOOT.read_bytes())
    answer = refault("shrink", trace, "--keep", "finding:missed-fault@p3", "--out", trace)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "the trace itself" in answer.stderr
    assert trace.read_bytes() == BOOT.read_bytes()


def test_a_truncated_trace_is_shrunk_as_far_as_it_goes(refault, tmp_path):
    trace, short = tmp_path / "boot.rft", tmp_path / "short.rft"
    with (
        TraceReader(BOOT) as reader,
        TraceWriter(trace, reader.header, level=1, block_events=1 << 16) as writer,
    ):
        writer.append_block(next(reader.blocks()))
    data = trace.read_bytes()
    trace.write_bytes(data[:-1000])
    short.write_bytes(data[:3000])
    out = tmp_path / "few.rft"
    answer = refault("shrink", trace, "--keep", "counter:exits:base<series", "--out", out, "--json")
    assert answer.returncode == ExitCode.OK, answer.stderr
    assert json.loads(answer.stdout)["source_events"] == 1 << 16
    answer = refault("shrink", short, "--keep", FEWER_SYNCS)
    assert answer.returncode == ExitCode.BAD_INPUT
    assert "short.rft" in answer.stderr


def test_a_damaged_trace_and_one_that_is_none_are_bad_input(refault, tmp_path):
    data = bytearray(BOOT.read_bytes())
    data[len(data) // 2] ^= 1
    damaged, other = tmp_path / "damaged.rft", tmp_path / "notes.txt"
    damaged.write_bytes(data)
    other.write_text("hello", encoding="utf-8")
    for path in (damaged, other, tmp_path / "absent.rft"):
        answer = refault("shrink", path, "--keep", "finding:missed-fault@p3")
        assert answer.returncode == ExitCode.BAD_INPUT
        assert path.name in answer.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.rft", "notes.txt"]


def test_a_run_that_is_terminated_goes_on_by_the_same_command(refault, tmp_path):
    out = tmp_path / "boot.rft"
    arguments = ("shrink", BOOT, "--keep", "finding:missed-fault@p3", "--out", out, "--json")
    state = tmp_path / "boot.rft.shrink-state"
    environ = environment(tmp_path) | {
        name: os.environ[name] for name in ("REFAULT_CACHE",) if name in os.environ
    }
    with subprocess.Popen(
        command(*arguments), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        # Until some judgements are there; if it is faster than that, it is done.
        for _ in range(int(PATIENCE_SECONDS * 100)):
            if process.poll() is not None or (state.exists() and state.stat().st_size > 4000):
                break
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    if process.returncode == ExitCode.OK:
        pytest.skip("it was done before it could be terminated")
    assert process.returncode == ExitCode.TERMINATED
    assert not out.exists()
    told = json.loads(refault(*arguments).stdout)
    assert told["resumed"] > 0
    assert told["is_minimal"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot.rft"]
