import json
import shlex
from functools import partial
from pathlib import Path

import pytest
import zstandard

from refault.catalogue import PatchSet, resolve
from refault.documents import event_log_key
from refault.replay.session import replay
from refault.trace import EventKind, MemorySlot, TraceHeader, TraceWriter
from tests.cli.running import run, run_here
from tests.engines.guests import Guest, P, U, W

BOOT = Path(__file__).parents[2] / "demo" / "traces" / "linux61-boot-1cpu.rft"


@pytest.fixture
def refault(tmp_path_factory, monkeypatch):
    """The command in this process: its kernels are loaded once."""
    return partial(run_here, monkeypatch, tmp_path_factory.mktemp("home"))


@pytest.fixture
def small_trace(tmp_path):
    guest = Guest(pages=1024)
    for table in (1, 2, 3, 4):
        guest.table(table, {i: (table + 1 + i) << 12 | P | W | U for i in range(4)})
    guest.boot(0x1000).load(0).store(0x1000, 7)
    path = tmp_path / "small.rft"
    path.write_bytes(guest.bytes())
    return path


@pytest.fixture(scope="module")
def boot_under_patch_3(tmp_path_factory):
    return run(tmp_path_factory.mktemp("home"), "replay", BOOT, "-v", "base", "-v", "p3")


def test_the_table_is_plain_text_of_at_most_72_columns(boot_under_patch_3):
    lines = boot_under_patch_3.stdout.splitlines()
    assert max(map(len, lines)) <= 72
    assert boot_under_patch_3.stdout.isascii()


def test_what_patch_3_does_to_a_booting_guest_is_counted_and_shown(boot_under_patch_3):
    text = " ".join(boot_under_patch_3.stdout.split())
    assert "wrong address 0 32" in text
    assert "missed fault 0 32" in text
    assert "operation 1302744" in text
    assert "st user reached 0x29e6000; real guest: #PF 6" in text


def test_a_variant_that_shows_the_guest_something_else_is_exit_code_1(boot_under_patch_3):
    assert boot_under_patch_3.returncode == 1
    assert boot_under_patch_3.stderr == ""


def test_the_command_it_prints_gives_the_same_again(refault, small_trace):
    first = refault("replay", small_trace, "--variant", "base", "--variant", "series")
    assert first.returncode == 0
    command = shlex.split(first.stdout.split("Reproduce with:")[1].replace("\\\n", ""))
    assert command[0] == "refault"
    assert refault(*command[1:]).stdout == first.stdout


def test_json_says_the_same_to_machines(refault, small_trace):
    done = refault("replay", small_trace, "--json")
    (comparison,) = json.loads(done.stdout)
    counters = {row["name"]: row for row in comparison["counters"]}
    assert counters["exits"]["values"][0] == 2
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("variant", "complaint"),
    [
        ("zap-acount", "zap-acount"),
        ("zap-account+zap-restart", "zap-restart"),
        ("zap-batch", "zap-return-self"),
        ("v2.6.35.6+zap-account", "already, as 77662e0028c and 3246af0ece6"),
        ("base,page-limit=none", "page_limit"),
        ("base,bypass=2", "bypass"),
    ],
)
def test_a_variant_that_cannot_be_is_one_clear_line(refault, small_trace, variant, complaint):
    done = refault("replay", small_trace, "-v", variant)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("refault: ")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_trace_is_one_clear_line(refault, tmp_path):
    path = tmp_path / "mail.txt"
    path.write_text("From: Xiao Guangrong\n" * 100)
    done = refault("replay", path)
    assert done.returncode == 2
    assert "mail.txt: byte 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_among_several_traces_the_damaged_one_is_named(refault, small_trace, tmp_path):
    data = bytearray(small_trace.read_bytes())
    data[-40] ^= 1
    (tmp_path / "flipped.rft").write_bytes(data)
    done = refault("replay", small_trace, tmp_path / "flipped.rft", "-v", "base")
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"{tmp_path}/flipped.rft: byte " in done.stderr


