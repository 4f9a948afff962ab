"""Judges candidates: is the guest legal, is the property there, is the reference free of it?

::

    candidate ── lowered ──► walk engine: what the tables no longer give is dropped
                                   │
                                  rows ──► the variant shows it
                                   ├─────► the reference does not
                                   └─────► no tables since the last flush allow the access

A candidate that passes is a proof: its guest is one that a processor would run as the trace says,
an MMU that is sound shows nothing on it, and the variant does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from refault.catalogue import PatchSet, resolve
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.errors import RefaultError
from refault.replay import operations as op
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.lowering.rows import RowSource
from refault.shrink.journal import FAILS, Verdict
from refault.shrink.probes import Findings, Probe, Unjustified, probe_of, reference_of
from refault.shrink.program import digest_of
from refault.shrink.registers import are_lawful
from refault.verify import contradicted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refault.catalogue import Variant
    from refault.shrink.journal import Journal
    from refault.shrink.probes import Rows
    from refault.shrink.program import Mask, Program
    from refault.shrink.wanted import Wanted
    from refault.trace import TraceReader
    from refault.trace.contents import Block, TraceHeader

UNMAPPED = "table-store-applied-without-mapping"
#: Rounds of dropping what the tables no longer give; one round may take away another's mapping.
ROUNDS = 6
_BY_THE_TABLES = (op.WITNESS_TABLE_STORE, op.WITNESS_SNAPSHOT)


class OutOfTime(RefaultError):
    """The budget of minutes is used up."""


class Demands(NamedTuple):
    """What a candidate must satisfy besides showing the property.

    ``reference`` must have no finding (or failed check) but those of ``tolerated``, which it has on
    the whole trace. With ``is_verified`` all witnesses must agree as ``refault verify`` asks them,
    for which the trace must hold every table that they need. With ``is_proof`` the access is one
    that no tables since the last flush allow. With ``is_mapped`` every store to a table goes
    through a mapping.
    """

    reference: Variant | None
    is_proof: bool
    is_verified: bool
    is_mapped: bool
    tolerated: frozenset[str] = frozenset()

    @property
    def flags(self) -> tuple[bool, ...]:
        """What is demanded, for the key of a judgement."""
        return (self.reference is not None, self.is_proof, self.is_verified, self.is_mapped)


class Lowered(NamedTuple):
    """A candidate as rows, and the events that its own tables contradict (by their place)."""

    rows: Rows
    refuted: np.ndarray
    is_illegal: bool


class Trials:
    """Judges candidates one by one, and remembers every answer.

    ``on_test`` is called before each judgement that is not in the journal; what it raises ends the
    shrinking. ``tests`` counts judgements, those from the journal included.
    """

    def __init__(
        self,
        wanted: Wanted,
        journal: Journal,
        *,
        on_test: Callable[[], object] = lambda: None,
        deadline: float | None = None,
    ) -> None:
        self.wanted = wanted
        self.tests = self.accepted = 0
        self._journal = journal
        self._on_test = on_test
        self._deadline = deadline
        self._walk = resolve(PatchSet("walk"))

    def judge(self, program: Program, kept: Mask, demands: Demands) -> Mask | None:
        """The candidate without what its own tables contradict, if it passes; else None.

        Raises:
            OutOfTime: the time is used up.
        """
        candidate = program.taken(kept)
        if not candidate.event_count:
            return None
        self.tests += 1
        key = f"{digest_of(candidate)}-{''.join(str(int(flag)) for flag in demands.flags)}"
        known = self._journal.get(key)
        if known is None:
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise OutOfTime("the time is used up")
            self._on_test()
            known = self._judged(program, kept, demands)
            self._journal.put(key, known)
        if not known.passes:
            return None
        self.accepted += 1
        return _without(program, kept, np.array(known.dropped, np.int64))

    def _judged(self, program: Program, kept: Mask, demands: Demands) -> Verdict:
        places = np.flatnonzero(kept)
        dropped: list[int] = []
        now = kept
        for _ in range(ROUNDS):
            block = program.taken(now)
            lowered = self.lowered(program.header, block, is_mapped=demands.is_mapped)
            if lowered.is_illegal:
                return FAILS
            refuted = lowered.refuted
            if not len(refuted) and demands.is_verified:
                refuted = _contradicted(program.header, block)
            if not len(refuted):
                if not self.passes(program.header, lowered.rows, demands):
                    return FAILS
                return Verdict(passes=True, dropped=np.searchsorted(places, dropped).tolist())
            gone = np.flatnonzero(now)[refuted]
            dropped += gone.tolist()
            now = now.copy()
            now[gone] = False
        return FAILS

    def lowered(self, header: TraceHeader, block: Block, *, is_mapped: bool = False) -> Lowered:
        """The rows of a candidate, held against its own tables."""
        source = RowSource(header)
        rows = _copied(source, iter([block]))
        illegal = is_mapped and UNMAPPED in source.skipped()
        # A vector may give a guest registers that its host is to refuse; a processor ran a capture.
        illegal |= header.content != "operations" and not are_lawful(rows)
        if illegal or header.content == "operations":
            return Lowered(rows, np.zeros(0, np.int64), illegal)
        return self._refuted(header, rows)

    def skipped(self, program: Program, kept: Mask) -> dict[str, int]:
        """The events of a candidate that become no operation, or not as they were, by reason."""
        source = RowSource(program.header)
        for _ in source.parts(iter([program.taken(kept)])):
            pass
        return source.skipped()

    def _refuted(self, header: TraceHeader, rows: Rows) -> Lowered:
        """What an architecture without any cache does otherwise than the trace says."""
        walk = get_engine("walk").open(self._walk, header, Budget(), Watch())
        walk.notes.findings.keep_raw()
        walk.begin()
        events: set[int] = set()
        for ops, count in rows:
            walk.execute(ops, count)
            for raw in walk.notes.findings.raw or []:
                for row in raw[raw[:, rec.DEVIATION] > 0, rec.ROW].tolist():
                    if ops.cls[row] in _BY_THE_TABLES:
                        return Lowered(rows, np.zeros(0, np.int64), is_illegal=True)
                    events.add(int(ops.event[row]))
            walk.notes.findings.raw = []
        return Lowered(rows, np.array(sorted(events), np.int64), is_illegal=False)

    def passes(self, header: TraceHeader, rows: Rows, demands: Demands) -> bool:
        """Whether the property is there, and all that is demanded."""
        probe = probe_of(self.wanted, header)
        try:
            probe.execute(rows)
            if not probe.shows():
                return False
            events = _events_of(probe)
        finally:
            probe.close()
        if not self._is_sound(header, rows, demands):
            return False
        return not demands.is_proof or self.is_proved(header, rows, events)

    def _is_sound(self, header: TraceHeader, rows: Rows, demands: Demands) -> bool:
        """Whether the reference has no finding but what it has on the whole trace."""
        if demands.reference is None:
            return True
        probe = reference_of(self.wanted, demands.reference, header)
        try:
            probe.execute(rows)
            return probe.told().keys() <= demands.tolerated
        finally:
            probe.close()

    def is_proved(self, header: TraceHeader, rows: Rows, events: set[int]) -> bool:
        """Whether one of these events is an access that no tables since the last flush allow."""
        probe = Unjustified(self.wanted.variants, header)
        try:
            probe.execute(rows)
            return probe.covers(rows, events)
        finally:
            probe.close()

    def shown_by(self, header: TraceHeader, rows: Rows) -> dict[str, int]:
        """All that was seen in these rows of the kind that is wanted."""
        probe = probe_of(self.wanted, header)
        try:
            probe.execute(rows)
            return probe.told()
        finally:
            probe.close()


def _contradicted(header: TraceHeader, block: Block) -> np.ndarray:
    """Events whose witnesses the tables of a capture do not give, asked without an engine."""
    if header.content != "capture":
        return np.zeros(0, np.int64)
    return np.array(contradicted(header, block), np.int64)


def rows_of(reader: TraceReader) -> Rows:
    """All rows of a small trace."""
    return _copied(RowSource(reader.header), reader.blocks())


def _copied(source: RowSource, blocks: Iterator[Block]) -> Rows:
    """Rows that are not overwritten by the next part."""
    return [
        (op.Operations(*(column[:count].copy() for column in ops)), count)
        for ops, count, _ in source.parts(blocks)
    ]


def _events_of(probe: Probe) -> set[int]:
    """The events at which what is wanted was seen."""
    if isinstance(probe, Findings):
        return probe.events()
    first = probe.first_event()
    return set() if first is None else {first}


def _without(program: Program, kept: Mask, dropped: np.ndarray) -> Mask:
    """The candidate without some of its events."""
    left = kept.copy()
    left[np.flatnonzero(kept)[dropped]] = False
    return program.lawful(left)
