"""Two or more runs of one trace, side by side: :func:`compare`.

Columns whose patch sets make the same machine share one column, which keeps
all their labels. The base comes first; every other column is read against it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from refault.audits import AuditReport
from refault.compare.balance import Balance, Scale
from refault.compare.host import HostCounters
from refault.compare.judging import Evidence, is_same_to_guest, judge
from refault.compare.rows import Row, counted, marked, rows_of
from refault.compare.thresholds import COSTS, Threshold, costs_among
from refault.compare.verdicts import Verdict
from refault.errors import ComparisonError
from refault.facts import facts_of
from refault.lineage import present_name
from refault.results import SEMANTICS, SHADOW, RunResult


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One run as it comes from the engine or the database.

    ``state`` is the run's (``done``, ``cached``, ``queued``, ``running``,
    ``crashed``, ``failed``, ``cancelled``); ``alarm`` says why the result may
    not be trusted, ``error`` why there is none. ``variant_digest`` may be left
    out where there is a result. ``stored_digest`` is the digest of the result,
    where somebody has kept it, ``engine`` the one that would make a result.
    ``audit`` is what an audit of the run found, where one was made.
    """

    label: str
    variant_name: str
    golden_name: str | None
    result: RunResult | None
    state: str = "done"
    variant_digest: str | None = None
    alarm: str | None = None
    error: str | None = None
    stored_digest: str | None = None
    engine: str | None = None
    audit: AuditReport | None = None

    @property
    def result_digest(self) -> str | None:
        """The digest of the result, if there is one."""
        return self.stored_digest or (self.result.digest if self.result else None)

    @property
    def key(self) -> str | None:
        """The digest of the variant, if it is known."""
        return self.variant_digest or (self.result.variant_digest if self.result else None)


@dataclasses.dataclass(frozen=True, slots=True)
class ComparedColumn:
    """One variant of a comparison: its labels and names, its result, its verdict.

    ``is_same_to_guest`` is the proof of "no functional change": the digest
    over what the guest saw of every operation equals the base's; a dirty log
    may hold more pages than were written. None where there is nothing to
    compare. ``balance`` is what moved and what it weighs, None where counters
    are not held against the base's. ``engine`` made the result, or would make it.
    """

    labels: tuple[str, ...]
    variant_names: tuple[str, ...]
    variant_digest: str | None
    golden_name: str | None
    result: RunResult | None
    result_digest: str | None
    state: str
    error: str | None
    verdict: Verdict
    reason: str
    balance: Balance | None
    is_same_to_guest: bool | None
    engine: str
    audit: AuditReport | None = None

    @property
    def label(self) -> str:
        """All labels in one line: ``1-4, 1-5``."""
        return ", ".join(self.labels)

    @property
    def has_real_code_result(self) -> bool:
        """Whether real kernel code was run in this configuration; engine walk has none."""
        return self.golden_name is not None or self.engine != SHADOW


