"""A session: one trace under some variants, advanced as far as one likes.

::

    with Session(trace, variants) as session:
        session.advance(to_event=1_340_566)      rows are made once, every host executes them
        session.state()                          what a debugger would show, for each host
        session.snapshot().write(file)           to be resumed elsewhere
        session.advance()
        session.results()                        one for each variant

:func:`replay` runs one to the end. One decode serves every variant: a block of events becomes
operations once, and each variant's host executes the same rows. A result is the same bytes
whatever other variants share its session.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from refault.engines import get_engine
from refault.engines.base import Watch
from refault.errors import ReplayCancelled, ReplayRefused
from refault.replay import lanes, snapshot
from refault.replay.budget import Budget, machine_bytes
from refault.replay.compile import jit
from refault.replay.lowering.rows import RowSource
from refault.results import RunResult
from refault.trace import Block, TraceHeader, TraceReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.replay.operations import Operations

    Part = tuple[Operations, int, int]

#: Later than any event or operation.
_END = 1 << 62


class Session:
    """One trace under some variants; a context manager.

    The trace is decoded once, by the calling thread; ``threads`` others simulate variants in
    parallel. ``is_cancelled`` is called several times a second, and signals are handled, even
    during one long operation. A path is read up to its last whole block, and results say if that
    was not the end. ``events`` is given the text of KVM's tracepoints under the first variant,
    some lines at a time. With ``resume_from`` it begins where that snapshot was taken. All arrays
    together take at most ``memory_bytes``, or the memory of the machine.

    Raises:
        TraceError: the trace is damaged; nothing of it is used.
        ReplayRefused: the trace needs something that an engine lacks, or ``events`` is given
            together with a snapshot.
        ReplayTooLarge: it would take more memory than it may.
        SnapshotRefused: the snapshot is damaged, or of another replay.
    """

    def __init__(
        self,
        trace: Path | TraceReader,
        variants: Sequence[Variant],
        *,
        threads: int = 1,
        is_cancelled: Callable[[], bool] | None = None,
        events: Callable[[str], object] | None = None,
        resume_from: Path | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        if events is not None and resume_from is not None:
            raise ReplayRefused(_ONE_GO)
        warm_up({variant.engine for variant in variants})
        with contextlib.ExitStack() as opened:
            if not isinstance(trace, TraceReader):
                trace = opened.enter_context(TraceReader(trace, allow_truncated=True))
            self.trace = trace
            budget = Budget(memory_bytes or machine_bytes())
            if resume_from is None:
                blocks: Iterator[Block] = trace.blocks()
                self._source = RowSource(trace.header, budget)
                self._hosts = _begun(trace.header, variants, Watch(events=events), budget)
            else:
                resumed = snapshot.read(resume_from, trace.header, variants, budget)
                self._source, self._hosts = resumed.source, resumed.hosts
                blocks = resumed.checked(trace)
            self._events_target = self._operations_target = _END
            # While hosts are in the middle of the latest rows: the event of the next row.
            self._next_event: int | None = None
            self._is_due: Callable[[int], bool] = lambda taken: False  # noqa: ARG005
            self._parts = opened.enter_context(
                contextlib.closing(
                    lanes.execute(
                        self._hosts,
                        self._cut(self._source.parts(blocks, buffers=lanes.BUFFERS)),
                        threads,
                        is_rest=self._is_there,
                        look=functools.partial(_look, self._source, is_cancelled),
                    )
                )
            )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End its threads, and close a trace it opened itself; a second call does nothing."""
        self._opened.close()

    @property
    def events(self) -> int:
        """How many events of the trace are done: all before that one have been executed."""
        return self._source.events if self._next_event is None else self._next_event

    @property
    def operations(self) -> int:
        """How many operations the first variant's host executed."""
        return self._hosts[0].operation_count if self._hosts else 0

    def steps(self) -> Iterator[int]:
        """Advance to the end, some thousand events at a time; yields the events taken so far.

        The hosts need not have finished a step when it is yielded, except as ``rest_when`` says.
        """
        for _, _, taken in self._parts:
            yield taken

    def rest_when(self, is_due: Callable[[int], bool]) -> None:
        """Let all hosts finish a step before it is yielded if ``is_due(events taken)``."""
        self._is_due = is_due

    def advance(self, *, to_event: int | None = None, to_operation: int | None = None) -> bool:
        """Advance until so many events are done, or operations by the first variant's host.

        Both count from the beginning of the trace; without either it advances to the end. Answers
        False if the trace ended before. An operation that the variant's own page limit adds counts
        as one, so it may stop one further on. All hosts have then executed the same rows.

        Raises:
            ReplayCancelled: ``is_cancelled`` said so.
            SimulatorCrashed: an engine has a defect under one of the variants.
        """
        self._events_target = _END if to_event is None else to_event
        self._operations_target = _END if to_operation is None else to_operation
        self._source.stop_at = 0 if to_event is None else to_event
        if self._has_arrived():
            return True
        return any(self._has_arrived() for _ in self._parts)

    def run(
        self,
        *,
        progress: Callable[[int, int], None] | None = None,
        snapshot_every: int = 0,
        on_snapshot: Callable[[snapshot.Snapshot], object] | None = None,
    ) -> None:
        """Advance to the end; parameters as of :func:`replay`."""
        due = snapshot.Schedule(self.events, snapshot_every)
        if on_snapshot is not None:
            self.rest_when(due.has_come)
        reader = self.trace
        for taken in self.steps():
            if progress is not None:
                progress(reader.read_bytes, reader.size_bytes)
            if on_snapshot is not None and due.has_come(taken):
                on_snapshot(self.snapshot())
                due.advance(taken)
        if progress is not None:
            progress(reader.size_bytes, reader.size_bytes)

    def state(self) -> list[dict[str, Any]]:
        """The words of each host under their names, in the order of the variants."""
        return [host.state() for host in self._hosts]

    def snapshot(self) -> snapshot.Snapshot:
        """The state of everything, to be written to a file before the session advances.

        Raises:
            ReplayRefused: it was advanced to an operation, in the middle of rows already made.
        """
        if self._next_event is not None:
            raise ReplayRefused(
                "a snapshot cannot be taken at an operation: advance to an event after it first"
            )
        return snapshot.Snapshot(self._source, self._hosts, self.trace)

    def results(self) -> list[RunResult]:
        """One result for each variant, in their order; the trace must be at its end."""
        skipped = self._source.skipped()
        return [_result(host, self.trace, skipped) for host in self._hosts]

    # --- between decoding and the lanes ---------------------------------------------------

    def _has_arrived(self) -> bool:
        return self.events >= self._events_target or self.operations >= self._operations_target

    def _is_there(self, taken: int) -> bool:
        """Whether all hosts must have finished this part when it is yielded."""
        wants_operations = self._operations_target != _END
        return wants_operations or taken >= self._events_target or self._is_due(taken)

    def _cut(self, parts: Iterator[Part]) -> Iterator[Part]:
        """Parts that end at the requested event or operation."""
        for ops, count, taken in parts:
            at = 0
            while (end := self._end_of_step(ops, at, count, taken)) < count:
                self._next_event = int(ops.event[end])
                yield _rows(ops, at, end), end - at, self._next_event
                at = end
            self._next_event = None
            yield (ops, count, taken) if at == 0 else (_rows(ops, at, count), count - at, taken)

    def _end_of_step(self, ops: Operations, at: int, count: int, taken: int) -> int:
        """The row before which to stop, or ``count``."""
        end = min(count, at + max(1, self._operations_target - self.operations))
        if self._events_target < taken:
            end = min(end, bisect.bisect_left(ops.event, self._events_target, at, count))
        return end


