"""The only door into the simulator: ``replay(trace, variants)`` → one result a variant.

One decode serves every variant: a block of events becomes operations once, and each
variant's host executes the same rows. Nothing depends on how many variants share a
replay, so a result is the same bytes in any company.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import numpy as np

from refault.catalogue import PatchSet, resolve
from refault.errors import ReplayCancelled, ReplayRefused
from refault.mmu import jit, lanes, snapshot
from refault.mmu import operations as op
from refault.mmu import replay as loop
from refault.mmu.budget import Budget, machine_bytes
from refault.mmu.pageset import page_digest
from refault.mmu.rows import RowSource, operations_of
from refault.mmu.source import SEMANTICS_VERSION, simulator_digest
from refault.mmu.variant_host import ROWS, Host
from refault.results import RunResult
from refault.trace import Block, TraceHeader, TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from refault.catalogue import Variant

__all__ = [
    "ROWS",
    "SEMANTICS_VERSION",
    "Host",
    "operations_of",
    "replay",
    "simulator_digest",
    "warm_up",
]


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
    """Replay one trace under each variant; the results stand in the order of ``variants``.

    The trace is decoded once, by the calling thread; ``threads`` more simulate variants side by
    side. The results are the same bytes however many they are. ``progress`` is told (bytes read,
    bytes in all), the latter 0 for a stream; ``is_cancelled`` is asked several times a second, and
    signals are heard, also while one operation lasts. A path is read up to its last whole block,
    and a result says if that was not the end. ``events`` is given the text of KVM's tracepoints
    under the first variant, some lines at a time.

    ``on_snapshot`` is offered the state of everything every few thousand events, or after
    every ``snapshot_every`` of them; it may write it to a file (:mod:`refault.mmu.snapshot`).
    Resumed from that file, elsewhere or later, a replay of the same trace under the same
    variants gives the same bytes.

    The arrays of all together never take more than ``memory_bytes``, or than the machine has.

    Raises:
        TraceError: the trace is damaged; nothing of it is used.
        ReplayRefused: the trace asks for what no simulated host can have, or ``events`` are
            asked for together with snapshots.
        ReplayTooLarge: it would take more memory than it may.
        ReplayCancelled: ``is_cancelled`` said so.
        SnapshotRefused: the snapshot is damaged, or of something else.
        SimulatorCrashed: the simulator has a defect under one of the variants; what a callback
            raises is never made one, and comes out as it is.
    """
    if events is not None and (on_snapshot is not None or resume_from is not None):
        msg = "an event log is written in one go: replay from the beginning, without snapshots"
        raise ReplayRefused(msg)
    warm_up()
    with contextlib.ExitStack() as opened:
        if not isinstance(trace, TraceReader):
            trace = opened.enter_context(TraceReader(trace, allow_truncated=True))
        budget = Budget(memory_bytes or machine_bytes())
        if resume_from is None:
            source, hosts = _begun(trace.header, variants, events, budget)
            blocks = trace.blocks()
        else:
            resumed = snapshot.read(resume_from, trace.header, variants, budget)
            source, hosts, blocks = resumed.source, resumed.hosts, resumed.checked(trace)
        due = snapshot.Schedule(source.events, snapshot_every)
        executed = lanes.execute(
            hosts,
            source.parts(blocks, buffers=lanes.BUFFERS),
            threads,
            is_rest=due.has_come if on_snapshot else None,
            look=functools.partial(_look, source, is_cancelled),
        )
        for _, _, taken in opened.enter_context(contextlib.closing(executed)):
            if progress is not None:
                progress(trace.read_bytes, trace.size_bytes)
            if on_snapshot is not None and due.has_come(taken):
                on_snapshot(snapshot.Snapshot(source, hosts, trace))
                due.advance(taken)
        if progress is not None:
            progress(trace.size_bytes, trace.size_bytes)
        return [_result(host, trace, source.skipped()) for host in hosts]


def _look(source: RowSource, is_cancelled: Callable[[], bool] | None) -> None:
    """Asked several times a second."""
    if is_cancelled is not None and is_cancelled():
        raise ReplayCancelled(f"cancelled after event {source.events}")


def _begun(
    header: TraceHeader,
    variants: Sequence[Variant],
    events: Callable[[str], object] | None,
    budget: Budget,
) -> tuple[RowSource, list[Host]]:
    hosts = [
        Host(variant, header, events=None if i else events, budget=budget)
        for i, variant in enumerate(variants)
    ]
    source = RowSource(header, budget)
    if header.content == "capture":
        for host in hosts:
            host.begin()
    return source, hosts


def _result(host: Host, trace: TraceReader, skipped: dict[str, int]) -> RunResult:
    summary = trace.summary
    reasons = dict(skipped)
    for reason, count in host.skipped().items():
        reasons[reason] = reasons.get(reason, 0) + count
    return RunResult(
        trace_digest=summary.digest,
        variant_digest=host.variant.digest,
        simulator_digest=simulator_digest(),
        event_count=summary.event_count,
        operation_count=host.operation_count,
        instruction_count=summary.instruction_count,
        truncated=summary.truncated,
        counters=host.counters(),
        semantics=host.semantics(),
        findings=tuple(host.findings.kept),
        finding_count=host.findings.count,
        stopped=host.findings.stopped,
        outcome_digest=host.outcomes.hexdigest(),
        page_digest=f"{page_digest(host.machine):016x}",
        skipped=reasons,
        work=host.work(),
        answers=host.answers(),
    )


@functools.cache
def warm_up() -> None:
    """Compile every kernel, or load it from the cache, in this thread: a signal ends it at once."""
    header = TraceHeader("operations", "warm-up", "long", 1)
    nothing = np.zeros(0, np.uint8)
    words = np.zeros(0, np.int64)
    block = Block(0, nothing, nothing, nothing, nothing, np.zeros(0, np.uint32), words, words)
    with jit.compiling_alone():
        host = Host(resolve(PatchSet()), header)
        for ops, count, _ in operations_of(header, iter([block]), {}):
            host.execute(ops, count)
        loop.run(host.machine, op.empty(1, interpreted=jit.INTERPRETED), 0, 0, 0, host.log)
        page_digest(host.machine)
