"""How a batch ended, in a few lines and one exit code.

The verdict is the service's (:mod:`refault.compare.overall`), which knows the limits of the
project; only the worst cell of each column is looked for here, to be shown.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from refault.cli import tables
from refault.cli.exits import ExitCode
from refault.compare import Verdict

if TYPE_CHECKING:
    from refault.client import BatchDocument, Client


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
    return judged(client.comparison(code))


def judged(document: dict[str, Any]) -> Outcome:
    """The outcome of a batch from its comparison document."""
    worst: dict[str, dict[str, Any]] = {}
    for comparison in document["comparisons"]:
        for column in comparison["columns"]:
            if column["verdict"]["name"] == Verdict.BASE.value:
                continue
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
    return Outcome(
        document["batch"],
        Verdict(document["verdict"]["status"]),
        ExitCode(document["verdict"]["exit_code"]),
        tuple(worst.values()),
    )


def _rank(cell: dict[str, Any]) -> int:
    return Verdict(cell["verdict"]).rank