_ONE_GO = "an event log is written in one run: replay from the beginning, without snapshots"


def _rows(ops: Operations, start: int, end: int) -> Operations:
    return type(ops)(*(column[start:end] for column in ops))


def replay(
    trace: Path | TraceReader,
    variants: Sequence[Variant],
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    events: Callable[[str], object] | None = None,
    snapshot_every: int = 0,
    on_snapshot: Callable[[snapshot.Snapshot], object] | None = None,
    resume_from: Path | None = None,
    memory_bytes: int | None = None,
) -> list[RunResult]:
    """Replay one trace under each variant; the results are in the order of ``variants``.

    Parameters as of :class:`Session`. ``progress`` is called with (bytes read, bytes in all), the
    latter 0 for a stream. ``on_snapshot`` is given the state of everything every few thousand
    events, or after every ``snapshot_every`` of them; it may write it to a file
    (:mod:`refault.replay.snapshot`). Resumed from that file, elsewhere or later, a replay of the
    same trace under the same variants gives the same bytes.

    Raises:
        ReplayCancelled: ``is_cancelled`` said so.
        SimulatorCrashed: an engine has a defect under one of the variants; what a callback raises
            is raised as it is.
        RefaultError: as of :class:`Session`.
    """
    if events is not None and on_snapshot is not None:
        raise ReplayRefused(_ONE_GO)
    with Session(
        trace,
        variants,
        threads=threads,
        is_cancelled=is_cancelled,
        events=events,
        resume_from=resume_from,
        memory_bytes=memory_bytes,
    ) as session:
        session.run(progress=progress, snapshot_every=snapshot_every, on_snapshot=on_snapshot)
        return session.results()


