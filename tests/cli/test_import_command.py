import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from refault.cli.exits import ExitCode
from refault.cli.main import app, main
from refault.trace import TraceReader

VECTORS = Path(__file__).parents[1] / "golden" / "vectors"
VECTOR = VECTORS / "s01_first_touch.ops.jsonl.zst"


def capture(folder, name="tiny.ptt", *, records=3):
    """A ptt capture of a few loads."""
    header = struct.pack("<8sIIIIQ32s", b"PTTRACE\0", 1, 24, 1, 16384, 0, bytes(32))
    load = struct.pack("<BBBBIQQ", 1, 0, 0, 3, 5, 0xFFFF888000001000, 0x1000)
    end = struct.pack("<BBBBIQQ", 12, 0, 0, 0, 0, records, 15)
    path = folder / name
    path.write_bytes(header + load * records + end)
    return path


def slow_capture(folder, *, records=200_000):
    """A capture that keeps zstd busy for seconds at its highest level."""
    path = capture(folder, "slow.ptt", records=records)
    data = bytearray(path.read_bytes())
    columns = np.frombuffer(data, np.uint64)[8:-3].reshape(-1, 3)
    columns[:, 1:] = np.random.default_rng(1).integers(0, 1 << 47, (records, 2))
    path.write_bytes(data)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)], catch_exceptions=False)


