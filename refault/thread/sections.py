"""The report as blocks: verdicts first, then each patch, then a kernel of today."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from refault.audits import CHECKS, EXCEPTIONS
from refault.catalogue import get_patch
from refault.thread import commands
from refault.thread.blocks import (
    Block,
    Command,
    Document,
    Facts,
    Finding,
    Heading,
    Para,
    Remark,
    Table,
)
from refault.thread.evidence import Cell, Standing, finding_of
from refault.thread.review import Answered, FormReview, Found, Review, Reviewed
from refault.thread.rules import placed, sampled_text
from refault.thread.topics import Setting
from refault.thread.verdicts import MEANINGS, Mark, mark_of

TITLE = "The shadow-MMU series of 12 April 2010, held against real guests"
_NOBODY = "Nobody in the thread"
_AGAINST = {Standing.REFUTED}
_CAUSES_MAX = 6
#: How operations, tables and counters are written, for who never saw a trace.
NOTATION = (
    "How it is written. An operation: st, ld and ex are a store, a load and the fetch of an "
    "instruction by kernel or user code at a linear address (st4, st2, st1: a store of so many "
    "bytes); cr3, cr4, efer a write to the register; operations count from 0, and an event is the "
    "entry of the trace it comes from. Table 0x3c00 is the guest's page table in frame 0x3c00; a "
    "leaf maps memory, a link leads to another table; r, w, x are what a leaf grants. Out of sync: "
    "KVM lets the guest write the table without a trap, and copies the changes at the guest's next "
    "flush, which it finds by the marks on the links above. `refault explain NAME` says what a "
    "counter counts and what a check (F-U1) demands; `refault inspect` shows the MMU at an "
    "operation, `refault diverge` both MMUs where they part."
)


def document(review: Review) -> Document:
    """The whole report."""
    blocks = [*_summary(review)]
    for reviewed in review.patches:
        blocks += _patch(reviewed, review)
    blocks += _kernel(review)
    return Document(TITLE, blocks)


def summary(review: Review) -> Document:
    """The verdicts alone."""
    return Document(TITLE, list(_summary(review)))


# --- the summary --------------------------------------------------------------------------------


def _summary(review: Review) -> Iterator[Block]:
    yield Para(
        "For each patch: what it claims, what it changes, what it breaks, what was said against it "
        "and whether the data bears that out. Every patch is replayed alone on the one it needs, "
        "then every other form that was asked for or merged, then all six together; every run is "
        f"audited (level {review.level.word})."
    )
    yield Table(
        "Traces",
        ("trace", "digest", "events", "witnessed"),
        [
            (
                each.source.name,
                each.digest[:12],
                f"{each.event_count:,}{_cut(each.is_truncated)}",
                f"{each.witnessed:,}",
            )
            for each in review.traces
        ],
        2,
    )
    vectors = [each.source.path for each in review.traces if each.source.is_imported]
    if vectors:
        yield Para("A vector is imported before it can be replayed:")
        yield from map(commands.imported, vectors)
    yield Heading(2, "Verdicts", "verdicts")
    rows = []
    for each in review.patches:
        word = each.posted.verdict.word
        rows.append((each.topic.name, word, each.topic.title))
    yield Table("", ("", "verdict", "what"), rows, 3)
    for each in review.patches:
        yield Para(f"{each.topic.name}: {each.posted.verdict.reason}")
    marks = {mark_of(c) for each in review.patches for form in each.forms for c in form.cells}
    told = "; ".join(f"{mark.value}: {MEANINGS[mark]}" for mark in Mark if mark in marks)
    yield Para(f"The words in the tables. {told}.")
    yield Para(NOTATION)
    engines = ", ".join(f"{name} {digest[:12]}" for name, digest in review.simulators.items())
    yield Para(f"Made by engine {engines}. Equal inputs give equal numbers on any machine.")


def _cut(is_truncated: bool) -> str:  # noqa: FBT001 - a flag of the trace
    return " (truncated)" if is_truncated else ""


# --- a patch ------------------------------------------------------------------------------------


def _patch(reviewed: Reviewed, review: Review) -> Iterator[Block]:
    topic, posted = reviewed.topic, reviewed.posted
    yield Heading(2, f"{topic.name}: {topic.title}", f"patch-{topic.number}")
    rows = [
        ("Verdict", f"{posted.verdict.word}. {posted.verdict.reason}"),
        ("Posted", f"{topic.mail.cited}. Here -v {posted.form.text}, against {topic.base}."),
        ("Claim", posted.form.claim),
        ("Data", f"{reviewed.claim.standing.value.upper()}. {reviewed.claim.text}"),
        ("Became", posted.form.fate),
        ("Linux 6.12", topic.today + (f" Settled by {topic.settled}." if topic.settled else "")),
    ]
    yield Facts(rows)
    yield from _changes(reviewed, review)
    yield from _breaks(reviewed, review)
    yield from _repairs(reviewed, review)
    if reviewed.objections:
        yield Heading(3, "What was said")
    for answered in reviewed.objections:
        yield _remark(answered)
    yield from _forms(reviewed)


def _changes(reviewed: Reviewed, review: Review) -> Iterator[Block]:
    """What every form changes, a table for each trace and setting."""
    topic = reviewed.topic
    yield Heading(3, "What it changes")
    if all(cell.is_same_machine for form in reviewed.forms for cell in form.cells):
        yield Para("Nothing that a replay counts: every form is the base's own machine.")
        return
    if topic.note:
        yield Para(topic.note)
    paths = [each.source.replayed for each in review.traces]
    for setting in topic.settings:
        for place, measured in enumerate(review.traces):
            cells = [
                (
                    form,
                    next(
                        c for c in form.cells[place :: len(review.traces)] if c.setting == setting
                    ),
                )
                for form in reviewed.forms
            ]
            yield _table(measured.source.name, setting, topic.counters, cells)
        yield commands.replay(paths, topic.labels(setting), review.level)
    if topic.sampled:
        for cell in reviewed.posted.cells:
            yield Para(
                f"{placed(cell)}, {topic.sampled} under the base: {sampled_text(cell.samples)}."
            )
            yield commands.profile(cell)


def _table(
    trace: str,
    setting: Setting,
    counters: Sequence[str],
    cells: Sequence[tuple[FormReview, Cell]],
) -> Table:
    base = cells[0][1]
    caption = f"{trace}, {setting.title}" if setting.words else trace
    rows = [
        (
            base.comparison.base.labels[0].partition(",")[0],
            "base",
            *(f"{base.base_value(name):,}" for name in counters),
        )
    ]
    for form, cell in cells:
        rows.append(
            (form.form.text, mark_of(cell).value, *(_change(cell, name) for name in counters))
        )
    return Table(caption, ("", "", *counters), rows, 2)


def _change(cell: Cell, counter: str) -> str:
    """The change of a counter; none where the host broke and there is less to count."""
    if not cell.is_comparable:
        return "-"
    return f"{cell.delta(counter):+,d}" if cell.delta(counter) else "="


def _breaks(reviewed: Reviewed, review: Review) -> Iterator[Block]:
    """What the patch as posted breaks: each check with its causes, and what the guest saw."""
    posted = reviewed.posted
    stops = [cell for cell in posted.cells if cell.stop]
    differences = [cell for cell in posted.cells if cell.difference is not None]
    yield Heading(3, "What it breaks")
    if not (posted.found or stops):
        yield Para("Nothing that the base keeps: no check fails that holds under the base.")
    for cell in stops:
        yield Para(f"{cell.trace}: the host breaks, {cell.stop}.")
    for found in posted.found:
        yield _finding(found, reviewed)
    for cell in {(each.cell.trace, each.cell.label): each.cell for each in posted.found}.values():
        yield commands.audit(cell, review.level)
    for cell in differences:
        yield from _difference(cell)


def _repairs(reviewed: Reviewed, review: Review) -> Iterator[Block]:
    """What the base breaks and the patch as posted does not."""
    repaired = [(cell, failure) for cell in reviewed.posted.cells for failure in cell.repaired]
    ends = [cell for cell in reviewed.posted.cells if cell.base_stop]
    if not (repaired or ends):
        return
    yield Heading(3, "What it repairs")
    for cell in ends:
        yield Para(f"{cell.trace}: the host breaks under the base, {cell.base_stop}.")
        yield commands.audit(cell.beside_base, review.level)
    for cell, failure in repaired:
        base = cell.beside_base
        broken = finding_of(cell.base.audit, failure.check, failure.exception)
        yield _finding(Found(base, failure, broken), reviewed)
        yield commands.audit(base, review.level)


def _finding(found: Found, reviewed: Reviewed) -> Finding:
    cell, failure, broken = found
    rows: list[tuple[str, str]] = []
    shown: list[Command] = []
    where = f"{placed(cell)}: {failure.places}, first at operation {failure.operation_index}"
    where += f" (event {failure.event_index})"
    if broken is not None:
        if broken.address is not None:
            where += f", {broken.address_kind} {broken.address:#x}"
        rows = [("operation", broken.operation), ("is", broken.got), ("should be", broken.want)]
        rows += [
            (f"cause, operation {step.operation_index}", step.text)
            for step in broken.cause[-_CAUSES_MAX:]
        ]
        shown = [commands.inspect(cell, broken)]
    if failure.exception is not None:
        known = EXCEPTIONS.get(failure.exception, "")
        rows = [*rows[:3], ("known bug", f"{failure.exception}: {known}")]
    elif failure.check in reviewed.topic.reasons:
        rows.append(("why", reviewed.topic.reasons[failure.check]))
    return Finding(
        failure.name,
        CHECKS[failure.check],
        where,
        rows,
        shown,
    )


def _difference(cell: Cell) -> Iterator[Block]:
    first = cell.difference
    if first is None:
        return
    yield Para(
        f"{cell.trace}, what the guest sees first: operation {first.operation_index} (event "
        f"{first.event_index}), {first.operation}: {first.base} under the base, {first.here} here."
    )
    if cell.wrong_accesses > 1:
        yield Para(f"In all, {cell.wrong_accesses:,} accesses come out otherwise.")
    yield commands.diverge(cell)


def _remark(answered: Answered) -> Remark:
    objection, answer = answered
    who = _NOBODY if objection.mail is None else objection.mail.cited
    shows = None
    if objection.elsewhere and answer.standing is Standing.NOT_SEEN:
        shows = commands.report(objection.elsewhere)
    against = answer.standing in _AGAINST
    return Remark(who, objection.said, answer.standing.value, against, answer.text, shows)


def _forms(reviewed: Reviewed) -> Iterator[Block]:
    """The other forms: whose each is, our verdict, what became of it."""
    others = reviewed.forms[1:]
    if not others:
        return
    yield Heading(3, "Other forms")
    for each in others:
        form = each.form
        told = [
            ("What", f"{form.title} ({form.who})."),
            ("Claim", form.claim),
            ("Verdict", f"{each.verdict.word}. {each.verdict.reason}"),
        ]
        if form.patch:
            objection = get_patch(form.patch).objection
            told += [("Against it", objection)] if objection else []
            told += [("Became", form.fate)]
        if form.reconstruction:
            told.append(("Guessed", form.reconstruction))
        yield Heading(4, form.text)
        yield Facts(told)
        for found in _first_unexplained(each):
            yield Para(_one_line(found))
            if found.broken is not None:
                yield commands.inspect(found.cell, found.broken)


def _first_unexplained(form: FormReview) -> list[Found]:
    """The first finding on each trace that no known exception explains."""
    firsts: dict[tuple[str, str], Found] = {}
    for found in form.found:
        if found.failure.exception is None:
            key = (found.cell.trace, found.cell.setting.words)
            known = firsts.get(key)
            if known is None or found.failure.operation_index < known.failure.operation_index:
                firsts[key] = found
    return list(firsts.values())


def _one_line(found: Found) -> str:
    failure, broken = found.failure, found.broken
    text = f"{placed(found.cell)}: {failure.check} at operation {failure.operation_index}"
    if broken is None:
        return f"{text}: {failure.title} does not hold."
    return f"{text} ({broken.operation}). Is: {broken.got}. Should be: {broken.want}."


# --- a kernel of today --------------------------------------------------------------------------


def _kernel(review: Review) -> Iterator[Block]:
    yield Heading(2, "A kernel of today in the same place", "kernel")
    if not review.kernel:
        yield Para(
            "No kernel was named. Build one from a tree of 5.10 or later and name it: its own MMU "
            "code then replays the same traces."
        )
        yield Command("build", ["refault", "kernel", "build", "TREE", "--name", "mine"])
        yield Command(
            "and name it",
            ["refault", "report", "seed-thread"]
            + [each.source.path for each in review.traces]
            + ["--kernel", "mine"],
        )
        return
    yield Para(
        f"kernel:{review.kernel} is real code: it replays the same traces, and is held to the same "
        "witness. Its counters are its own; those that both count stand beside each other."
    )
    for own in review.own:
        base, column = own.comparison.columns
        told = column.reason or column.verdict.title
        yield Para(f"{own.trace}: {column.variant_names[0]}: {column.verdict.title}; {told}.")
        rows = [
            (row.name, *("" if value is None else str(value) for value in row.values))
            for row in own.comparison.counters_as_read
            if None not in row.values and any(row.values)
        ]
        yield Table(own.trace, ("counter", "base", f"kernel:{review.kernel}"), rows, 1)
        del base
    paths = [each.source.replayed for each in review.traces]
    yield commands.replay(paths, ["base", f"kernel:{review.kernel}"], review.level)
