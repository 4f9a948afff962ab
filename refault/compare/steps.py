"""Which patch does what: each patch of a plan against the column without it, over all traces.

::

    series     base ── 1 ── 1-2 ── 1-3      patch 3 is 1-3 against 1-2
    ablation   whole, without p, without q   patch p is whole against "without p"
    each       base, one, other              siblings: each against the first column

A defect enters with the step that has it first; later steps carry it on until one ends it. What to
merge is one word, by rule from what the steps did, never by hand.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from refault.catalogue import patches as catalogue_patches
from refault.compare.balance import Scale
from refault.compare.briefly import brief
from refault.compare.judging import Evidence, judge
from refault.compare.overall import JudgedTrace
from refault.compare.stages import Stage
from refault.compare.thresholds import Threshold
from refault.compare.verdicts import MOVES, Judgement, Verdict

CARRIES = "carries"
"""What is wrong in this column is wrong in the column before, and no more."""

DO_NOT, TAKE, COSTS_MORE, NO_EFFECT, UNKNOWN = (
    "do not",
    "take",
    "costs more",
    "no effect",
    "unknown",
)
_HEADLINE = "exits"
#: Patches of the catalogue that are another form of one, by their ids.
_FORM_OF = {patch.id: patch.form_of for patch in catalogue_patches() if patch.form_of}
#: Modelled cycles to those before, up to which mending one's own series costs nothing to speak of.
_WORTH = 1.01
_SAME = frozenset({Verdict.UNCHANGED, Verdict.IDENTICAL})
_MORE = frozenset({Verdict.REGRESSION, Verdict.MIXED_WORSE})
_SAVED = frozenset({Verdict.IMPROVEMENT, Verdict.MIXED})
NAMED_MAX = 3


class TraceEvidence(NamedTuple):
    """One trace with what its columns are judged by, by digest of the variant."""

    name: str
    digest: str | None
    evidence: Mapping[str, Evidence]


# Where a reason goes on with values, further checks or counts.
_MORE_TO_SAY = re.compile(r" \(|; ")


class StepCell(NamedTuple):
    """A step on one trace. ``kind`` is a verdict's name, or CARRIES; ratios are to before."""

    trace: TraceEvidence
    judgement: Judgement
    reason: str
    kind: str
    exits: float | None
    cycles: float | None

    @property
    def is_breaking(self) -> bool:
        """Whether something goes wrong here that did not before."""
        return self.judgement.verdict.is_alarming and self.kind != CARRIES


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What one patch does; ``carried_by`` and ``ended_by`` are labels of later columns.

    ``mends`` are the patches before it in its series whose defects it ends; a defect of the base
    itself is not among them.
    """

    stage: Stage
    cells: tuple[StepCell, ...]
    carried_by: tuple[str, ...] = ()
    ended_by: str | None = None
    mends: tuple[str, ...] = ()

    @property
    def breaks(self) -> tuple[StepCell, ...]:
        """The traces on which something goes wrong with this patch, the worst first."""
        found = [cell for cell in self.cells if cell.is_breaking]
        return tuple(sorted(found, key=lambda cell: cell.judgement.verdict.rank))

    @property
    def repairs(self) -> tuple[StepCell, ...]:
        """The traces on which it ends what was wrong before."""
        return tuple(cell for cell in self.cells if cell.judgement.verdict is Verdict.REPAIR)

    @property
    def verdict(self) -> Verdict:
        """The worst that it does; what it only carries on is not its own."""
        own = [cell.judgement.verdict for cell in self.cells if cell.kind != CARRIES]
        return min(own, key=lambda verdict: verdict.rank, default=Verdict.UNCHANGED)

    @property
    def merge(self) -> str:
        """Whether to merge it, in one word, by rule."""
        verdicts = {cell.judgement.verdict for cell in self.cells if cell.kind != CARRIES}
        if self.breaks:
            return DO_NOT
        if Verdict.MISSING in verdicts or not self.cells:
            return UNKNOWN
        if self.repairs:
            # What mends only its own series has to be worth its costs.
            return COSTS_MORE if self.mends and self._mean_cycles > _WORTH else TAKE
        if verdicts & _MORE and not (verdicts & _SAVED and self._mean_cycles < 1):
            return COSTS_MORE
        return TAKE if verdicts & _SAVED else NO_EFFECT

    @property
    def _mean_cycles(self) -> float:
        """The modelled cycles to those before, over all traces; 1 where they are not compared."""
        known = [cell.cycles for cell in self.cells if cell.cycles is not None]
        return statistics.geometric_mean(known) if known else 1.0

    @property
    def sentence(self) -> str:
        """What the patch does, where, and what comes of it."""
        told = [self.defect if self.breaks else "", self._repair(), self._cost()]
        if not any(told):
            told = [self._nothing()]
        return "; ".join(filter(None, told))

    @property
    def defect(self) -> str:
        """What goes wrong with the patch, who carries it on and who ends it."""
        return self._defect(self.breaks[0].reason)

    @property
    def headline(self) -> str:
        """The same with the beginning of the reason only: which check fails where."""
        return self._defect(_MORE_TO_SAY.split(self.breaks[0].reason, maxsplit=1)[0])

    def _defect(self, reason: str) -> str:
        does = _DOES[self.breaks[0].judgement.verdict]
        text = f"{does} on {traces_of(self.breaks)}: {reason}"
        if self.carried_by:
            carry = "carries" if len(self.carried_by) == 1 else "carry"
            text += f"; {', '.join(self.carried_by)} {carry} it on"
        return f"{text}; {self.ended_by} ends it" if self.ended_by else text

    def _repair(self) -> str:
        if not self.repairs:
            return ""
        does = f"mends {named(self.mends)} on" if self.mends else "repairs"
        return f"{does} {traces_of(self.repairs)}: {self.repairs[0].reason}"

    def _cost(self) -> str:
        moved = [c for c in self.cells if c.judgement.verdict in _MORE | _SAVED]
        if not moved:
            return ""
        worst = min(moved, key=lambda cell: cell.judgement.verdict.rank)
        return f"{MOVES[worst.judgement.verdict]} on {traces_of(moved)}: {worst.reason}"

    def _nothing(self) -> str:
        kinds = {cell.kind for cell in self.cells}
        if Verdict.MISSING.value in kinds:
            return "has no result yet"
        if kinds == {Verdict.IDENTICAL.value}:
            return "changes nothing"
        if CARRIES in kinds:
            return "changes no cost notably, and leaves what is wrong before it as it is"
        if Verdict.WITNESSED.value in kinds:
            return "is of another engine: nothing contradicts the real guest"
        return "changes no cost notably"

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON, over all traces; each trace's own verdicts are in its comparison."""
        verdict = self.verdict
        return {
            "patch": self.stage.patch,
            "set": self.stage.now.patch_set.name,
            "number": self.stage.number,
            "title": self.stage.title,
            "patch_title": self.stage.patch_title,
            "label": self.stage.now.label,
            "before": self.stage.before.label,
            "is_removal": self.stage.is_removal,
            "variant_digest": self.stage.now.variant_digest,
            "before_digest": self.stage.before.variant_digest,
            "verdict": {
                "name": verdict.value,
                "title": verdict.title,
                "word": verdict.word,
                "is_alarming": verdict.is_alarming,
            },
            "merge": self.merge,
            "sentence": self.sentence,
            "brief": brief(self),
            "form_of": _FORM_OF.get(self.stage.patch),
            "breaks": [cell.trace.name for cell in self.breaks],
            "repairs": [cell.trace.name for cell in self.repairs],
            "carries": [cell.trace.name for cell in self.cells if cell.kind == CARRIES],
            "carried_by": list(self.carried_by),
            "ended_by": self.ended_by,
            "mends": list(self.mends),
            "costs": self._costs(),
        }

    def _costs(self) -> list[dict[str, Any]]:
        """Exits and modelled cycles as ratios, over the traces where they may be compared."""
        found = []
        for name in (_HEADLINE, "cycles"):
            ratios = [
                (ratio, cell.trace.name)
                for cell in self.cells
                if (ratio := cell.exits if name == _HEADLINE else cell.cycles) is not None
            ]
            if ratios:
                best, worst = min(ratios), max(ratios)
                found.append(
                    {
                        "name": name,
                        "mean": round(statistics.geometric_mean(r for r, _ in ratios), 6),
                        "trace_count": len(ratios),
                        "best": {"trace": best[1], "ratio": round(best[0], 6)},
                        "worst": {"trace": worst[1], "ratio": round(worst[0], 6)},
                    }
                )
        return found