@dataclasses.dataclass(frozen=True, slots=True)
class TraceInfo:
    """The trace of a comparison; counts are None until a run has told them.

    ``limits`` are sentences of what its numbers cannot say (:mod:`refault.limits`).
    """

    name: str
    digest: str | None
    event_count: int | None
    operation_count: int | None
    instruction_count: int | None
    is_truncated: bool
    limits: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more runs of one trace. ``columns[0]`` is the base.

    ``simulators`` are the digests of the engines that made the results, by the engine's name;
    ``present`` those a new batch would be run with, where that is known. ``host`` is shown beside
    the columns, and nothing rests on it.
    """

    trace: TraceInfo
    simulators: Mapping[str, str]
    columns: tuple[ComparedColumn, ...]
    semantics: tuple[Row, ...]
    counters: tuple[Row, ...]
    threshold: Threshold
    scale: Scale = dataclasses.field(default_factory=Scale)
    present: Mapping[str, str] = dataclasses.field(default_factory=dict)
    host: HostCounters | None = None

    @property
    def simulator_digest(self) -> str | None:
        """The digest of the base's engine, or of the only one there is."""
        return self.simulators.get(self.base.engine) or next(iter(self.simulators.values()), None)

    @property
    def base(self) -> ComparedColumn:
        """The column that the others are compared with."""
        return self.columns[0]

    @property
    def is_stale(self) -> bool:
        """Whether results are of an older version of their engine than would be used now."""
        return bool(self.stale_engines)

    @property
    def stale_engines(self) -> tuple[str, ...]:
        """The engines whose results are stale."""
        return tuple(
            name
            for name, digest in self.simulators.items()
            if name in self.present and present_name(self.present[name]) != present_name(digest)
        )

    @property
    def counters_as_read(self) -> tuple[Row, ...]:
        """The counters in the order tables show them: the costs first, exits leading."""
        by_name = {row.name: row for row in self.counters}
        rest = (row for row in self.counters if row.name not in self.costs)
        return (*(by_name[name] for name in self.costs if name in by_name), *rest)

    @property
    def costs(self) -> tuple[str, ...]:
        """The counters that verdicts rest on: the costs of the base's engine."""
        known = {row.name for row in self.counters if row.values and row.values[0] is not None}
        # Without a result of the base, nothing is judged, and the model's are shown.
        return costs_among(known) if known else COSTS

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines of the columns, the base's first."""
        return tuple(dict.fromkeys(column.engine for column in self.columns))

    @property
    def is_audited(self) -> bool:
        """Whether any column was audited."""
        return any(column.audit is not None for column in self.columns)

    @property
    def worst_verdict(self) -> Verdict:
        """The worst verdict of any column."""
        return min((column.verdict for column in self.columns), key=lambda verdict: verdict.rank)


def compare(
    columns: Sequence[Column],
    *,
    base: int = 0,
    trace_name: str = "",
    trace_digest: str | None = None,
    trace_limits: Sequence[str] = (),
    threshold: Threshold | None = None,
    scale: Scale | None = None,
    present: Mapping[str, str] | None = None,
) -> Comparison:
    """The comparison of runs of one trace; ``base`` is the index of the column to read against.

    ``scale`` weighs costs that rose against those that fell; None: the default weights.
    ``present`` only marks the comparison as stale where results are of an older engine.

    Raises:
        ComparisonError: nothing to compare, a base that is not there, or results of different
            traces, or of two versions of one engine, whose numbers do not belong in one table.
    """
    if not columns:
        raise ComparisonError("nothing to compare: give at least one run")
    if not 0 <= base < len(columns):
        raise ComparisonError(
            f"base column {base} does not exist; the {len(columns)} columns count from 0"
        )
    results = [column.result for column in columns if column.result is not None]
    digest = _only(results, lambda result: result.trace_digest, "traces") or trace_digest
    if trace_digest is not None and digest != trace_digest:
        raise ComparisonError(
            f"the results are of trace {_short(digest)}, not of {_short(trace_digest)}; "
            "compare runs of one trace"
        )
    simulators = {
        engine: _only(
            [result for result in results if result.engine == engine],
            lambda result: present_name(result.simulator_digest),
            f"versions of engine {engine}",
        )
        for engine in dict.fromkeys(result.engine for result in results)
    }
    groups = _grouped([columns[base], *columns[:base], *columns[base + 1 :]])
    limits = Threshold() if threshold is None else threshold
    compared = _judged(groups, limits, scale or Scale())
    is_as_far = _comparable(compared)
    counters = rows_of(counted(results), _numbers(compared, _all_counts), is_as_far)
    return Comparison(
        trace=_trace_info(trace_name, digest, results, trace_limits),
        simulators={name: found for name, found in simulators.items() if found},
        columns=compared,
        semantics=rows_of(
            SEMANTICS, _numbers(compared, lambda result: result.semantics), is_as_far
        ),
        counters=marked(
            counters,
            [column.balance is not None for column in compared],
            limits,
            compared[0].result.operation_count if compared[0].result else 0,
        ),
        threshold=limits,
        scale=scale or Scale(),
        present=present or {},
    )


