"""Hosts that run a candidate, and whether they show what is wanted.

A probe opens its hosts, executes rows on them, and answers at any time. What it finds it finds by
the same parts as ``refault replay``, ``refault audit`` and ``refault diverge``.
"""

from __future__ import annotations

import abc
import bisect
from typing import TYPE_CHECKING, Any

from refault.audits import Level
from refault.diverge.measures import Outcomes, counter_of
from refault.diverge.position import open_hosts
from refault.engines import get_engine
from refault.engines.audit import words as au
from refault.engines.audit.host import Host as AuditedModel
from refault.engines.audit.outcome_host import OutcomeHost
from refault.engines.audit.tell import groups_of
from refault.errors import InvalidParameter, ReplayRefused
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.budget import Budget
from refault.results import SHADOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.replay.operations import Operations
    from refault.shrink.wanted import Wanted
    from refault.trace import TraceHeader

    Audited = AuditedModel | OutcomeHost
    Rows = Sequence[tuple[Operations, int]]

#: The column of a run's semantics that counts each of these kinds, also beyond the findings kept.
_COLUMNS = {
    "wrong-address": "wrong_address",
    "missed-fault": "missed_fault",
    "spurious-fault": "spurious_fault",
    "wrong-error-code": "wrong_error_code",
}
#: The check that an access is one the tables allow since the vCPU's last flush.
ACCESS_CHECK = au.T5


class Probe(abc.ABC):
    """The hosts of one candidate; ``lanes`` is what executes its rows."""

    def __init__(self, lanes: Sequence[Any]) -> None:
        self.lanes = lanes

    def execute(self, rows: Rows) -> None:
        """Execute all rows of a candidate, and what comes after its last."""
        for ops, count in rows:
            for lane in self.lanes:
                lane.execute(ops, count)
        self.finish()

    def finish(self) -> None:  # noqa: B027 - most have nothing to do there
        """The end of the trace."""

    def close(self) -> None:
        """Let go of what a host has outside this process."""
        for lane in self.lanes:
            lane.abort()

    @abc.abstractmethod
    def shows(self) -> bool:
        """Whether what is wanted was seen so far."""

    @abc.abstractmethod
    def first_event(self) -> int | None:
        """The event at which it was seen first, if that is known."""

    @abc.abstractmethod
    def told(self) -> dict[str, int]:
        """What was seen of this kind, by name, with how often."""


class Findings(Probe):
    """Findings of a run."""

    def __init__(self, name: str, variant: Variant, header: TraceHeader) -> None:
        self._name = name
        self._hosts = open_hosts(header, [variant], Budget())
        super().__init__(self._hosts)

    def shows(self) -> bool:
        """Whether a finding of the kind was made."""
        return self._name in self.told()

    def first_event(self) -> int | None:
        """The event of the first such finding that was kept."""
        events = self.events()
        return min(events) if events else None

    def events(self) -> set[int]:
        """The events of all such findings that were kept."""
        kept = self._hosts[0].notes.findings.kept
        return {each.event_index for each in kept if each.kind == self._name}

    def told(self) -> dict[str, int]:
        """How many findings of each kind; of kinds without a column, those kept."""
        return findings_of(self._hosts[0])


def findings_of(host: Host) -> dict[str, int]:
    """Findings of a run by kind."""
    semantics = host.notes.semantics()
    counts = {kind: semantics[column] for kind, column in _COLUMNS.items() if semantics[column]}
    for each in host.notes.findings.kept:
        if each.kind not in _COLUMNS:
            counts[each.kind] = counts.get(each.kind, 0) + 1
    return counts


class Checks(Probe):
    """Checks of an audit that failed, known exceptions aside."""

    def __init__(self, name: str, variant: Variant, header: TraceHeader) -> None:
        self._name = name
        # As `refault audit` looks by default.
        level = Level("every" if header.content == "operations" else "flush")
        self.host = audited(variant, header, level)
        super().__init__([self.host])

    def finish(self) -> None:
        """The last check."""
        self.host.finish()

    def shows(self) -> bool:
        """Whether the check failed."""
        return self._name in self.told()

    def first_event(self) -> int | None:
        """The event at which it failed first."""
        for group in groups_of(self.host):
            if group.exception is None and au.NAMES[group.first[au.CHECK]] == self._name:
                return group.first[au.ROW_EVENT]
        return None

    def told(self) -> dict[str, int]:
        """The checks that failed, each with the number of places."""
        counts: dict[str, int] = {}
        for group in groups_of(self.host):
            if group.exception is None:
                name = au.NAMES[group.first[au.CHECK]]
                counts[name] = counts.get(name, 0) + group.count
        return counts


def audited(variant: Variant, header: TraceHeader, level: Level) -> Audited:
    """A host with an audit beside it, before the first row of a trace.

    Raises:
        ReplayRefused: its engine cannot replay the trace.
    """
    if reason := get_engine(variant.engine).refuses(header, variant):
        raise ReplayRefused(f"engine {variant.engine} cannot replay this: {reason}")
    kind = AuditedModel if variant.engine == SHADOW else OutcomeHost
    host = kind(variant, header, Budget(), level)
    if header.content == "capture":
        host.begin()
    return host


