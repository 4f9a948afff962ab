import subprocess
from pathlib import Path

import pytest

from refault.cli.exits import MEANINGS, ExitCode, code_of
from refault.cli.manual import manual
from refault.errors import InvalidParameter, Refused, Unavailable
from tests.cli.running import command, environment, run

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "command-line.md"


def test_the_committed_page_is_the_one_the_help_makes():
    assert PAGE.read_text(encoding="utf-8") == manual(), (
        "run: python -m refault.cli.manual > docs/howto/command-line.md"
    )


def test_every_exit_code_is_on_the_page_and_in_the_help(tmp_path):
    page, told = PAGE.read_text(encoding="utf-8"), run(tmp_path, "--help").stdout

    assert set(MEANINGS) == set(ExitCode)
    for code, text in MEANINGS.items():
        assert f"| {code.value} | {text} |" in page
        assert f"{code.value} {text}" in " ".join(told.split())


def test_errors_have_the_exit_code_that_says_what_to_do():
    assert code_of(InvalidParameter("x")) is ExitCode.BAD_INPUT
    assert code_of(Unavailable("x")) is ExitCode.UNREACHABLE
    for status, code in ((401, 4), (404, 4), (422, 2), (429, 3), (503, 3)):
        assert code_of(Refused("x", status=status, problem={})) == code


def as_the_shell_asks(folder, **given):
    """What ``refault`` under its own name prints when completion asks it by environment."""
    program = "import sys; sys.argv[0] = 'refault'; from refault.cli.main import main; main()"
    return subprocess.run(
        [command()[0], "-c", program],
        env=environment(folder, **given),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_every_shell(tmp_path, shell):
    script = as_the_shell_asks(tmp_path, _REFAULT_COMPLETE=f"source_{shell}")

    assert f"_REFAULT_COMPLETE=complete_{shell}" in script


def test_a_shell_completes_verbs_and_options(tmp_path):
    def complete(words):
        return as_the_shell_asks(
            tmp_path,
            _REFAULT_COMPLETE="complete_bash",
            COMP_WORDS=f"refault {words}",
            COMP_CWORD=str(len(words.split(" "))),
        )

    assert sorted(complete("re").split()) == ["replay", "report", "repro"]
    assert complete("batches ").split() == ["list", "show", "cancel", "resume", "retry", "rename"]
    assert "--dry-run" in complete("submit --dr").split()
