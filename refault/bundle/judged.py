"""The comparisons of a bundle's traces, one by one, and what they come to all together."""

from __future__ import annotations

from collections.abc import Sequence

from refault.bundle import layout
from refault.bundle.head import Cell, Head
from refault.compare import Comparison, JudgedTrace, Overall, Scale, compare, overall_of
from refault.compare.answers import answer
from refault.compare.comparison import evidence_of
from refault.compare.interactions import Interaction, interactions_of, machines_of
from refault.compare.overall import judged_trace
from refault.compare.steps import Step, TraceEvidence, decisive, steps_of


class JudgedBatch:
    """Judges a batch as its service does; ``traces`` are the verdicts so far, in order."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.traces: list[JudgedTrace] = []
        self._evidence: list[TraceEvidence] = []
        self._stages = head.stages

    def add(
        self, name: str, digest: str, cells: Sequence[Cell], limits: Sequence[str] = ()
    ) -> Comparison:
        """The comparison of the next trace; raises ComparisonError.

        ``limits`` are sentences of what its numbers cannot say (:mod:`refault.limits`).
        """
        head = self.head
        columns = [cell.of(column) for cell, column in zip(cells, head.columns, strict=True)]
        comparison = compare(
            columns,
            base=head.base,
            trace_name=name,
            trace_digest=digest,
            trace_limits=limits,
            threshold=head.threshold,
        )
        self.traces.append(judged_trace(comparison))
        self._evidence.append(TraceEvidence(name, digest, evidence_of(columns)))
        return comparison

    @property
    def overall(self) -> Overall:
        """The verdict on all traces so far."""
        head = self.head
        found = decisive(
            head.plan,
            head.base,
            self._stages,
            self._evidence,
            self.traces,
            head.threshold,
            Scale(),
        )
        return overall_of(found)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What each patch of the plan does; none of a batch that is too large."""
        if len(self.traces) * len(self.head.columns) > layout.STEP_CELLS:
            return ()
        return tuple(steps_of(self._stages, self._evidence, self.head.threshold, Scale()))

    @property
    def interactions(self) -> tuple[Interaction, ...]:
        """What two patches do together; none of a batch that is too large."""
        head = self.head
        columns = head.plan_columns
        if not columns or len(self.traces) * len(columns) > layout.STEP_CELLS:
            return ()
        machines = machines_of(head.plan, columns)
        return tuple(interactions_of(machines, self._evidence, head.threshold, Scale()))

    @property
    def answer(self) -> str | None:
        """The answer to the plan's question, where there is one."""
        return answer(self.head.plan, self.steps)
