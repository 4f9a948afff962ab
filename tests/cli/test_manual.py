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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_every_shell(tmp_path, shell):
    answer = run(tmp_path, "--show-completion", shell)

    assert answer.returncode == 0, answer.stderr
    assert "_COMPLETE=complete_" in answer.stdout


def test_a_shell_completes_verbs_and_options(tmp_path):
    def complete(words):
        given = environment(
            tmp_path,
            _REFAULT_COMPLETE="complete_bash",
            COMP_WORDS=f"refault {words}",
            COMP_CWORD=str(len(words.split(" "))),
        )
        program = [
            "-c",
            "import sys; sys.argv[0] = 'refault'; from refault.cli.main import main; main()",
        ]
        asked = [command()[0], *program]
        return subprocess.run(asked, env=given, capture_output=True, text=True, check=True).stdout

    assert complete("re").split() == ["replay", "report", "repro"]
    assert complete("batches ").split() == ["list", "show", "cancel", "resume", "retry"]
    assert "--dry-run" in complete("submit --dr").split()
