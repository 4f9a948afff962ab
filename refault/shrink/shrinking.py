"""Shrinks a trace: finds where the property shows first, begins late, and reduces what is left."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from typing import TYPE_CHECKING, Any

from refault.catalogue import is_kernel, resolve
from refault.engines import get_engine
from refault.errors import RefaultError, ShrinkRefused
from refault.linux.variants import resolve_kernel
from refault.replay.session import warm_up
from refault.shrink import rerooting
from refault.shrink.journal import Journal
from refault.shrink.looking import Seen, look_for
from refault.shrink.reducing import Reducer
from refault.shrink.trials import UNMAPPED, Demands, OutOfTime, Trials
from refault.trace.format import MAX_LOSSES, MAX_MAP_ENTRIES
from refault.trace.reader import trace_digest
from refault.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from refault.catalogue import Variant
    from refault.shrink.program import Mask, Program
    from refault.shrink.wanted import Wanted
    from refault.trace import TraceHeader, TraceSummary

#: Raised when another order of the search would make other bytes of the same trace.
SEARCH_VERSION = 6


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a shrinking is: what it does, the events left, the judgements made, and the seconds.

    ``read`` and ``size`` are bytes of the trace while it is read, else 0.
    """

    stage: str
    events: int
    tests: int
    seconds: float
    read: int = 0
    size: int = 0


@dataclasses.dataclass(frozen=True)
class Shrunk:
    """What came out.

    ``shown`` is what the variant (or both) shows on the result, by name. ``reference`` is the
    variant that shows nothing of the kind, or None where there is none. ``is_proved``: the access
    is one that no tables since the vCPU's last flush allow. ``is_minimal``: no single event can
    go; if not, the time was used up, and the next call goes on. ``resumed`` judgements were found
    in the state of an earlier call.
    """

    wanted: Wanted
    source_digest: str
    source_events: int
    first_event: int
    summary: TraceSummary
    shown: dict[str, int]
    reference: str | None
    is_proved: bool
    is_minimal: bool
    tests: int
    accepted: int
    resumed: int
    seconds: float


@dataclasses.dataclass
class Job:
    """What to shrink, how long, and whom to tell.

    ``state`` is the file of judgements, or None. ``minutes`` ends the search early, with what it
    has. ``on_progress`` is called some times a second; what it raises ends the work, which the
    next call goes on with.
    """

    trace: Path
    wanted: Wanted
    out: Path
    state: Path | None = None
    minutes: float | None = None
    on_progress: Callable[[Progress], object] = lambda progress: None  # noqa: ARG005


def shrink(job: Job) -> Shrunk:
    """Write the smallest trace that still shows what is wanted to ``job.out``.

    Raises:
        NothingToShrink: the trace does not show it; the message says what it shows.
        TraceError: the trace is damaged, or the result cannot be written.
        ReplayRefused: an engine cannot replay the trace.
        ReplayTooLarge: the property needs more events than are held in memory.
    """
    return _Shrinking(job).run()


