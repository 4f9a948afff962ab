"""What a caller asks: where two variants differ on one trace, and what is there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from refault.catalogue import PatchSet, resolve
from refault.diverge import marking, reasons
from refault.diverge.accounts import Account, Tally
from refault.diverge.around import Moment, OtherPage, moment, other_gfns, other_pages
from refault.diverge.counters import CounterRows, has_rows
from refault.diverge.guest_walk import WALK, Word, cr0_of, guest_walk, keeps_guest
from refault.diverge.measures import (
    Looks,
    Measure,
    OutcomeRows,
    Outcomes,
    Pages,
    Total,
    counter_of,
    has_address,
    places_of,
)
from refault.diverge.position import Position, Row, Saved, open_hosts
from refault.diverge.search import (
    Job,
    Pass,
    alike_until,
    coarse,
    stop_before,
    stop_before_outcome,
)
from refault.diverge.shadow_pages import notation_of
from refault.engines import get_engine
from refault.errors import TraceTruncated
from refault.questions import OUTCOME, PAGES
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.session import warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.diverge.marking import Marking
    from refault.diverge.measures import Span
    from refault.engines.base import Host
    from refault.trace import TraceHeader

#: Later differences looked at, one after the other, before the search for the next one ends.
CONSEQUENCES_MAX = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """How the operation came out under one variant; ``code`` as of refault.replay.outcomes."""

    operation_index: int
    code: int
    address: Word
    value: Word
    is_emulated: bool
    walked: Word | None
    broke: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """The first operation after which pages of a walk differ, and how.

    ``marking``: how it marked the links above a page that it put out of sync, if it did.
    """

    operation_index: int
    operation: Row
    pages: tuple[OtherPage, ...]
    marking: Marking | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """One operation after which two variants differ, and both MMUs before and after it.

    ``origin``, of an outcome: since when pages that the address is translated by differ.
    ``reasons``, of an outcome: who is right and why the other is not, in sentences.
    """

    row: int
    operation: Row
    first: Answer
    second: Answer
    counts: tuple[int, int] | None
    before: Moment
    after: Moment
    origin: Origin | None = None
    reasons: tuple[str, ...] = ()

    @property
    def is_end(self) -> bool:
        """Whether a kernel broke, so that there is nothing to compare any more."""
        return self.first.broke is not None or self.second.broke is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All that was found: no divergence, one, or with the next one two.

    ``only`` has the patches, id and title, that A alone has, and those that B alone has.
    ``operations`` and the digests are those of whole runs, and None where the runs ended at the
    difference. ``account`` is there for a counter.
    """

    on: str
    mode: str
    divergences: tuple[Divergence, ...]
    account: Account | None
    operations: tuple[int, int] | None
    outcome_digests: tuple[str, str] | None
    page_digests: tuple[str, str] | None
    trace_digest: str | None
    is_truncated: bool
    wants_next: bool
    only: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = ((), ())


def diverge(job: Job, on: str = OUTCOME, *, wants_next: bool = False) -> Report:
    """Compare two variants on one trace.

    ``on`` is ``outcome``, ``pages``, or the name of a counter. ``wants_next`` looks for one more:
    the first later difference that is not a consequence of the first. For outcomes: at an address
    that the guest translates through another last-level table. For pages: of a frame whose pages
    were alike right after the first one. For a counter: by another kind of operation or in another
    region of the guest.

    Raises:
        InvalidParameter: an engine has no such counter, or no pages.
        ReplayCancelled: ``job.is_cancelled`` said so.
        ReplayRefused: an engine cannot replay the trace.
        TraceError: the trace is damaged, or ends before its first whole block.
    """
    warm_up({variant.engine for variant in job.variants})
    job = job._replace(decoded=job.events)
    header, before = _begun(job, on)
    is_exact = header.content == "operations"
    tally = Tally(header.guest_mode, before)
    if on == OUTCOME:
        measure: Measure = Outcomes(job.variants)
        found = coarse(job, measure)
    elif on == PAGES:
        measure = Pages(job.variants, is_exact=is_exact)
        found = coarse(job, measure)
    elif has_rows(on, job.variants):
        measure = CounterRows(on)
        found = coarse(job, measure, on_part=tally.take)
    else:
        measure = Total(on, is_exact=is_exact)
        found = coarse(job, measure, on_part=tally.take_totals)
    if found.is_truncated and not found.rows:
        raise TraceTruncated(
            "the file ends inside its first block, so there is nothing to compare; copy it again"
        )
    divergences = _told(job, on, measure, found, wants_next=wants_next, tally=tally)
    report = _report(on, header.guest_mode, found, divergences, tally, wants_next=wants_next)
    first, second = job.variants
    return dataclasses.replace(
        report, only=(reasons.only_in(first, second), reasons.only_in(second, first))
    )