def _trace_info(
    name: str, digest: str | None, results: Sequence[RunResult], limits: Sequence[str]
) -> TraceInfo:
    first = results[0] if results else None
    return TraceInfo(
        name=name or (_short(digest) if digest else "trace"),
        digest=digest,
        event_count=first.event_count if first else None,
        operation_count=max((result.operation_count for result in results), default=None),
        instruction_count=first.instruction_count if first else None,
        is_truncated=any(result.truncated for result in results),
        limits=tuple(limits),
    )


def _only(
    results: Sequence[RunResult], digest_of: Callable[[RunResult], str], things: str
) -> str | None:
    digests = list(dict.fromkeys(digest_of(result) for result in results))
    if len(digests) > 1:
        raise ComparisonError(
            f"the results come from different {things} ({', '.join(map(_short, digests))}); "
            "compare runs of one trace, made by one version of each engine"
        )
    return digests[0] if digests else None


def _short(digest: str | None) -> str:
    return (digest or "")[:12]


def _grouped(columns: Sequence[Column]) -> list[list[Column]]:
    groups: dict[object, list[Column]] = {}
    for place, column in enumerate(columns):
        groups.setdefault(column.key or place, []).append(column)
    return list(groups.values())


def evidence_of(columns: Sequence[Column]) -> dict[str, Evidence]:
    """What the runs of one trace are judged by, by the digest of their variant."""
    groups = _grouped([column for column in columns if column.key is not None])
    return {str(group[0].key): _evidence(_told(group), group) for group in groups}


def _told(group: Sequence[Column]) -> Column:
    return next((column for column in group if column.result is not None), group[0])


def _evidence(column: Column, group: Sequence[Column]) -> Evidence:
    return Evidence(
        None if column.result is None else facts_of(column.result),
        column.state,
        _alarm(group),
        column.error,
        _audit(group),
    )


def _judged(
    groups: Sequence[Sequence[Column]], threshold: Threshold, scale: Scale
) -> tuple[ComparedColumn, ...]:
    told = [_told(group) for group in groups]
    evidence = [_evidence(column, group) for column, group in zip(told, groups, strict=True)]
    base_result = told[0].result if evidence[0].alarm is None else None
    return tuple(
        ComparedColumn(
            labels=tuple(dict.fromkeys(each.label for each in group)),
            variant_names=tuple(dict.fromkeys(each.variant_name for each in group)),
            variant_digest=column.key,
            golden_name=column.golden_name,
            result=column.result,
            result_digest=column.result_digest,
            state=column.state,
            error=column.error,
            verdict=judgement.verdict,
            reason=judgement.reason,
            balance=judgement.balance,
            is_same_to_guest=is_same_to_guest(column.result, base_result),
            engine=column.result.engine if column.result else column.engine or SHADOW,
            audit=_audit(group),
        )
        for column, group, judgement in zip(
            told, groups, judge(evidence, threshold, scale), strict=True
        )
    )


def _audit(group: Sequence[Column]) -> AuditReport | None:
    return next((column.audit for column in group if column.audit is not None), None)


def _alarm(group: Sequence[Column]) -> str | None:
    told = next((column.alarm for column in group if column.alarm is not None), None)
    if told is not None:
        return told
    known = [column for column in group if column.result is not None]
    if all(column.result is known[0].result for column in known):
        return None
    digests = dict.fromkeys(column.result_digest for column in known)
    if len(digests) > 1:
        return (
            "the same trace, variant and engine gave different results: "
            f"{', '.join(map(_short, digests))}"
        )
    return None


def _all_counts(result: RunResult) -> dict[str, int]:
    return result.counters | result.work | result.answers | result.logs


def _numbers(
    columns: Sequence[ComparedColumn], numbers_of: Callable[[RunResult], dict[str, int]]
) -> list[dict[str, int]]:
    """The numbers of each column; empty where there is no result."""
    return [{} if column.result is None else numbers_of(column.result) for column in columns]


def _comparable(columns: Sequence[ComparedColumn]) -> list[bool]:
    """Whether each column has run as far as the base: counts of half a run are no change."""
    ends = [_end(column.result) for column in columns]
    return [end == ends[0] for end in ends]


def _end(result: RunResult | None) -> tuple[str, int] | None:
    if result is None or result.stopped is None:
        return None
    return result.stopped.kind, result.stopped.operation_index
