"""What was measured of one patch, as its rules read it; and what a rule answers."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from refault.audits import AuditReport, Broken
from refault.compare import ComparedColumn, Comparison, Row
from refault.compare.audited import Beside, Failure
from refault.results import Finding as ResultFinding
from refault.thread.topics import PLAIN, Form, Setting, Topic


class Standing(enum.Enum):
    """Whether the data bears an objection out."""

    BORNE_OUT = "borne out"
    IN_PART = "borne out in part"
    REFUTED = "refuted"
    ANSWERED = "the data decides"
    NOT_SEEN = "not seen on these traces"
    NOT_MEASURED = "not for a replay to say"


class Answer(NamedTuple):
    """What the data says: a word, and the numbers it rests on as sentences."""

    standing: Standing
    text: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first operation that guest or host saw come out otherwise than under the base."""

    operation_index: int
    event_index: int
    operation: str
    base: str
    here: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One form on one trace under one setting, beside its base.

    ``column`` is the base's own where both are the same machine. ``samples`` are those of the gauge
    that the topic asks for, in the base's run.
    """

    trace: str
    path: str
    form: Form
    setting: Setting
    comparison: Comparison
    column: ComparedColumn
    difference: Difference | None = None
    samples: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The variant, as ``-v`` takes it."""
        return self.setting.named(self.form.text)

    @property
    def base(self) -> ComparedColumn:
        """The column it is held against."""
        return self.comparison.base

    @property
    def is_same_machine(self) -> bool:
        """Whether it sets nothing that its base does not."""
        return self.column is self.base

    def row(self, counter: str) -> Row | None:
        """A counter over all columns; None where the engine has no such."""
        return next((row for row in self.comparison.counters if row.name == counter), None)

    def value(self, counter: str) -> int:
        """A counter of this form; 0 where it has none."""
        row = self.row(counter)
        place = self.comparison.columns.index(self.column)
        return 0 if row is None else row.values[place] or 0

    def base_value(self, counter: str) -> int:
        """The same counter of the base."""
        row = self.row(counter)
        return 0 if row is None else row.values[0] or 0

    def delta(self, counter: str) -> int:
        """By how much the counter differs from the base's."""
        return self.value(counter) - self.base_value(counter)

    @property
    def beside(self) -> Beside | None:
        """Its audit beside the base's; None without audits, or where it is the base."""
        if self.is_same_machine:
            return None
        end = end_of(self.base)
        return Beside.of(
            self.column.audit, self.base.audit, None if end is None else end.operation_index
        )

    @property
    def new_failures(self) -> tuple[Failure, ...]:
        """Checks that only this form fails, and that nothing known explains."""
        new = () if self.beside is None else self.beside.new
        return tuple(each for each in new if each.exception is None)

    @property
    def known_failures(self) -> tuple[Failure, ...]:
        """Checks that only this form fails, by a known exception."""
        if self.beside is None:
            return ()
        new = (*self.beside.new, *self.beside.tolerated)
        return tuple(each for each in new if each.exception is not None)

    @property
    def repaired(self) -> tuple[Failure, ...]:
        """Checks that only the base fails."""
        return () if self.beside is None else self.beside.repaired

    @property
    def wrong_accesses(self) -> int:
        """Accesses that came out otherwise than the real guest saw, beyond those of the base."""
        if self.column.result is None or self.base.result is None or self.is_same_machine:
            return 0
        return self.column.result.disagreement_count - self.base.result.disagreement_count

    @property
    def stop(self) -> str:
        """How the simulated kernel broke where the base's had not yet; or nothing."""
        here, there = end_of(self.column), end_of(self.base)
        if here is None or (there and there.operation_index <= here.operation_index):
            return ""
        return stop_text(here)

    @property
    def base_stop(self) -> str:
        """How the base's kernel broke where this one runs to the end; or nothing."""
        here, there = end_of(self.column), end_of(self.base)
        return "" if there is None or here is not None else stop_text(there)

    @property
    def both_stop(self) -> bool:
        """Whether both kernels broke, this one no sooner than the base's."""
        return bool(end_of(self.column) and end_of(self.base) and not self.stop)

    @property
    def is_comparable(self) -> bool:
        """Whether both ran to the end, so that their counters are of the same operations."""
        return end_of(self.column) is None and end_of(self.base) is None

    @property
    def beside_base(self) -> Cell:
        """Its base on the same trace under the same setting."""
        form = self.form._replace(text=self.base.labels[0].removesuffix(f",{self.setting.words}"))
        return dataclasses.replace(self, form=form, column=self.base, difference=None)

    @property
    def is_unsound(self) -> bool:
        """Whether it breaks what its base keeps, and nothing known explains it."""
        return bool(self.new_failures or self.wrong_accesses > 0 or self.stop)

    def broken(self, check: str, *, exception: str | None = None) -> Broken | None:
        """The first finding of a check, in this form's own audit."""
        return finding_of(self.column.audit, check, exception)


def end_of(column: ComparedColumn) -> ResultFinding | None:
    """Where the simulated kernel broke, if it did."""
    return None if column.result is None else column.result.stopped


def stop_text(finding: ResultFinding) -> str:
    """How it broke: ``endless-zap at operation 1381``."""
    return f"{finding.kind} at operation {finding.operation_index}"


def finding_of(
    report: AuditReport | None, check: str, exception: str | None = None
) -> Broken | None:
    """The first finding of a check with that exception in an audit."""
    if report is None:
        return None
    found = [e for e in report.broken if e.check == check and e.exception == exception]
    return min(found, key=lambda each: each.operation_index, default=None)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """All cells of a topic: by the form's text and the setting's words, in the traces' order."""

    topic: Topic
    cells: Mapping[tuple[str, str], Sequence[Cell]]

    def of(self, text: str, setting: Setting = PLAIN) -> Sequence[Cell]:
        """The cells of a form under a setting, one for each trace."""
        return self.cells[text, setting.words]

    def every(self, text: str) -> list[Cell]:
        """The cells of a form under every setting of the topic."""
        return [cell for setting in self.topic.settings for cell in self.of(text, setting)]

    @property
    def posted(self) -> list[Cell]:
        """The patch as posted, on every trace, under every setting."""
        return self.every(self.topic.posted.text)

    @property
    def is_audited(self) -> bool:
        """Whether the runs were audited, so that what holds of the structures is known."""
        return all(cell.base.audit is not None for cell in self.posted)

    def total(self, text: str, counter: str, setting: Setting = PLAIN) -> int:
        """A counter of a form, over all traces."""
        return sum(cell.value(counter) for cell in self.of(text, setting))

    def base_total(self, counter: str, setting: Setting = PLAIN) -> int:
        """A counter of the base, over all traces."""
        return sum(cell.base_value(counter) for cell in self.of(self.topic.posted.text, setting))

    def moved(self, text: str, counter: str, setting: Setting = PLAIN) -> int:
        """By how much a counter differs from the base's, over all traces."""
        return self.total(text, counter, setting) - self.base_total(counter, setting)
