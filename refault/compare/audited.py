"""What the audits of a column and of its base say together: what is repaired, broken, or lawful.

Checks are told apart with the known exception that explains them: a leaf that is too permissive by
``F-X1`` is another defect than one by ``F-X2``, or than one that nothing explains.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from refault.audits import CHECKS, COST_CHECKS, OUTCOME_CHECKS, AuditReport

#: Checks that say whether what an access came out as is what the guest's tables allow.
LAWFUL_CHECKS = OUTCOME_CHECKS | {"F-T3"}
#: Checks of what else is in the outcomes: effects of register writes, and answers to the host.
_ANSWER_CHECKS = frozenset({"F-T8", "F-P2", "F-H1", "F-H2", "F-H3", "F-D1", "F-D3"})
_SEEN_CHECKS = LAWFUL_CHECKS | _ANSWER_CHECKS

#: Checks of numbers that only statistics show: a column is not worse for drifting as was known.
_GAUGE_CHECKS = frozenset({"F-C1", "F-W3"})

#: So many checks are named in one sentence; the section below the table has all of them.
_NAMED_MAX = 3


class Failure(NamedTuple):
    """A check that failed in an audit, and where first; ``exception`` explains it, if known.

    ``place_count`` is the number of different places, all of that check and exception together.
    """

    check: str
    exception: str | None
    place_count: int
    operation_index: int
    event_index: int
    operation: str

    @property
    def key(self) -> tuple[str, str | None]:
        """What makes it the same failure in another audit."""
        return self.check, self.exception

    @property
    def title(self) -> str:
        """What should hold."""
        return CHECKS[self.check]

    @property
    def name(self) -> str:
        """The check, and its exception: ``F-C1 (F-X6, known)``."""
        return self.check if self.exception is None else f"{self.check} ({self.exception}, known)"

    @property
    def places(self) -> str:
        """How often: ``3 places``."""
        return _places(self.place_count)


def failures_of(report: AuditReport) -> tuple[Failure, ...]:
    """What failed in an audit, in the order of CHECKS."""
    found: dict[tuple[str, str | None], Failure] = {}
    for each in report.broken:
        place = (each.operation_index, each.event_index, each.operation)
        now = Failure(each.check, each.exception, each.count, *place)
        known = found.get(now.key)
        if known is not None:
            first = min(known, now, key=lambda failure: failure.operation_index)
            now = first._replace(place_count=known.place_count + now.place_count)
        found[now.key] = now
    order = list(CHECKS)
    return tuple(sorted(found.values(), key=lambda each: (order.index(each.check), each[1] or "")))


class Beside(NamedTuple):
    """A column's audit beside its base's: what fails only there, only in the base, or in both.

    ``tolerated`` fails only in the column, and is a known exception that is not held against it:
    a gauge, or what the base did not live to see.
    ``needless`` are the checks of lost work, with the column's number of places and the base's,
    where they differ.
    """

    new: tuple[Failure, ...]
    tolerated: tuple[Failure, ...]
    repaired: tuple[Failure, ...]
    both: tuple[Failure, ...]
    needless: tuple[tuple[str, int, int], ...]
    is_sampled: bool

    @classmethod
    def of(
        cls, column: AuditReport | None, base: AuditReport | None, base_end: int | None
    ) -> Beside | None:
        """The two together; None unless both audits are there and looked equally closely.

        ``base_end`` is the operation at which the base stopped, or None.
        """
        if column is None or base is None or column.level != base.level:
            return None
        # What only one of the two engines can be checked for says nothing of the other.
        now = [each for each in failures_of(column) if base.has_checked(each.check)]
        before = [each for each in failures_of(base) if column.has_checked(each.check)]
        known = {each.key for each in before}
        fails = {each.key for each in now}
        new = [each for each in now if each.key not in known]
        tolerated = [
            each
            for each in new
            if each.exception is not None
            and (
                each.check in _GAUGE_CHECKS
                or (base_end is not None and each.operation_index > base_end)
            )
        ]
        return cls(
            new=_without_costs([each for each in new if each not in tolerated]),
            tolerated=_without_costs(tolerated),
            repaired=_without_costs([each for each in before if each.key not in fails]),
            both=_without_costs([each for each in now if each.key in known]),
            needless=_needless(column, base),
            is_sampled=base.level.startswith("sampled"),
        )

    @property
    def is_guest_visible(self) -> bool:
        """Whether all that is new is that accesses come out as no table of the guest allows."""
        return all(each.check in LAWFUL_CHECKS for each in self.new)

    @property
    def broken(self) -> str:
        """What fails only in the column, as a sentence."""
        start = "fails"
        if self.is_guest_visible:
            start = "the outcome is one the guest's tables do not allow, and base's is lawful:"
        told = (
            f"{each.name} at operation {each.operation_index} ({each.operation}), "
            f"{each.places}: {each.title}"
            for each in self.new
        )
        text = f"{start} {_listed(list(told))}"
        return text if self.is_guest_visible else f"{text}; base passes"

    @property
    def repairs(self) -> str:
        """What fails only in the base, as a sentence."""
        return f"repairs {_listed([f'{each.name}: {each.title}' for each in self.repaired])}"

    @property
    def exceptions(self) -> str:
        """The known exceptions that only the column meets, as a clause; empty without any."""
        return f"meets {_listed([each.name for each in self.tolerated])}" if self.tolerated else ""

    @property
    def lawful(self) -> str:
        """Where the outcomes differ: which of the two the guest's tables and the host allow.

        Empty if no check that the column repairs is about outcomes.
        """
        if self.repaired:
            seen = any(each.check in _SEEN_CHECKS for each in self.repaired)
            return "where the outcomes differ, base's are not lawful" if seen else ""
        wrong = [each for each in self.both if each.check in _SEEN_CHECKS]
        if wrong:
            return f"neither is lawful throughout: {_both_fail(wrong)}"
        if self.is_sampled:
            return "samples found nothing unlawful in either"
        return "both are lawful"

    @property
    def shared(self) -> str:
        """What is wrong in both and no mere known exception of the structures, as a clause."""
        return _both_fail([e for e in self.both if e.check in _SEEN_CHECKS or e.exception is None])

    @property
    def costs(self) -> str:
        """What explains costs, as a clause; empty if nothing does."""
        return "; ".join(
            f"fails {check} at {_places(now)} (base at {before}): {CHECKS[check]}"
            for check, now, before in self.needless
        )


def own_failures(report: AuditReport) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
    """What fails in one audit alone: what nothing explains, and the known exceptions."""
    found = _without_costs(failures_of(report))
    unknown = tuple(each for each in found if each.exception is None)
    return unknown, tuple(each for each in found if each.exception is not None)


def of_base(failures: Sequence[Failure]) -> str:
    """What fails in the base, as a sentence."""
    told = (
        each.name
        if each.exception is not None
        else f"{each.name} at operation {each.operation_index}, {each.places}: {each.title}"
        for each in failures
    )
    return f"the base fails {_listed(list(told))}"


def _without_costs(failures: Collection[Failure]) -> tuple[Failure, ...]:
    return tuple(each for each in failures if each.check not in COST_CHECKS)


def _needless(column: AuditReport, base: AuditReport) -> tuple[tuple[str, int, int], ...]:
    now, before = column.failed, base.failed
    counts = ((name, now.get(name, 0), before.get(name, 0)) for name in sorted(COST_CHECKS))
    return tuple((name, here, there) for name, here, there in counts if here != there)


def _both_fail(failures: Sequence[Failure]) -> str:
    return f"both fail {', '.join(each.name for each in failures)}" if failures else ""


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count:,} places"


def _listed(told: Sequence[str]) -> str:
    more = len(told) - _NAMED_MAX
    ending = f"; and {more} more check{'s' if more > 1 else ''}" if more > 0 else ""
    return "; ".join(told[:_NAMED_MAX]) + ending
