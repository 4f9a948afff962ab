"""Phases of a run, the same ones on both sides, and where they differ first."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal, NamedTuple

from refault.errors import InvalidParameter
from refault.validate.counting import COUNTS, Counts, Curve, Tally

Basis = Literal["marks", "cr3", "time", "whole"]
CHOICES: Final = ("auto", "marks", "cr3", "time", "whole")
MAX_PHASES: Final = 200
_MAX_MARKED: Final = 64


class Phase(NamedTuple):
    """One phase: its name, and the counts of both sides in the order of ``COUNTS``."""

    name: str
    ours: Counts
    host: Counts

    def parted(self, tolerance: float) -> tuple[str, ...]:
        """The counts that differ by more than so many percent of the larger one."""
        return tuple(
            name
            for name, ours, host in zip(COUNTS, self.ours, self.host, strict=True)
            if abs(ours - host) * 100 > tolerance * max(ours, host)
        )


def phases_of(ours: Tally, host: Tally, wanted: str, slices: int) -> tuple[Basis, list[Phase]]:
    """The phases by what was asked for, or by the best measure that both sides have.

    Raises:
        InvalidParameter: one of the sides does not have what was asked for.
    """
    basis = _basis(ours, host, wanted)
    if basis == "whole":
        return basis, [Phase("whole", tuple(ours.totals), tuple(host.totals))]
    curves = ours.curves[basis], host.curves[basis]
    if basis == "time":
        return basis, _by_share(curves, (ours.span, host.span), slices)
    return basis, _by_step(curves, basis, slices)


def _basis(ours: Tally, host: Tally, wanted: str) -> Basis:
    has: dict[Basis, tuple[bool, bool]] = {
        "marks": (ours.mark_count > 0, host.mark_count > 0),
        "cr3": (ours.cr3_count > 1, host.cr3_count > 1),
        "time": (ours.span > 0, host.span > 0),
        "whole": (True, True),
    }
    if wanted == "auto":
        return next(basis for basis, sides in has.items() if all(sides))
    for basis, (is_ours, is_hosts) in has.items():
        if basis == wanted:
            if not (is_ours and is_hosts):
                side = "the host's log" if is_ours else "the trace"
                raise InvalidParameter(
                    f"--phases {wanted}: {side} has none; choose another, or leave it out"
                )
            return basis
    raise InvalidParameter(f"--phases {wanted}: expected one of {', '.join(CHOICES)}")


def _by_step(curves: tuple[Curve, Curve], basis: Basis, slices: int) -> list[Phase]:
    """Phases of so many marks or CR3 writes each, counted alike on both sides."""
    width = max(curve.width for curve in curves)
    for curve in curves:
        curve.widen(width)
    count = max(len(curve.parts) for curve in curves)
    phases = min(count, _MAX_MARKED if basis == "marks" else slices)
    ends = [count * number // phases for number in range(phases + 1)]
    found = []
    for at, end in pairwise(ends):
        sides = [_summed(curve.parts[at:end]) for curve in curves]
        found.append(Phase(_name(basis, at * width, end * width), *sides))
    return found


def _by_share(curves: tuple[Curve, Curve], spans: tuple[int, int], slices: int) -> list[Phase]:
    """Phases of an equal share of each side's own time: the two clocks have nothing in common."""
    sides = []
    for curve, span in zip(curves, spans, strict=True):
        shares: list[list[list[int]]] = [[] for _ in range(slices)]
        for index, part in enumerate(curve.parts):
            shares[min(slices - 1, index * curve.width * slices // (span + 1))].append(part)
        sides.append([_summed(parts) for parts in shares])
    return [
        Phase(f"{100 * at // slices}-{100 * (at + 1) // slices} %", ours, host)
        for at, (ours, host) in enumerate(zip(*sides, strict=True))
    ]


def _name(basis: Basis, first: int, end: int) -> str:
    if basis == "marks":
        return "before mark 1" if first == 0 and end == 1 else f"after mark {first}"
    return f"CR3 {first}-{end - 1}"


def _summed(parts: list[list[int]]) -> Counts:
    return (
        tuple(sum(column) for column in zip(*parts, strict=True)) if parts else (0,) * len(COUNTS)
    )
