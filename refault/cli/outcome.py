"""How a batch ended, in a few lines and one exit code.

The verdict is the service's (:mod:`refault.compare.overall`), which knows the limits of the
project; only the worst cell of each column is looked for here, to be shown.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypedDict

from refault.cli import tables
from refault.cli.exits import ExitCode
from refault.client import shapes
from refault.compare import Verdict, layout
from refault.errors import Refused
from refault.printable import printable

if TYPE_CHECKING:
    from refault.client import BatchDocument, Client


class _Links(TypedDict):
    page: str


class _Batch(TypedDict):
    code: str
    state: str
    progress: dict[str, int | None]
    links: _Links


class _Word(TypedDict):
    name: str
    word: str


class _Column(TypedDict):
    label: str
    verdict: _Word
    reason: str


class _Trace(TypedDict):
    name: str


class _Comparison(TypedDict):
    trace: _Trace
    columns: list[_Column]


class _Verdict(TypedDict):
    status: str
    exit_code: int


class _Document(TypedDict):
    """The part of a batch's comparison that is read."""

    batch: _Batch
    verdict: _Verdict
    comparisons: list[_Comparison]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """``verdict`` is the worst of all cells; ``cells`` has the worst of each column first.

    ``as_base`` are columns that are the base's own machine, so that nothing is compared.
    """

    batch: BatchDocument
    verdict: Verdict
    exit_code: ExitCode
    cells: tuple[dict[str, Any], ...]
    answer: str | None = None
    as_base: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON, for CI systems."""
        return {
            "batch": self.batch["code"],
            "state": self.batch["state"],
            "verdict": self.verdict.value,
            "exit_code": int(self.exit_code),
            "answer": self.answer,
            "progress": self.batch["progress"],
            "columns": list(self.cells),
            "as_base": list(self.as_base),
        }

    def show(self) -> None:
        """Print it for people."""
        batch, progress = self.batch, self.batch["progress"]
        told = [
            f"{progress.get('done') or 0} of {layout.counted(progress.get('total') or 0, 'run')}"
        ]
        counts = {name: progress.get(name) for name in ("cached", "failed", "cancelled")}
        told.extend(f"{count:,} {name}" for name, count in counts.items() if count)
        print(f"{batch['code']}: {batch['state']}, {', '.join(told)}")
        print(f"verdict: {self.verdict.title}")
        width = tables.text_width(100)
        if self.answer:
            print("\n".join(["", *layout.wrap(self.answer, width)]))
        if self.cells:
            print()
            tables.show(
                ("column", "verdict", "worst trace"),
                [(cell["column"], cell["word"], cell["trace"]) for cell in self.cells],
            )
        reasons = [cell for cell in self.cells if cell["reason"]]
        for cell in reasons:
            # In full, however long: this is what a maintainer acts on.
            text = f"{cell['column']}: {cell['reason']}."
            print("\n".join(["", *layout.wrap(text, width, indent="  ")]))
            # Where, so that somebody can look there; on which trace stands in the table.
            for found in cell["findings"]:
                print("\n".join(layout.wrap(found, width, first="  ", indent="    ")))
        for label in self.as_base:
            print(f"\n{label}: the same machine as the base.")


def outcome_of(client: Client, code: str) -> Outcome:
    """How a batch that is over has ended."""
    return judged(client.comparison(code))


def judged(document: dict[str, Any]) -> Outcome:
    """The outcome of a batch from its comparison document; ``Refused`` if it is none."""
    wrong = shapes.misfit(document, _Document)
    try:
        if wrong is not None:
            raise ValueError(wrong)  # noqa: TRY301 - told with the words no enumeration knows
        return _judged(document)
    except ValueError as error:
        message = f"the comparison of the batch cannot be used: {printable(str(error))}"
        raise Refused(
            f"{message}; is the service of another version?", status=200, problem={}
        ) from error


def _judged(document: dict[str, Any]) -> Outcome:
    worst: dict[str, dict[str, Any]] = {}
    as_base: dict[str, None] = {}
    for comparison in document["comparisons"]:
        for column in comparison["columns"]:
            if column["verdict"]["name"] == Verdict.BASE.value:
                as_base |= dict.fromkeys(_words(column, "labels")[1:])
                continue
            cell = {
                "column": column["label"],
                "verdict": column["verdict"]["name"],
                "word": column["verdict"]["word"],
                "trace": comparison["trace"]["name"],
                "reason": column["reason"],
                "findings": _words(column, "findings_text"),
            }
            known = worst.get(column["label"])
            if known is None or _rank(cell) < _rank(known):
                worst[column["label"]] = cell
    answer = document.get("answer")
    return Outcome(
        document["batch"],
        Verdict(document["verdict"]["status"]),
        ExitCode(document["verdict"]["exit_code"]),
        tuple(worst.values()),
        answer if isinstance(answer, str) else None,
        tuple(as_base),
    )


def _words(column: _Column, field: str) -> list[str]:
    """A list of texts that a column may have; what is none is left out."""
    found: Any = column.get(field)
    return [printable(each) for each in found if isinstance(each, str)] if found else []


def _rank(cell: dict[str, Any]) -> int:
    return Verdict(cell["verdict"]).rank
