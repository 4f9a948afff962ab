"""How a batch ended, in a few lines and one exit code.

A verdict that is alarming, or a regression, is a no. A batch that was cancelled, or has cells
without a result, has no verdict unless what there is says no already.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from refault.cli import tables
from refault.cli.exits import ExitCode
from refault.compare import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.client import BatchDocument, Client

_NO_RANK = Verdict.REGRESSION.rank


@dataclasses.dataclass(frozen=True)
class Outcome:
    """``verdict`` is the worst of all cells; ``cells`` has the worst of each column first."""

    batch: BatchDocument
    verdict: Verdict
    exit_code: ExitCode
    cells: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON, for CI systems."""
        return {
            "batch": self.batch["code"],
            "state": self.batch["state"],
            "verdict": self.verdict.value,
            "exit_code": int(self.exit_code),
            "progress": self.batch["progress"],
            "columns": list(self.cells),
        }

    def show(self) -> None:
        """Print it for people."""
        batch, progress = self.batch, self.batch["progress"]
        told = [f"{progress['done']} of {progress['total']} runs"]
        counts = {name: progress[name] for name in ("cached", "failed", "cancelled")}
        told.extend(f"{count} {name}" for name, count in counts.items() if count)
        print(f"{batch['code']}: {batch['state']}, {', '.join(told)}")
        print(f"verdict: {self.verdict.title}")
        if self.cells:
            print()
            tables.show(
                ("column", "verdict", "worst trace", "why"),
                [
                    (cell["column"], cell["word"], cell["trace"], cell["reason"] or "-")
                    for cell in self.cells
                ],
            )


def outcome_of(client: Client, code: str) -> Outcome:
    """How a batch that is over has ended."""
    batch = client.get_batch(code)
    return judged(batch, client.comparison(code)["comparisons"])


def judged(batch: BatchDocument, comparisons: Sequence[dict[str, Any]]) -> Outcome:
    """The outcome of a batch from its comparison."""
    worst: dict[str, dict[str, Any]] = {}
    for comparison in comparisons:
        for column in comparison["columns"]:
            cell = {
                "column": column["label"],
                "verdict": column["verdict"]["name"],
                "word": column["verdict"]["word"],
                "trace": comparison["trace"]["name"],
                "reason": column["reason"],
            }
            known = worst.get(column["label"])
            if known is None or _rank(cell) < _rank(known):
                worst[column["label"]] = cell
    verdict = min((Verdict(cell["verdict"]) for cell in worst.values()), key=lambda v: v.rank)
    return Outcome(
        batch,
        verdict,
        _exit_code(batch, [Verdict(cell["verdict"]) for cell in worst.values()]),
        tuple(cell for cell in worst.values() if cell["verdict"] != Verdict.BASE.value),
    )


def _rank(cell: dict[str, Any]) -> int:
    return Verdict(cell["verdict"]).rank


def _exit_code(batch: BatchDocument, verdicts: Sequence[Verdict]) -> ExitCode:
    if any(verdict.rank <= _NO_RANK for verdict in verdicts):
        return ExitCode.ANSWER_IS_NO
    if batch["state"] != "done" or Verdict.MISSING in verdicts:
        return ExitCode.UNFINISHED
    return ExitCode.OK