def _begun(job: Job, on: str) -> tuple[TraceHeader, tuple[int, int]]:
    """The trace's header, and what the counter is before its first row; both may be refused."""
    with job.events.open() as reader:
        if on in (OUTCOME, PAGES):
            return reader.header, (0, 0)
        hosts = open_hosts(reader.header, job.variants, Budget(job.memory_bytes))
        first, second = (counter_of(host, on) for host in hosts)
        for host in hosts:
            host.abort()
        return reader.header, (first, second)


def _report(
    on: str,
    mode: str,
    found: Pass,
    divergences: Sequence[Divergence],
    tally: Tally,
    *,
    wants_next: bool,
) -> Report:
    first, second = found.hosts
    is_whole = found.trace_digest is not None
    digests = (first.notes.outcomes.hexdigest(), second.notes.outcomes.hexdigest())
    return Report(
        on=on,
        mode=mode,
        divergences=tuple(divergences),
        account=None if on in (OUTCOME, PAGES) else tally.account(on),
        operations=(first.operation_count, second.operation_count) if is_whole else None,
        outcome_digests=digests if is_whole else None,
        page_digests=(first.page_digest(), second.page_digest()) if is_whole else None,
        trace_digest=found.trace_digest,
        is_truncated=found.is_truncated,
        wants_next=wants_next,
    )


def _told(
    job: Job, on: str, measure: Measure, found: Pass, *, wants_next: bool, tally: Tally
) -> list[Divergence]:
    if found.span is None:
        return []
    counter = None if on in (OUTCOME, PAGES) else on
    with Position(job.events, job.variants, found.saved, job.look) as at:
        row = _stop(at, measure, found.span)
        divergences = [_divergence(at, row, counter)]
        if on == OUTCOME:
            found_first = _with_origin(job, divergences[0], found.copies)
            told = reasons.sentences(found_first, cr0_of(at.hosts, found_first.operation.vcpu))
            divergences = [dataclasses.replace(found_first, reasons=told)]
        if not wants_next or divergences[0].is_end:
            return divergences
        if counter is not None:
            later = [each for each in tally.first_rows() if each > row]
            return divergences + [_divergence(at, each, counter) for each in later[:1]]
        if on == PAGES:
            following = _next_pages(job, at, found.saved)
        else:
            following = _next_outcome(job, divergences[0], found.saved)
    return divergences + following


def _with_origin(job: Job, divergence: Divergence, copies: Sequence[Saved]) -> Divergence:
    """The same, with the operation since which the pages of its walk differ, if they do.

    They may have differed and been alike again before.
    """
    sides = (divergence.before.first, divergence.before.second)
    walked = {int(entry.gfn) for side in sides for entry in side.walk}
    if not walked & {int(page.gfn) for page in divergence.before.pages}:
        return divergence
    with job.events.open() as reader:
        is_exact = reader.header.content == "operations"
    frames = sorted(walked)
    measure = Pages(job.variants, is_exact=is_exact, only=frames)
    copy = [None, *(each for each in copies if measure.are_alike(each))][-1]
    with Position(job.events, job.variants, copy, job.look) as at:
        stop_before(at, measure, alike_until(at, measure, divergence.row))
        index, operation = at.hosts[0].operation_count, at.next_row()
        headers = marking.headers(at.hosts)
        at.advance(1)
        pages = tuple(page for page in other_pages(at.hosts) if page.gfn in frames)
        marked = marking.marking_of(at.hosts, headers, notation_of(job.variants))
    if operation is None:
        return divergence
    return dataclasses.replace(divergence, origin=Origin(index, operation, pages, marked))


def _stop(at: Position, measure: Measure, span: Span) -> int:
    """Take both hosts to the first row that differs, and no further."""
    if isinstance(measure, Looks):
        return stop_before(at, measure, span)
    if isinstance(measure, Outcomes):
        return stop_before_outcome(at, OutcomeRows(at.variants), span)
    at.advance(span.first - at.row)
    return span.first