class Unjustified(Probe):
    """Accesses that no tables since the vCPU's last flush allow: proofs that a host is wrong."""

    def __init__(self, variants: Sequence[Variant], header: TraceHeader) -> None:
        level = Level("flush")
        self._hosts = [audited(variant, header, level) for variant in variants]
        super().__init__(self._hosts)

    def shows(self) -> bool:
        """Whether there is one."""
        return bool(self._places())

    def first_event(self) -> int | None:
        """The first of them."""
        return min((event for event, _ in self._places()), default=None)

    def told(self) -> dict[str, int]:
        """At how many pages."""
        return {"F-T5": len(self._places())}

    def covers(self, rows: Rows, events: set[int]) -> bool:
        """Whether one of these events is an access to such a page, at that time or later.

        An audit reports a page once, at the first wrong access to it.
        """
        first: dict[int, int] = {}
        for event, page in self._places():
            first[page] = min(event, first.get(page, event))
        for ops, count in rows:
            for event in sorted(events):
                at = bisect.bisect_left(ops.event, event, 0, count)
                while at < count and ops.event[at] == event:
                    page = int(ops.a[at]) >> x86.PAGE_SHIFT
                    is_access = op.LD <= ops.kind[at] <= op.ST1
                    if is_access and page in first and first[page] <= event:
                        return True
                    at += 1
        return False

    def _places(self) -> set[tuple[int, int]]:
        """Event and page of each."""
        found: set[tuple[int, int]] = set()
        for host in self._hosts:
            words, count = host.audit.found, int(host.audit.state[au.FOUND])
            for at in range(0, count * au.FOUND_WORDS, au.FOUND_WORDS):
                if words[at + au.CHECK] == ACCESS_CHECK:
                    page = int(words[at + au.PLACE]) >> x86.PAGE_SHIFT
                    found.add((int(words[at + au.ROW_EVENT]), page))
        return found


class _Read:
    """A host whose outcomes are kept part by part."""

    def __init__(self, host: Host, measure: Outcomes) -> None:
        self.host, self.readings = host, list[Any]()
        self._measure = measure
        self._row = 0

    def execute(self, ops: Operations, count: int) -> None:
        """Execute the rows and keep what was seen of them."""
        self.readings.append(self._measure.run(self.host, ops, count, self._row))
        self._row += count

    def abort(self) -> None:
        """End the host."""
        self.host.abort()


class Divergence(Probe):
    """What guest and host see of two variants; between two engines what the guest sees."""

    def __init__(self, variants: Sequence[Variant], header: TraceHeader) -> None:
        self._measure = Outcomes(variants)
        hosts = open_hosts(header, variants, Budget(), self._measure.watch)
        self._pair = [_Read(host, self._measure) for host in hosts]
        self._event: int | None = None
        super().__init__(self._pair)

    def shows(self) -> bool:
        """Whether they differ."""
        return self.first_event() is not None

    def first_event(self) -> int | None:
        """The event at which they differ first."""
        mine, yours = (lane.readings for lane in self._pair)
        while self._event is None and mine and yours:
            first, second = mine.pop(0), yours.pop(0)
            span = self._measure.difference(first, second)
            if span is not None:
                at = min(span.first - first.row, len(first.events) - 1)
                self._event = int(first.events[at])
        return self._event

    def told(self) -> dict[str, int]:
        """1 where they differ."""
        return {"divergence": 1} if self.shows() else {}


class Counters(Probe):
    """One counter of two variants."""

    def __init__(self, name: str, variants: Sequence[Variant], header: TraceHeader) -> None:
        self._name = name
        self._hosts = open_hosts(header, variants, Budget())
        super().__init__(self._hosts)

    def values(self) -> tuple[int, int]:
        """The counter under both.

        Raises:
            InvalidParameter: one of them has none of that name.
        """
        try:
            first, second = (counter_of(host, self._name) for host in self._hosts)
        except InvalidParameter as error:
            what = str(error).removeprefix("--on ")
            raise InvalidParameter(f"--keep counter:{what}") from error
        return first, second

    def shows(self) -> bool:
        """Whether it is smaller under the first."""
        first, second = self.values()
        return first < second

    def first_event(self) -> int | None:
        """Unknown: a counter has no place."""
        return None

    def told(self) -> dict[str, int]:
        """Both values."""
        first, second = self.values()
        return {f"{self._name} of A": first, f"{self._name} of B": second}


def probe_of(wanted: Wanted, header: TraceHeader) -> Probe:
    """The probe that looks for what is wanted."""
    if wanted.how == "finding":
        return Findings(wanted.name, wanted.variants[0], header)
    if wanted.how == "check":
        return Checks(wanted.name, wanted.variants[0], header)
    if wanted.how == "diverges":
        return Divergence(wanted.variants, header)
    return Counters(wanted.name, wanted.variants, header)


def reference_of(wanted: Wanted, variant: Variant, header: TraceHeader) -> Probe:
    """The same probe of another variant, for a finding or a check."""
    kind = Checks if wanted.how == "check" else Findings
    return kind(wanted.name, variant, header)
