"""Runs a trace under variants of the model and reports which invariants broke."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from refault.audits import Level
from refault.engines import get_engine
from refault.engines.audit.causes import causes_of
from refault.engines.audit.host import Host
from refault.engines.audit.outcome_host import OutcomeHost
from refault.engines.audit.tell import report_of
from refault.errors import ReplayCancelled, ReplayRefused
from refault.replay import lanes
from refault.replay.budget import Budget, machine_bytes
from refault.replay.compile import jit
from refault.replay.guests import has_five_levels
from refault.replay.lowering.rows import RowSource
from refault.replay.session import warm_up
from refault.results import SHADOW
from refault.trace import TraceHeader, TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from refault.audits import AuditReport
    from refault.catalogue import Variant
    from refault.replay.lanes import Executes

    Audited = Host | OutcomeHost


def audit(
    trace: Path,
    variants: Sequence[Variant],
    level: Level,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    memory_bytes: int | None = None,
) -> list[AuditReport]:
    """One report for each variant, in their order.

    Hosts of the model are checked whole; of any other engine only the outcomes are, since nothing
    else of it is known. A variant of the model for which something failed runs a second time, to
    find which operations led to it; each run stays within ``memory_bytes``.
    ``progress`` is called with (bytes read, bytes in all) of the first run.

    Raises:
        ReplayCancelled: ``is_cancelled`` said so.
        ReplayRefused: an engine cannot replay the trace.
        TraceError: the trace is damaged.
    """
    warm_up({variant.engine for variant in variants})
    _warm_up_checks(variants)
    limit_bytes = memory_bytes or machine_bytes()
    budget = Budget(limit_bytes)

    def opened(header: TraceHeader) -> list[Audited]:
        for variant in variants:
            if reason := get_engine(variant.engine).refuses(header, variant):
                raise ReplayRefused(f"engine {variant.engine} cannot replay this: {reason}")
        if has_five_levels(header):
            raise ReplayRefused(
                "a guest with five levels of page tables (CR4.LA57) is replayed, not audited: the "
                "rules that outcomes are held against know four"
            )
        hosts = [_opened(variant, header, budget, level) for variant in variants]
        if header.content == "capture":
            for host in hosts:
                host.begin()
        return hosts

    with TraceReader(trace, allow_truncated=True) as reader:
        hosts = opened(reader.header)
        for _ in _advanced(reader, hosts, threads, budget, is_cancelled):
            if progress is not None:
                progress(reader.read_bytes, reader.size_bytes)
        for host in hosts:
            host.finish()
        digest = reader.summary.digest
    advance = functools.partial(_advanced, is_cancelled=is_cancelled)
    causes = causes_of(trace, hosts, advance, Budget(limit_bytes))
    return [report_of(host, digest, told) for host, told in zip(hosts, causes, strict=True)]


def _warm_up_checks(variants: Sequence[Variant]) -> None:
    """Compile the checks, or load them from the cache, in this thread: a signal ends it at once."""
    header = TraceHeader("operations", "warm-up", "long", 1)
    with jit.compiling_alone():
        for variant in variants:
            if variant.engine == SHADOW:
                Host(variant, header, Budget(), Level("flush")).finish()
                break


def _opened(variant: Variant, header: TraceHeader, budget: Budget, level: Level) -> Audited:
    kind = Host if variant.engine == SHADOW else OutcomeHost
    return kind(variant, header, budget, level)


def _advanced(
    reader: TraceReader,
    hosts: Sequence[Executes],
    threads: int,
    budget: Budget,
    is_cancelled: Callable[[], bool] | None,
) -> Iterator[int]:
    """Let all hosts execute the trace; yields the events taken so far."""
    source = RowSource(reader.header, budget)

    def look() -> None:
        if is_cancelled is not None and is_cancelled():
            raise ReplayCancelled(f"cancelled after event {source.events}")

    parts = lanes.execute(
        hosts, source.parts(reader.blocks(), buffers=lanes.BUFFERS), threads, look=look
    )
    with contextlib.closing(parts):
        for _, _, taken in parts:
            yield taken
