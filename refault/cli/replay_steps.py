"""Which patch: the steps between variants that were given one by one, told as a batch's are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from refault.compare import Scale, Threshold
from refault.compare.costs import Costs
from refault.compare.interactions import Interaction, interactions_of, machines_of
from refault.compare.stages import PlanColumn, PlanSet, stages_among
from refault.compare.steps import Step, TraceEvidence, steps_of

if TYPE_CHECKING:
    from refault.catalogue import Variant

#: One step is what the table says already.
_STEPS_MIN = 2


class Told(NamedTuple):
    """The plan that the variants amount to, with what each patch and what two together do."""

    plan: str = ""
    steps: Sequence[Step] = ()
    interactions: Sequence[Interaction] = ()


def told_of(
    labelled: Sequence[tuple[str, Variant]],
    evidence: Sequence[TraceEvidence],
    weights: Costs | None,
) -> Told:
    """What is to be told; nothing of variants that are no steps, or of one alone."""
    if not evidence:
        return Told()
    columns = [
        PlanColumn(
            label,
            variant.digest,
            PlanSet.of(
                label, variant.base, variant.patches, variant.parameters.to_dict(), str(place)
            ),
            None,
        )
        for place, (label, variant) in enumerate(labelled)
    ]
    plan, stages = stages_among(columns)
    threshold, scale = Threshold(), Scale(weights or Costs())
    steps = steps_of(stages, evidence, threshold, scale) if len(stages) >= _STEPS_MIN else []
    machines = machines_of(plan, columns)
    return Told(plan, steps, interactions_of(machines, evidence, threshold, scale))