def _look(source: RowSource, is_cancelled: Callable[[], bool] | None) -> None:
    """Raise ReplayCancelled if the caller asks for it; called several times a second."""
    if is_cancelled is not None and is_cancelled():
        raise ReplayCancelled(f"cancelled after event {source.events}")


def _begun(
    header: TraceHeader, variants: Sequence[Variant], watch: Watch, budget: Budget
) -> list[Host]:
    hosts = []
    for place, variant in enumerate(variants):
        engine = get_engine(variant.engine)
        if reason := engine.refuses(header, variant):
            raise ReplayRefused(f"engine {engine.name} cannot replay this: {reason}")
        hosts.append(engine.open(variant, header, budget, Watch() if place else watch))
    if header.content == "capture":
        for host in hosts:
            host.begin()
    return hosts


def _result(host: Host, trace: TraceReader, skipped: dict[str, int]) -> RunResult:
    summary, notes = trace.summary, host.notes
    engine = get_engine(host.variant.engine)
    reasons = dict(skipped)
    for reason, count in notes.skipped().items():
        reasons[reason] = reasons.get(reason, 0) + count
    return RunResult(
        trace_digest=summary.digest,
        variant_digest=host.variant.digest,
        simulator_digest=engine.digest,
        event_count=summary.event_count,
        operation_count=host.operation_count,
        instruction_count=summary.instruction_count,
        truncated=summary.truncated,
        counters=host.counters(),
        semantics=notes.semantics(),
        findings=tuple(notes.findings.kept),
        finding_count=notes.findings.count,
        stopped=notes.findings.stopped,
        outcome_digest=notes.outcomes.hexdigest(),
        page_digest=host.page_digest(),
        skipped=reasons,
        work=host.work(),
        answers=notes.answers(),
        engine=engine.name,
        logs=notes.logs(),
        lawful_digest=notes.lawful_digest(),
    )


_warm: set[str] = set()


def warm_up(engines: Iterable[str] = ("shadow",)) -> None:
    """Compile the kernels of these engines, or load them from the cache, in this thread.

    A signal ends it at once.
    """
    wanted = sorted(set(engines) - _warm)
    if not wanted:
        return
    header = TraceHeader("operations", "warm-up", "long", 1)
    nothing = np.zeros(0, np.uint8)
    words = np.zeros(0, np.int64)
    block = Block(0, nothing, nothing, nothing, nothing, np.zeros(0, np.uint32), words, words)
    with jit.compiling_alone():
        for _ in RowSource(header).parts(iter([block])):
            pass
        for name in wanted:
            get_engine(name).warm_up()
    _warm.update(wanted)
