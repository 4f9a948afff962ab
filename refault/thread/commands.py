"""The commands that make the figures of the report again, and walk to a finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from refault.audits import Broken, Level
from refault.thread.blocks import Command
from refault.thread.evidence import Cell

_WALKED = ("gva", "gfn")


def replay(paths: Iterable[str], labels: Sequence[str], level: Level) -> Command:
    """The comparison of some variants, the base first."""
    named = [word for label in labels for word in ("-v", label)]
    return Command("compare", ["refault", "replay", *paths, *named, "--audit", level.name])


def imported(path: str) -> Command:
    """Make a trace of a vector, in the folder one is in."""
    return Command("import", ["refault", "import", path, "--out", "."])


def audit(cell: Cell, level: Level) -> Command:
    """The audit of a form."""
    words = ["refault", "audit", cell.path, "-v", cell.label, "--level", level.name]
    return Command("audit", words)


def profile(cell: Cell) -> Command:
    """The course of the base's counters and gauges over the run, a line a sample."""
    base = cell.base.labels[0]
    return Command("course", ["refault", "profile", cell.path, "-v", base, "--csv"])


def inspect(cell: Cell, broken: Broken) -> Command:
    """The MMU right after the operation at which a check failed."""
    words = ["refault", "inspect", cell.path, "-v", cell.label]
    words += ["--at-operation", str(broken.operation_index + 1)]
    if broken.address is not None and broken.address_kind in _WALKED:
        words += [f"--{broken.address_kind}", f"{broken.address:#x}"]
    if broken.address_kind == "gva" and broken.vcpu:
        words += ["--vcpu", str(broken.vcpu)]
    return Command("look", words)


def diverge(cell: Cell) -> Command:
    """The first operation that comes out otherwise than under the base, and both MMUs around it."""
    base = cell.base.labels[0]
    return Command("first difference", ["refault", "diverge", cell.path, base, cell.label])


def report(path: str) -> Command:
    """The whole report on another trace."""
    return Command("A vector that shows it", ["refault", "report", "seed-thread", path])
