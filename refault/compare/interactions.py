"""Where two patches together do more, or less, than the sum of what each does alone.

::

    base ──── one          alone     (one - base) + (other - base)
      │        │           together  both - base
    other ── both          term      together - alone

Four columns that differ in two patches and in nothing else: found among the columns of any plan,
and of several batches side by side (a series and an ablation of the same patches have them).
Counts add up, so the term is exact; the factor is what a waterfall, which multiplies, is off by.
Beside numbers stand defects: what goes wrong only together, and what one mends of the other.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from refault.catalogue import is_kernel
from refault.catalogue import patches as catalogue_patches
from refault.compare import layout
from refault.compare.balance import Pan, Scale
from refault.compare.judging import judge
from refault.compare.percent import change_text
from refault.compare.repairs import are_comparable
from refault.compare.stages import PlanColumn, values_of
from refault.compare.steps import TraceEvidence, named
from refault.compare.thresholds import Threshold, costs_among
from refault.facts import Facts
from refault.results import COUNTERS

#: Patches of the catalogue that change no knob.
_IDLE = frozenset(patch.id for patch in catalogue_patches() if not patch.knobs)
#: Pairs that are told of one comparison.
PAIRS_MAX = 40
#: Patches that the search for them may touch: it takes their square for each column.
_TOUCHED_MAX = 3_000_000
#: Traces of a pair in JSON, the largest terms first.
_TRACES_MAX = 20
_CYCLES = "cycles"
_FACTORS = ("exits", _CYCLES)
#: Counters named in one sentence.
_TOLD_MAX = 3

ONLY_TOGETHER, MENDED, ADDED = "only together", "mended", "added"
"""What becomes of the guest: wrong under both alone; wrong under one and not both; neither."""


class Machine(NamedTuple):
    """A column with the patches it has; ``ground`` is everything else that it is made of."""

    label: str
    variant_digest: str
    ground: str
    patches: tuple[str, ...]


class Quad(NamedTuple):
    """Four columns that differ in two patches."""

    patches: tuple[str, str]
    base: Machine
    one: Machine
    other: Machine
    both: Machine

    @property
    def machines(self) -> tuple[Machine, Machine, Machine, Machine]:
        """The four columns, the one without either first."""
        return self.base, self.one, self.other, self.both


class Term(NamedTuple):
    """One number under each of the four; ``is_notable`` if its term is beyond the threshold."""

    base: int
    one: int
    other: int
    both: int
    is_notable: bool

    @property
    def alone(self) -> int:
        """The sum of what each does alone."""
        return self.one + self.other - 2 * self.base

    @property
    def together(self) -> int:
        """What both do."""
        return self.both - self.base

    @property
    def term(self) -> int:
        """What is left: below zero, both save more than each alone."""
        return self.together - self.alone

    @property
    def factor(self) -> float | None:
        """What the product of two ratios is off by."""
        if not (self.base and self.one and self.other and self.both):
            return None
        return self.both * self.base / (self.one * self.other)

    @property
    def share(self) -> float:
        """The size of the term beside the numbers."""
        return abs(self.term) / max(self.base, self.both, 1)

    def to_dict(self) -> dict[str, int | bool]:
        """The term as JSON."""
        sums = {"alone": self.alone, "together": self.together, "term": self.term}
        return self._asdict() | sums


class PairCell(NamedTuple):
    """A pair on one trace, a term for each cost and the modelled cycles.

    No terms where something is wrong under one of the four, or where they are not comparable.
    """

    trace: str
    kind: str
    terms: Mapping[str, Term]

    @property
    def notable(self) -> list[tuple[str, Term]]:
        """The terms beyond the threshold, in the order of the costs."""
        return [(name, term) for name, term in self.terms.items() if term.is_notable]


@dataclasses.dataclass(frozen=True, slots=True)
class Interaction:
    """Two patches over all traces."""

    quad: Quad
    cells: tuple[PairCell, ...]

    @property
    def is_notable(self) -> bool:
        """Whether there is something to say of it."""
        return any(cell.kind != ADDED or cell.notable for cell in self.cells)

    @property
    def sentence(self) -> str:
        """What both do that neither does alone, the guest first."""
        one, other = self.quad.patches
        both = f"{one} and {other}"
        told = []
        if traces := self._wrong(ONLY_TOGETHER):
            told.append(f"{both} go wrong only together, on {named(traces)}")
        if traces := self._wrong(MENDED):
            told.append(f"what goes wrong under one of {both} on {named(traces)} is mended by both")
        moved = [cell for cell in self.cells if cell.notable]
        if moved:
            most = max(moved, key=lambda cell: max(term.share for _, term in cell.notable))
            counts = ", ".join(
                f"{name} {change_text(term.together)} (alone {change_text(term.alone)})"
                for name, term in most.notable[:_TOLD_MAX]
            )
            more = f"; so on {layout.counted(len(moved) - 1, 'more trace')}" if moved[1:] else ""
            told.append(f"{both} together are not the sum of each alone on {most.trace}: {counts}")
            told[-1] += more
        return "; ".join(told) if told else f"{both} do together what each does alone"

    def _wrong(self, kind: str) -> list[str]:
        return [cell.trace for cell in self.cells if cell.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """The interaction as JSON, with the traces that have the largest terms."""
        quad = self.quad
        names = ("base", "one", "other", "both")
        told = sorted(
            self.cells,
            key=lambda cell: -max((term.share for term in cell.terms.values()), default=2.0),
        )
        return {
            "one": quad.patches[0],
            "other": quad.patches[1],
            "columns": {
                name: {"label": machine.label, "variant_digest": machine.variant_digest}
                for name, machine in zip(names, quad.machines, strict=True)
            },
            "is_notable": self.is_notable,
            "sentence": self.sentence,
            "factors": self._factors(),
            "trace_count": len(told),
            "traces": [
                {
                    "trace": cell.trace,
                    "kind": cell.kind,
                    "terms": {name: term.to_dict() for name, term in cell.terms.items()},
                }
                for cell in told[:_TRACES_MAX]
            ],
        }

    def _factors(self) -> list[dict[str, Any]]:
        found = []
        for name in _FACTORS:
            terms = [cell.terms[name] for cell in self.cells if name in cell.terms]
            factors = [each.factor for each in terms if each.factor]
            if factors:
                mean = round(statistics.geometric_mean(factors), 6)
                found.append({"name": name, "mean": mean, "trace_count": len(factors)})
        return found


def machines_of(plan: str, columns: Sequence[PlanColumn]) -> list[Machine]:
    """The columns of a plan by what they are made of; patches that change no knob are left out.

    A series that begins with such a patch has the same machines as one without it.
    """
    found = []
    for column in columns:
        own, values = column.patch_set, values_of(column) if plan == "matrix" else ""
        base = "" if "base=" in values else own.base
        ground = f"{base}\n{own.parameters}\n{values}"
        patches = column.patches(plan)
        if not is_kernel(own.base):
            patches = tuple(patch for patch in patches if patch not in _IDLE)
        found.append(Machine(column.label, column.variant_digest, ground, patches))
    return found


def quads_of(machines: Sequence[Machine]) -> list[Quad]:
    """Every four of the columns that differ in two patches, each of which changes something."""
    by_patches: dict[tuple[str, frozenset[str]], Machine] = {}
    for machine in machines:
        by_patches.setdefault((machine.ground, frozenset(machine.patches)), machine)
    found: list[Quad] = []
    touched = 0
    for (ground, held), both in by_patches.items():
        touched += len(held) ** 2
        if touched > _TOUCHED_MAX:
            return found
        without = {
            patch: by_patches[ground, held - {patch}]
            for patch in both.patches
            if (ground, held - {patch}) in by_patches
        }
        for one, other in itertools.combinations(without, 2):
            touched += len(held)
            if touched > _TOUCHED_MAX or len(found) >= PAIRS_MAX:
                return found
            base = by_patches.get((ground, held - {one, other}))
            if base is None:
                continue
            quad = Quad((one, other), base, without[other], without[one], both)
            if len({each.variant_digest for each in quad.machines}) == len(quad.machines):
                found.append(quad)
    return found


def interactions_of(
    machines: Sequence[Machine],
    traces: Sequence[TraceEvidence],
    threshold: Threshold,
    scale: Scale | None = None,
) -> list[Interaction]:
    """Each pair of patches whose four columns are there, judged on every trace."""
    weights = Scale() if scale is None else scale
    return [
        Interaction(quad, tuple(_cell(quad, trace, threshold, weights) for trace in traces))
        for quad in quads_of(machines)
    ]


def interactions_text(interactions: Sequence[Interaction], width: int) -> list[str]:
    """Those of which there is something to say, as plain text; nothing if there are none."""
    return sentences_text([each.sentence for each in interactions if each.is_notable], width)


def sentences_text(sentences: Sequence[str], width: int) -> list[str]:
    """The sentences of pairs under their head; nothing if there are none."""
    if not sentences:
        return []
    lines = ["Two patches together, beside the sum of each alone"]
    for each in sentences:
        lines += layout.wrap(f"{each}.", width, first="  ", indent="      ")
    return lines


def _cell(quad: Quad, trace: TraceEvidence, threshold: Threshold, scale: Scale) -> PairCell:
    found = [trace.evidence[machine.variant_digest] for machine in quad.machines]
    wrong = [each.verdict.is_alarming for each in judge(found, threshold, scale)]
    if any(wrong):
        kind = ADDED
        if wrong[3] and not any(wrong[:3]):
            kind = ONLY_TOGETHER
        elif not wrong[0] and not wrong[3]:
            kind = MENDED
        return PairCell(trace.name, kind, {})
    facts = [each.facts for each in found if each.facts is not None]
    is_comparable = len(facts) == len(found) and all(are_comparable(e, facts[0]) for e in facts)
    return PairCell(trace.name, ADDED, _terms(facts, threshold, scale) if is_comparable else {})


def _terms(facts: Sequence[Facts], threshold: Threshold, scale: Scale) -> dict[str, Term]:
    """A term for each cost that all of the four count, and that some change; cycles last."""
    counted = {n for n, v in zip(COUNTERS, facts[0].counters, strict=True) if v is not None}
    names = costs_among(counted)
    pan = Pan.of(facts[0], names, threshold, scale)
    values: dict[str, list[int | None]] = {
        name: [each.counter(name) for each in facts] for name in names
    }
    values[_CYCLES] = [pan.balance(each).now for each in facts]
    few = (facts[0].operation_count - 1) // threshold.operations
    found = {}
    for name, of_four in values.items():
        known = [each for each in of_four if each is not None]
        if len(known) < len(of_four) or len(set(known)) == 1:
            continue
        base, one, other, both = known
        term = Term(base, one, other, both, is_notable=False)
        room = threshold.permille * min(base, both) // 1000
        # Cycles follow from the counts, and are a model: they are told, and decide nothing.
        is_notable = name != _CYCLES and abs(term.term) > max(room, few)
        found[name] = term._replace(is_notable=is_notable)
    return found