class _Shrinking:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._wanted = job.wanted
        self._begun = time.monotonic()
        self._stage, self._events = "looking for it", 0
        self._trials: Trials | None = None
        self._reference = self._resolved_reference()
        variants = [*self._wanted.variants, *([self._reference] if self._reference else [])]
        warm_up({variant.engine for variant in variants} | {"walk"})

    def run(self) -> Shrunk:
        job = self._job
        deadline = None if job.minutes is None else self._begun + 60 * job.minutes
        digest = trace_digest(job.trace)
        with Journal(job.state, self._identity(digest)) as journal:
            seen = self._look(journal, digest)
            if self._wanted.name in seen.of_reference:
                self._reference = None
            trials = Trials(self._wanted, journal, on_test=self._tell, deadline=deadline)
            self._trials = trials
            try:
                program, kept, demands = self._begin_late(trials, seen)
            except OutOfTime as error:
                raise ShrinkRefused(
                    "the time was used up before a shorter trace was found; the same command goes "
                    "on, with a larger --budget or without one"
                ) from error
            reducer = Reducer(trials, program, kept, demands, self._on_stage)
            with contextlib.suppress(OutOfTime):
                reducer.reduce()
            shrunk = self._written(trials, reducer, demands, seen, journal)
            if shrunk.is_minimal:
                journal.remove()
        return shrunk

    def _resolved_reference(self) -> Variant | None:
        wanted = self._wanted.reference
        if wanted is None:
            return None
        return resolve_kernel(wanted) if is_kernel(wanted.base) else resolve(wanted)

    def _identity(self, digest: str) -> dict[str, Any]:
        """What a file of judgements belongs to."""
        names = {variant.engine for variant in self._wanted.variants} | {"walk"}
        return {
            "search": SEARCH_VERSION,
            "trace": digest,
            "keep": self._wanted.text,
            "variants": [variant.digest for variant in self._wanted.variants],
            "engines": {name: get_engine(name).digest for name in sorted(names)},
        }

    # --- progress ------------------------------------------------------------------------

    def _on_stage(self, stage: str, events: int) -> None:
        self._stage, self._events = stage, events
        self._tell()

    def _tell(self, read: int = 0, size: int = 0) -> None:
        seconds = time.monotonic() - self._begun
        tests = 0 if self._trials is None else self._trials.tests
        self._job.on_progress(Progress(self._stage, self._events, tests, seconds, read, size))

    # --- the first place -------------------------------------------------------------------

    def _look(self, journal: Journal, digest: str) -> Seen:
        """The first place of the property: as an earlier call found it, or by running the trace."""
        known = journal.fact("seen")
        if known is not None:
            return Seen.from_dict(known)
        try:
            seen = look_for(self._job.trace, digest, self._wanted, self._reference, self._tell_read)
        except RefaultError:
            journal.remove()
            raise
        journal.keep("seen", seen.to_dict())
        return seen

    def _tell_read(self, events: int, read: int, size: int) -> None:
        self._events = events
        self._tell(read, size)

    # --- a late beginning -------------------------------------------------------------------

    def _begin_late(self, trials: Trials, seen: Seen) -> tuple[Program, Mask, Demands]:
        """The shortest trace that begins late and passes, and what is demanded from now on."""
        self._stage = "a late beginning"
        proofs = (True, False) if self._wanted.is_guest_visible else (False,)
        for is_proof, is_verified in itertools.product(proofs, (True, False)):
            demands = Demands(
                self._reference,
                is_proof=is_proof,
                is_verified=is_verified,
                is_mapped=False,
                tolerated=seen.of_reference,
            )
            for program in rerooting.programs(self._job.trace, seen.end, self._tell):
                self._events = program.block.event_count
                kept = trials.judge(program, program.everything(), demands)
                if kept is not None:
                    skipped = trials.skipped(program, kept)
                    return program, kept, demands._replace(is_mapped=UNMAPPED not in skipped)
        raise ShrinkRefused(self._no_proof())

    def _no_proof(self) -> str:
        kind, label = self._wanted.name or "the difference", self._wanted.labels[0]
        return (
            f"{label} shows {kind}, but not once the accesses are left out that the guest's own "
            "tables contradict: the trace's own witnesses do not agree (refault verify tells where)"
        )

    # --- the result ---------------------------------------------------------------------------

    def _written(
        self, trials: Trials, reducer: Reducer, demands: Demands, seen: Seen, journal: Journal
    ) -> Shrunk:
        self._on_stage("writing", reducer.events)
        block = reducer.program.taken(reducer.kept)
        header = self._header(reducer.program, seen, trials, demands)
        with TraceWriter(self._job.out, header) as writer:
            writer.append_block(block)
            summary = writer.close()
        rows = trials.lowered(header, block).rows
        told = trials.shown_by(header, rows)
        return Shrunk(
            wanted=self._wanted,
            source_digest=seen.digest,
            source_events=seen.events,
            first_event=seen.end - 1,
            summary=summary,
            shown=told,
            reference=None if self._reference is None else self._reference.name,
            is_proved=demands.is_proof,
            is_minimal=reducer.is_minimal,
            tests=trials.tests,
            accepted=trials.accepted,
            resumed=journal.resumed,
            seconds=time.monotonic() - self._begun,
        )

    def _header(
        self, program: Program, seen: Seen, trials: Trials, demands: Demands
    ) -> TraceHeader:
        """The header of the result: what it was made of, and what it has lost."""
        wanted, header = self._wanted, program.header
        variants = {
            f"variant {label}": variant.digest
            for label, variant in zip(wanted.labels, wanted.variants, strict=True)
        }
        provenance: dict[str, str | int] = {
            "made by": "refault shrink",
            "source": seen.digest,
            "source name": header.name,
            "source events": seen.events,
            "keep": wanted.text,
            **variants,
            "reference": "none" if self._reference is None else self._reference.name,
            "begins at event": program.begins,
            "first shown at event": seen.end - 1,
            "tests": trials.tests,
            "accepted": trials.accepted,
        }
        return dataclasses.replace(
            header,
            name=self._job.out.stem,
            origin="edited",
            losses=(*header.losses, *self._losses(program, seen, demands))[:MAX_LOSSES],
            provenance={**_told_before(header), **provenance},
        )

    def _losses(self, program: Program, seen: Seen, demands: Demands) -> list[str]:
        """What the result does not hold, a sentence each."""
        text = self._wanted.text
        cut = f"It was cut from {seen.events:,} events of a trace to those that show {text}"
        losses = [f"{cut}: its counters say nothing about the whole guest."]
        if program.begins:
            losses.append(
                f"It begins at event {program.begins} of that trace, with page tables and "
                "registers as they were; other memory is zero, and what a host had built before is "
                "not there."
            )
        if seen.is_truncated:
            losses.append("The file of that trace ended early: only its whole blocks were read.")
        if not demands.is_verified:
            losses.append("Some of its tables are not in it: refault verify does not call it good.")
        if self._wanted.is_guest_visible and not demands.is_proof:
            losses.append(
                "It is not proved: tables that the guest had since its last flush may allow what "
                "it shows."
            )
        return losses


def _told_before(header: TraceHeader) -> dict[str, str | int]:
    """What the header of the source says of itself, under names of its own."""
    told: dict[str, str | int] = {"source origin": header.origin} if header.origin else {}
    for name, fact in list(header.provenance.items())[: MAX_MAP_ENTRIES // 2]:
        told[f"source: {name}"] = fact
    return told