def failure(monkeypatch, capsys, *arguments):
    """Exit code and standard error of the whole program."""
    monkeypatch.setattr(sys, "argv", ["refault", "import", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


def test_a_vector_and_a_capture_become_traces(tmp_path):
    out = tmp_path / "new" / "folder"
    answer = run(VECTOR, capture(tmp_path), "--out", out, "--ram-mib", 16)

    assert answer.exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["s01_first_touch.rft", "tiny.rft"]
    for path in out.iterdir():
        with TraceReader(path) as reader:
            assert sum(block.event_count for block in reader.blocks()) > 0
        assert str(path) in answer.stdout
        assert reader.summary.digest[:12] in answer.stdout
    assert "tiny.rft: 3 events" in answer.stdout


def test_json_tells_all_there_is(tmp_path):
    answer = run(capture(tmp_path), "--out", tmp_path, "--ram-mib", 16, "--name", "named", "--json")
    (told,) = json.loads(answer.stdout)
    path = tmp_path / "named.rft"

    assert told["trace"] == str(path)
    assert told["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["size_bytes"] == path.stat().st_size
    assert told["events_by_kind"] == {"ACCESS": 3}
    assert told["recorded"]["instructions"] == 15
    with TraceReader(path) as reader:
        assert reader.header.name == "named"
        assert reader.header.slots[0].page_count == 4096


def test_help_shows_an_example():
    assert (
        "refault import linux61-boot-1cpu.ptt.zst --ram-mib 256 --out traces"
        in run("--help").stdout
    )


def test_a_capture_without_memory_size_is_refused(tmp_path, monkeypatch, capsys):
    code, told = failure(monkeypatch, capsys, capture(tmp_path), "--out", tmp_path)

    assert code == ExitCode.BAD_INPUT
    assert "tiny.ptt: a ptt capture does not say how much memory the guest has" in told
    assert "add --ram-mib" in told
    assert not list(tmp_path.glob("*.rft*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["some.txt"], "some.txt cannot be opened: No such file"),
        (["missing.ptt", "--ram-mib", "16"], "missing.ptt cannot be opened: No such file"),
        (["missing.ops.jsonl"], "missing.ops.jsonl cannot be opened: No such file"),
        (["a.ptt", "b.ptt", "--name", "n"], "--name is for one trace"),
        (["a.ptt", "--name", "x/y"], "has no slash"),
        (["a.ptt", "x/a.ptt.zst"], "a.ptt and x/a.ptt.zst would both become"),
        (["a.ptt", "--out", "/dev/null/x"], "/dev/null/x cannot be created: Not a directory"),
    ],
)
def test_arguments_that_make_no_sense_are_told_in_one_line(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, told = failure(monkeypatch, capsys, *arguments)

    assert code == ExitCode.BAD_INPUT
    assert message in told
    assert told.startswith("refault: ")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_capture_leaves_the_traces_before_it_and_nothing_else(
    tmp_path, monkeypatch, capsys
):
    good, bad = capture(tmp_path, "good.ptt"), capture(tmp_path, "bad.ptt")
    bad.write_bytes(bad.read_bytes()[:-5])
    code, told = failure(monkeypatch, capsys, good, bad, "--out", tmp_path, "--ram-mib", 16)

    assert code == ExitCode.BAD_INPUT
    assert "bad.ptt: byte 155: the capture ends inside a record" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.ptt", "good.ptt", "good.rft"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_import_that_is_stopped_leaves_nothing(number, tmp_path):
    source, out = slow_capture(tmp_path), tmp_path / "out"
    arguments = ["import", source, "--out", out, "--ram-mib", "16", "--level", "22"]
    # Ctrl-C works as in a terminal, wherever the tests run.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from refault.cli.main import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None and not list(out.glob("*.partial")):
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(number)
        told = process.communicate()[1].decode()

    assert process.returncode == 128 + number
    assert "Traceback" not in told
    assert list(out.iterdir()) == []


def test_a_pipe_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    pipe = tmp_path / "pipe.ptt"
    os.mkfifo(pipe)  # nobody writes to it: whoever opens it waits for ever
    code, told = failure(monkeypatch, capsys, pipe, "--out", tmp_path, "--ram-mib", 16)

    assert code == ExitCode.BAD_INPUT
    assert "pipe.ptt cannot be read: " in told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.ptt"]


def test_a_trace_is_said_to_be_one_already(tmp_path, monkeypatch, capsys):
    assert run(VECTOR, "--out", tmp_path).exit_code == 0
    trace = tmp_path / "s01_first_touch.rft"
    code, told = failure(monkeypatch, capsys, trace, "--out", tmp_path)

    assert code == ExitCode.BAD_INPUT
    assert f"this is already a trace; `refault replay {trace}` replays it" in told


def test_of_a_folder_all_that_can_be_imported_is(tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    capture(folder)
    (folder / "b.jsonl").write_bytes(b'["vm",1,0]\n')
    (folder / "notes.txt").write_text("hello\n")

    assert run(folder, "--out", out, "--ram-mib", 16).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["b.rft", "tiny.rft"]
    (folder / "b.ops").write_bytes(b'["vm",1,0]\n')
    assert run(folder, "--out", tmp_path / "more", "--ram-mib", 16).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "more").iterdir()) == [
        "b.ops.rft",
        "b.rft",
        "tiny.rft",
    ]
    code, told = failure(monkeypatch, capsys, out, "--out", tmp_path)
    assert code == ExitCode.BAD_INPUT
    assert "none of the 2 files in this folder can be imported; what can be read: " in told


@pytest.mark.parametrize(
    ("content", "look"),
    [
        (b"hello \t`there`\n", "\"hello 'there'\""),
        (b"\x1b[31mred\n", "1b 5b 33 31 6d 72 65 64 0a (.[31mred.)"),
        (bytes(range(90, 200)), "5a 5b 5c 5d 5e 5f 60 61 62 63 64 65 66 67 68 69"),
    ],
)
def test_a_file_of_no_known_kind_is_shown_as_it_begins(
    content, look, tmp_path, monkeypatch, capsys
):
    (tmp_path / "x").write_bytes(content)
    code, told = failure(monkeypatch, capsys, tmp_path / "x", "--out", tmp_path)

    assert code == ExitCode.BAD_INPUT
    assert f"; it begins {look}" in told
    assert "; what can be read: refault traces; a ptt capture" in told
    assert told.count("\n") == 1