def test_a_truncated_trace_is_replayed_as_far_as_it_goes_and_says_so(
    refault, small_trace, tmp_path
):
    data = small_trace.read_bytes()
    (tmp_path / "no_end.rft").write_bytes(data[:-5])
    (tmp_path / "no_block.rft").write_bytes(data[: len(data) // 2])
    whole = refault("replay", tmp_path / "no_end.rft", "-v", "base")
    nothing = refault("replay", tmp_path / "no_block.rft", "-v", "base")
    assert whole.returncode == 0
    assert "no_end.rft is truncated: replayed up to its last whole block" in whole.stdout
    assert nothing.returncode == 2
    assert nothing.stdout == ""
    assert "no_block.rft: the file ends inside its first block" in nothing.stderr


def test_a_file_that_is_not_there_is_one_clear_line(refault, tmp_path):
    done = refault("replay", tmp_path / "nowhere.rft")
    assert done.returncode == 2
    assert "nowhere.rft" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_limit_given_twice_is_refused(refault, small_trace):
    done = refault("replay", small_trace, "-v", "p2,page-limit=64", "--page-limit", "128")
    assert done.returncode == 2
    assert "--page-limit" in done.stderr


def test_the_catalogue_can_be_listed(refault):
    done = refault("patches", "--json")
    ids = [patch["id"] for patch in json.loads(done.stdout)]
    assert "zap-account" in ids
    assert "unsync-list-global" in ids
    assert "Xiao Guangrong" in refault("patches").stdout


def test_the_event_log_goes_to_a_file_and_the_table_stays(refault, small_trace, tmp_path):
    log = tmp_path / "events.txt"
    done = refault("replay", small_trace, "-v", "base", "--events", log)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("refault comparison: small.rft")
    lines = log.read_text().splitlines()
    assert lines[0] == "# tracer: nop"
    assert lines[-2].endswith(": kvm_mmu_set_dirty_bit: gpa 4008")
    [result] = replay(small_trace, [resolve(PatchSet())])
    assert lines[-1] + "\n" == event_log_key(result).to_line()
    assert [path.name for path in tmp_path.iterdir() if "events" in path.name] == ["events.txt"]


def test_the_event_log_can_be_compressed_or_piped(refault, small_trace, tmp_path):
    log = tmp_path / "events.zst"
    refault("replay", small_trace, "-v", "base", "--events", log)
    piped = refault("replay", small_trace, "-v", "base", "--events", "-")
    with zstandard.open(log, "rt") as file:
        assert file.read() == piped.stdout
    assert piped.stdout.startswith("# tracer: nop\n")
    assert piped.stderr.startswith("refault comparison: small.rft")


def test_an_event_log_of_two_runs_is_refused(refault, small_trace, tmp_path):
    log = tmp_path / "events.txt"
    for arguments in (["-v", "base", "-v", "p2"], [small_trace, small_trace, "-v", "base"], []):
        done = refault("replay", small_trace, *arguments, "--events", log)
        assert done.returncode == 2
        assert "give one trace and one --variant" in done.stderr
    assert not log.exists()


def test_an_event_log_that_cannot_be_written_is_one_line(refault, small_trace, tmp_path):
    done = refault("replay", small_trace, "-v", "base", "--events", tmp_path / "no" / "log.txt")
    assert done.returncode == 2
    assert done.stderr.startswith("refault: --events: ")
    assert "cannot be written: No such file or directory" in done.stderr
    assert not (tmp_path / "no").exists()


def test_nothing_stays_of_the_event_log_of_a_damaged_trace(refault, small_trace, tmp_path):
    data = bytearray(small_trace.read_bytes())
    data[len(data) // 2] ^= 1
    small_trace.write_bytes(data)
    done = refault("replay", small_trace, "-v", "base", "--events", tmp_path / "events.txt")
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["small.rft"]


@pytest.fixture
def deep_trace(tmp_path):
    """A capture that the model refuses by its header."""
    path = tmp_path / "deep.rft"
    with path.open("wb") as file:
        TraceWriter(
            file, TraceHeader("capture", "deep", "long5", 1, (MemorySlot(0, 0, 16),))
        ).close()
    return path


def test_a_trace_that_an_engine_refuses_does_not_stop_the_others(refault, small_trace, deep_trace):
    alone = refault("replay", small_trace, "-v", "base", "--json")
    done = refault("replay", deep_trace, small_trace, "-v", "base", "--json")
    assert (done.returncode, done.stdout) == (2, alone.stdout)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"refault: {deep_trace}: engine shadow cannot replay this: a guest with")

    text = refault("replay", small_trace, deep_trace, "-v", "base")
    assert text.returncode == 2
    assert text.stdout.startswith("refault comparison: small.rft\n")


def test_a_trace_refused_amid_its_events_does_not_stop_the_others(refault, small_trace, tmp_path):
    path = tmp_path / "slots.rft"
    overlapping = Guest(pages=1024).add(EventKind.OP_MEM, flags=1, aux=1, a=512, b=1024)
    path.write_bytes(overlapping.bytes())
    done = refault("replay", path, small_trace, "-v", "base")
    assert done.returncode == 2
    assert done.stderr == f"refault: {path}: memory slot 1 overlaps slot 0\n"
    assert done.stdout.startswith("refault comparison: small.rft\n")


def test_traces_that_are_all_refused_show_no_table(refault, deep_trace):
    done = refault("replay", deep_trace, deep_trace, "-v", "base", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2


def test_variants_that_form_a_series_are_told_patch_by_patch(refault, small_trace):
    plain = refault("replay", small_trace)
    text = " ".join(plain.stdout.split())
    one = refault("replay", small_trace, "-v", "base", "-v", "p3")

    assert "Which to merge, each against the column without it" in text
    assert "1-3 patch 3 (parent-stop-bit): NO EFFECT; changes nothing." in text
    assert "No step breaks anything, and none moves a cost notably." in text
    assert "Which to merge" not in one.stdout


def test_siblings_are_told_each_against_the_first(refault, small_trace):
    done = refault("replay", small_trace, "-v", "p2", "-v", "p4", "-v", "p6")

    assert "  p6  NO EFFECT; changes" in done.stdout
