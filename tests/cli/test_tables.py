"""Tables and text on terminals of any width."""

import os

import pytest

from refault.cli import tables
from refault.cli.outcome import judged
from tests.compare.test_text import terminal_width


class Terminal:
    """Standard output that is a terminal of so many columns."""

    def __init__(self, monkeypatch, columns):
        self.text = ""
        monkeypatch.setattr("sys.stdout", self)
        size = os.terminal_size((columns, 24))
        monkeypatch.setattr("shutil.get_terminal_size", lambda: size)

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_table_fits_the_terminal(monkeypatch, columns):
    out = Terminal(monkeypatch, columns)
    head = [f"a rather long head {n}" for n in range(8)]
    tables.show(head, [["linux61-workload-1cpu"] * 8] * 2)
    assert max(map(terminal_width, out.text.splitlines())) <= columns


@pytest.mark.parametrize(("columns", "width"), [(40, 60), (60, 60), (80, 80), (500, 200)])
def test_text_is_as_wide_as_the_terminal_within_bounds(monkeypatch, columns, width):
    Terminal(monkeypatch, columns)
    assert tables.text_width(72) == width


def test_text_in_a_pipe_has_the_width_of_a_mail(capsys):
    assert tables.text_width(72) == 72


def outcome_of(reason):
    verdict = {"name": "regression", "word": "worse"}
    return judged(
        {
            "batch": {
                "code": "b-1",
                "state": "done",
                "progress": {"done": 1, "total": 1},
                "links": {"page": "/b"},
            },
            "answer": "Patch 1 (p) costs more.",
            "verdict": {"status": "regression", "exit_code": 1},
            "comparisons": [
                {
                    "trace": {"name": "boot"},
                    "columns": [{"label": "1", "verdict": verdict, "reason": reason}],
                }
            ],
        }
    )


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_whole_why_of_a_batch_is_shown(monkeypatch, columns):
    out = Terminal(monkeypatch, columns)
    reason = ", ".join(f"counter_{n} +{n}.0%" for n in range(1, 40))
    outcome_of(reason).show()
    assert " ".join(out.text.split()).endswith(f"1: {reason}.")
    assert "1 of 1 run\n" in out.text
    assert "Patch 1 (p) costs more." in out.text
    assert "…" not in out.text
    assert max(map(terminal_width, out.text.splitlines())) <= columns