_BASE = re.compile(r"(the )?\bbase\b")
_DOES = {
    Verdict.INTEGRITY: "cannot be trusted",
    Verdict.BROKEN_INVARIANT: "breaks an invariant",
    Verdict.GUEST_VISIBLE_CHANGE: "changes what the guest sees",
    Verdict.CRASHED: "gives no result",
}


def steps_of(
    stages: Sequence[Stage],
    traces: Sequence[TraceEvidence],
    threshold: Threshold,
    scale: Scale | None = None,
) -> list[Step]:
    """Each step judged on every trace, with what becomes of what it breaks."""
    steps = [
        Step(stage, tuple(_cell(stage, trace, threshold, scale) for trace in traces))
        for stage in stages
    ]
    followed = [_followed(place, steps) for place in range(len(steps))]
    return [
        dataclasses.replace(
            step,
            mends=tuple(
                each.stage.title for each in followed if each.ended_by == step.stage.now.label
            ),
        )
        for step in followed
    ]


def of_ablation(
    stages: Sequence[Stage],
    traces: Sequence[TraceEvidence],
    threshold: Threshold,
    scale: Scale | None = None,
) -> tuple[JudgedTrace, ...]:
    """What a batch that leaves patches out is judged by: the whole beside each column without one.

    What goes wrong where a patch is missing is no fault of the whole. The whole itself stands
    first, and is wrong if it is so by itself.
    """
    found = []
    for trace in traces:
        for whole in dict.fromkeys(stage.now for stage in stages):
            mine = [stage for stage in stages if stage.now == whole]
            cells = [_cell(stage, trace, threshold, scale) for stage in mine]
            own, *_ = judge([trace.evidence[whole.variant_digest]], threshold, scale)
            labels = [whole.label, *(f"{whole.label} beside {s.before.label}" for s in mine)]
            judgements = [own, *(cell.judgement._replace(reason=cell.reason) for cell in cells)]
            digests = [whole.variant_digest] * len(labels)
            found.append(JudgedTrace(trace.name, trace.digest, labels, digests, judgements))
    return tuple(found)


