"""Replays and audits one trace under every variant of the report, and finds first differences."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refault.audits import AuditReport, Level
from refault.catalogue import Variant
from refault.diverge.diverging import Answer as Outcome
from refault.diverge.diverging import diverge
from refault.diverge.search import Job
from refault.diverge.text import answer_text, operation_text
from refault.engines import get_engine
from refault.engines.audit import auditing
from refault.errors import ResultError, TraceTruncated
from refault.profile import gathering
from refault.replay import session
from refault.replay.source import compiled_digest
from refault.results import RunResult
from refault.thread.evidence import Difference
from refault.thread.shelf import Shelf
from refault.trace import SUFFIX, TraceReader

#: Variants that are replayed together, with one decode of the trace; what they gave is kept.
TOGETHER = 8
_LATER_THAN_ANY = 1 << 62  # event

#: Called with what is done, and how much of how much.
Progress = Callable[[str, int, int], None]


class Source(NamedTuple):
    """A trace: how commands name it, its name in tables, and the file to replay."""

    path: str
    name: str
    trace: Path

    @property
    def replayed(self) -> str:
        """The trace as `refault replay` takes it: a vector has to be imported first."""
        return f"{self.name}{SUFFIX}" if self.is_imported else self.path

    @property
    def is_imported(self) -> bool:
        """Whether the file that was named is no trace yet."""
        return self.trace.resolve() != Path(self.path).resolve()


@dataclasses.dataclass(frozen=True)
class Measured:
    """All that was measured on one trace; results and audits by the digest of the variant."""

    source: Source
    digest: str
    event_count: int
    is_truncated: bool
    results: dict[str, RunResult]
    audits: dict[str, AuditReport]

    @property
    def witnessed(self) -> int:
        """The accesses whose outcome the trace knows from the real guest."""
        return max((each.semantics["witnessed"] for each in self.results.values()), default=0)


class Bench:
    """Measures one trace; what is kept from an earlier time is not measured again.

    Raises:
        ReplayRefused: an engine cannot replay the trace.
        TraceError: it is damaged, or ends before its first whole block.
    """

    def __init__(
        self, source: Source, level: Level, *, shelf: Shelf | None, progress: Progress
    ) -> None:
        self._source = source
        self._level = level
        self._shelf = shelf
        self._progress = progress
        self._threads = len(os.sched_getaffinity(0))
        with TraceReader(source.trace, allow_truncated=True) as reader:
            for _ in reader.blocks(_LATER_THAN_ANY):
                pass
            if reader.truncated and not reader.summary.event_count:
                raise TraceTruncated(
                    "the file ends inside its first block, so there is nothing to report on; copy "
                    "it again"
                )
            self._summary = reader.summary

    def measure(self, variants: Iterable[Variant]) -> Measured:
        """Results and audits of these variants, in batches of TOGETHER."""
        every = list({variant.digest: variant for variant in variants}.values())
        results: dict[str, RunResult] = {}
        audits: dict[str, AuditReport] = {}
        for at in range(0, len(every), TOGETHER):
            some = every[at : at + TOGETHER]
            span = f"{at + 1} to {at + len(some)} of {len(every)} variants"
            results |= self._results(some, f"replay, {span}")
            audits |= self._audits(some, f"audit, {span}")
        summary = self._summary
        return Measured(
            source=self._source,
            digest=summary.digest,
            event_count=summary.event_count,
            is_truncated=summary.truncated,
            results=results,
            audits=audits,
        )

    def _results(self, variants: Sequence[Variant], title: str) -> dict[str, RunResult]:
        found: dict[str, RunResult] = {}
        for variant in variants:
            body = self._kept("result", variant)
            with contextlib.suppress(ResultError):
                found[variant.digest] = RunResult.from_dict(body)
        left = [variant for variant in variants if variant.digest not in found]
        if left:
            results = session.replay(
                self._source.trace,
                left,
                threads=min(len(left), self._threads),
                progress=lambda done, total: self._progress(title, done, total),
            )
            for variant, result in zip(left, results, strict=True):
                self._keep(result.to_dict(), "result", variant)
                found[variant.digest] = result
        return found

    def _audits(self, variants: Sequence[Variant], title: str) -> dict[str, AuditReport]:
        # The checks are not part of an engine's digest, and are compiled with everything else.
        key = ("audit", self._level.word, compiled_digest())
        found: dict[str, AuditReport] = {}
        for variant in variants:
            body = self._kept(*key, variant)
            with contextlib.suppress(ResultError):
                found[variant.digest] = AuditReport.from_dict(body)
        left = [variant for variant in variants if variant.digest not in found]
        if left:
            reports = auditing.audit(
                self._source.trace,
                left,
                self._level,
                threads=min(len(left), self._threads),
                progress=lambda done, total: self._progress(title, done, total),
            )
            for variant, report in zip(left, reports, strict=True):
                self._keep(report.to_dict(), *key, variant)
                found[variant.digest] = report
        return found

    def difference(self, base: Variant, variant: Variant) -> Difference | None:
        """The first operation that comes out otherwise than under the base, if any does."""
        body = self._kept("difference", base, variant)
        if "first" not in body:
            found = self._searched(base, variant)
            body = {"first": None if found is None else dataclasses.asdict(found)}
            self._keep(body, "difference", base, variant)
        return None if body["first"] is None else Difference(**body["first"])

    def samples(self, variant: Variant, gauge: str) -> tuple[int, ...]:
        """A gauge at even distances of the guest's time, as `refault profile` samples it."""
        body = self._kept("samples", gauge, variant)
        if "samples" not in body:
            title = f"{gauge} over the run, {variant.short_name}"
            [gathered] = gathering.replay(
                self._source.trace,
                [variant],
                progress=lambda done, total: self._progress(title, done, total),
            )
            body = {"samples": list(gathered.timeline.series[gauge])}
            self._keep(body, "samples", gauge, variant)
        return tuple(body["samples"])

    def _searched(self, base: Variant, variant: Variant) -> Difference | None:
        title = f"first difference, {base.short_name} and {variant.short_name}"
        report = diverge(
            Job(
                self._source.trace,
                [base, variant],
                threads=min(2, self._threads),
                progress=lambda done, total: self._progress(title, done, total),
            )
        )
        if not report.divergences:
            return None
        found = report.divergences[0]

        def told(answer: Outcome) -> str:
            return answer_text(found.operation, answer)

        return Difference(
            operation_index=found.second.operation_index,
            event_index=found.operation.event,
            operation=operation_text(found.operation),
            base=told(found.first),
            here=told(found.second),
        )

    def _kept(self, *words: str | Variant) -> Any:
        """What was kept under these words; an empty object where nothing was."""
        body = None if self._shelf is None else self._shelf.get(*self._words(words))
        return body if isinstance(body, dict) else {}

    def _keep(self, body: object, *words: str | Variant) -> None:
        if self._shelf is not None:
            self._shelf.put(body, *self._words(words))

    def _words(self, words: Sequence[str | Variant]) -> list[str]:
        """The key: the trace, what it is, and for each variant its digest and its engine's."""
        told = [self._summary.digest]
        for word in words:
            if isinstance(word, str):
                told.append(word)
            else:
                told += [word.digest, get_engine(word.engine).digest]
        return told