def _next_pages(job: Job, at: Position, saved: Saved | None) -> list[Divergence]:
    """The first later difference at a frame whose pages are alike now."""
    is_exact = at.header.content == "operations"
    measure = Pages(job.variants, is_exact=is_exact, ignored=sorted(other_gfns(at.hosts)))
    found = coarse(job, measure, saved)
    if found.span is None:
        return []
    with Position(job.events, job.variants, found.saved, job.look) as later:
        return [_divergence(later, stop_before(later, measure, found.span), None)]


def _next_outcome(job: Job, first: Divergence, saved: Saved | None) -> list[Divergence]:
    """The first later difference at an address translated through another last-level table."""
    known = _tables(first)
    ignored = {int(places_of(first.operation.kind, first.operation.a))}
    for _ in range(CONSEQUENCES_MAX):
        found = coarse(job, OutcomeRows(job.variants, sorted(ignored)), saved)
        if found.span is None:
            return []
        saved = found.saved
        with Position(job.events, job.variants, saved, job.look) as at:
            later = _divergence(at, found.span.first, None)
        tables = _tables(later)
        if not tables or not tables & known:
            return [later]
        known |= tables
        ignored.add(int(places_of(later.operation.kind, later.operation.a)))
    return []


def _tables(divergence: Divergence) -> set[int]:
    """The frames of the last tables by which the guest translated the address."""
    walks = [divergence.before.first.guest, divergence.before.second.guest]
    return {int(walk.table) for walk in walks if walk is not None and walk.table is not None}


# --- one operation --------------------------------------------------------------------------


def _divergence(at: Position, row: int, counter: str | None) -> Divergence:
    """Execute up to ``row``, look, execute it, and look again."""
    at.advance(row - at.row)
    operation = at.next_row()
    if operation is None:
        raise AssertionError("the row that differs is in the trace")
    frames = _frames(at.hosts, operation)
    before = moment(at.hosts, operation, frames)
    if has_address(operation.kind) and not any(map(keeps_guest, at.hosts)):
        before = _with_guest(at, before, operation)
    indices = [host.operation_count for host in at.hosts]
    for host in at.hosts:
        host.notes.log.state[rec.RECORD_ALL] = 1
        host.notes.findings.raw = []
    at.advance(1)
    answers = [_answer(host, index) for host, index in zip(at.hosts, indices, strict=True)]
    for host in at.hosts:
        host.notes.log.state[rec.RECORD_ALL] = 0
        host.notes.findings.raw = None
    frames += [int(answer.address) >> 12 for answer in answers if answer.code == out.OK]
    first, second = (None if counter is None else counter_of(host, counter) for host in at.hosts)
    return Divergence(
        row=row,
        operation=operation,
        first=answers[0],
        second=answers[1],
        counts=None if first is None or second is None else (first, second),
        before=before,
        after=moment(at.hosts, operation, frames),
    )


def _with_guest(at: Position, before: Moment, row: Row) -> Moment:
    """The same, with the guest's walk by the architecture alone: programs keep their guest."""
    walk = resolve(PatchSet(WALK))
    if get_engine(WALK).refuses(at.header, walk):
        return before
    with Position(at.trace, [walk], None) as alone:
        alone.advance(at.row)
        guest = guest_walk(alone.hosts[0], row.vcpu, row.a)
    first, second = (dataclasses.replace(mmu, guest=guest) for mmu in (before.first, before.second))
    return dataclasses.replace(before, first=first, second=second)


def _frames(hosts: Sequence[Host], row: Row) -> list[int]:
    """The frame of the address by the guest's tables, so that both moments show it."""
    found: list[int] = []
    for host in hosts:
        if has_address(row.kind) and keeps_guest(host):
            gpa = guest_walk(host, row.vcpu, row.a).gpa
            found += [] if gpa is None else [int(gpa) >> 12]
    return found


def _answer(host: Host, index: int) -> Answer:
    broke = host.notes.findings.stopped
    if broke is not None and host.stopped:
        told = f"{broke.kind}: {broke.message} (operation {broke.operation_index})"
        return Answer(index, out.NONE, Word(0), Word(0), False, None, told)  # noqa: FBT003
    raw: list[Any] = host.notes.findings.raw or []
    for records in raw:
        for record in records.tolist():
            walked = record[rec.PROBE]
            return Answer(
                operation_index=index,
                code=record[rec.CODE],
                address=Word(record[rec.ADDRESS]),
                value=Word(record[rec.VALUE]),
                is_emulated=bool(record[rec.EMULATED]),
                walked=Word(walked) if walked > 0 else None,
                broke=None,
            )
    return Answer(index, out.NONE, Word(0), Word(0), False, None, None)  # noqa: FBT003