def decisive(
    plan: str,
    base: int,
    stages: Sequence[Stage],
    traces: Sequence[TraceEvidence],
    judged: Sequence[JudgedTrace],
    threshold: Threshold,
    scale: Scale | None = None,
) -> tuple[JudgedTrace, ...]:
    """What the verdict on a whole batch rests on: its cells, or for an ablation its steps.

    ``judged`` are the cells against the column ``base``.
    """
    if plan == "ablation" and base == 0:
        return of_ablation(stages, traces, threshold, scale) or tuple(judged)
    return tuple(judged)


def _cell(
    stage: Stage, trace: TraceEvidence, threshold: Threshold, scale: Scale | None
) -> StepCell:
    before, now = (trace.evidence[each.variant_digest] for each in (stage.before, stage.now))
    if stage.before.variant_digest == stage.now.variant_digest:
        # A patch that changes no knob: the same machine, wrong or not.
        own, judgement = judge([now, now], threshold, scale)
    else:
        own, judgement = judge([before, now], threshold, scale)
    is_as_before = judgement.reason.endswith("as under base") or (
        stage.before.variant_digest == stage.now.variant_digest
    )
    is_carried = own.verdict.is_alarming and judgement.verdict.is_alarming and is_as_before
    kind = CARRIES if is_carried else judgement.verdict.value
    exits = cycles = None
    if judgement.balance and before.facts and now.facts:
        exits = _ratio(now.facts.counter(_HEADLINE), before.facts.counter(_HEADLINE))
        cycles = _ratio(judgement.balance.now, judgement.balance.before)
    # What judges call the base is the column without the patch.
    # A label is no template: it may have a backslash.
    reason = _BASE.sub(lambda _: stage.before.label, judgement.reason)
    return StepCell(trace, judgement, reason, kind, exits, cycles)


def _ratio(now: int | None, before: int | None) -> float | None:
    return now / before if now and before else None


def _followed(place: int, steps: Sequence[Step]) -> Step:
    """The step with the later columns that carry on what it breaks, and the one that ends it."""
    step = steps[place]
    broken = {cell.trace.digest for cell in step.breaks}
    if not broken or step.stage.is_removal:
        return step
    carried: list[str] = []
    label = step.stage.now.label
    for later in steps[place + 1 :]:
        if later.stage.before.label != label:
            break
        label = later.stage.now.label
        cells = [cell for cell in later.cells if cell.trace.digest in broken]
        if all(cell.judgement.verdict is Verdict.REPAIR for cell in cells):
            return dataclasses.replace(step, carried_by=tuple(carried), ended_by=label)
        if not any(cell.judgement.verdict.is_alarming for cell in cells):
            break
        carried.append(label)
    return dataclasses.replace(step, carried_by=tuple(carried))


def traces_of(cells: Sequence[StepCell]) -> str:
    """The traces of some cells, the first of them by name."""
    return named([cell.trace.name for cell in cells])


def named(names: Sequence[str]) -> str:
    """Some names, the first of them in full."""
    shown = list(names[:NAMED_MAX])
    if len(names) > NAMED_MAX:
        return f"{', '.join(shown)} and {len(names) - NAMED_MAX} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
