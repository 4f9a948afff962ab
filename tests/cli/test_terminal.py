"""Nothing that is printed moves a cursor, is taken for markup, or ends in a traceback."""

import errno
import io
import json
import subprocess

import pytest
from rich.console import Console

from refault.cli.exits import ExitCode
from refault.cli.progress import Description
from refault.cli.terminal import CleanStream, OutputLost, print_error, print_json
from tests.cli.running import command, environment, run_here


class Full(io.StringIO):
    """A file whose disk is full."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def cleaned(text, encoding="utf-8"):
    below = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    stream = CleanStream(below)
    stream.write(text)
    stream.flush()
    return below.buffer.getvalue()


def test_a_stream_passes_on_no_character_that_a_terminal_obeys():
    assert cleaned("a\tb\r\nc\x1b]0;x\x07\u202e\ud800\x9b\r") == (
        b"a\tb\r\nc\\x1b]0;x\\x07\\u202e\\ud800\\x9b\\r"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_writes_what_its_encoding_lacks_as_an_escape(encoding):
    assert cleaned("a\u2026", encoding) == b"a\\u2026"


def test_a_stream_that_is_closed_or_full_says_so():
    with pytest.raises(OutputLost):
        CleanStream(None).write("x")
    full = CleanStream(Full())
    with pytest.raises(OutputLost, match="No space left"):
        full.flush()
    full = io.StringIO()
    full.close()
    with pytest.raises(OutputLost):
        CleanStream(full).write("x")


def test_json_stays_json_whatever_is_in_it(capsys):
    value = {"\x7f": "".join(map(chr, (0, 27, 127, 155, 0x202E, 0xD800, 0xFFFE)))}

    print_json(value)

    text = capsys.readouterr().out
    assert cleaned(text) == text.encode("ascii")
    assert json.loads(text) == value


def test_a_line_that_follows_in_a_message_is_indented(capsys):
    print_error("first\nrefault: second\n  third")

    assert capsys.readouterr().err == "refault: first\n  refault: second\n  third\n"


def test_the_description_of_a_bar_is_no_markup_and_moves_no_cursor():
    class Task:
        description = "[red]x\x1b[2J"

    console = Console(file=io.StringIO(), width=80)
    console.print(Description().render(Task()))
    assert console.file.getvalue() == "[red]x\\x1b[2J\n"


@pytest.mark.parametrize("name", ["a\x1b[2J[red]b.rft", "a\nb.rft", "a\udcffb.rft", "\u202ea.rft"])
def test_a_file_name_reaches_the_terminal_without_its_escapes(monkeypatch, tmp_path, name):
    for verb in ("replay", "import", "push", "golden"):
        answer = run_here(monkeypatch, tmp_path, verb, tmp_path / name)
        assert answer.returncode == ExitCode.BAD_INPUT
        assert answer.stderr.startswith("refault: ")
        assert answer.stderr.removesuffix("\n").isprintable(), verb


@pytest.mark.parametrize(("closed", "code"), [("1", 141), ("2", 0), ("0", 0)])
def test_a_command_without_one_of_its_streams_is_no_traceback(tmp_path, closed, code):
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command("patches")],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (code, "")


def test_a_full_disk_under_the_output_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            command("patches"), env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip

    assert ended.returncode == ExitCode.OUTPUT_LOST
    assert ended.stderr == "refault: the output cannot be written: No space left on device\n"
