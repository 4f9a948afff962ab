"""Patch 3: marking that stops at a parent which is marked already."""

from __future__ import annotations

from refault.compare import COSTS
from refault.compare.layout import counted
from refault.thread.evidence import Answer, Evidence, Standing
from refault.thread.mails import avi, marcelo, xiao
from refault.thread.rules import (
    breaks_something,
    changes,
    failing,
    falls,
    first_failure,
    not_measured,
    nowhere,
    places,
    rises,
    unsound,
)
from refault.thread.topics import VECTORS, Form, Objection, Topic

POSTED, COUNT, FIX, MERGED = "p3", "p3count", "p3fix", "p2+p3m1+p3m2+p3m3"
MARKS = "parent_marks"
_OTHER = tuple(name for name in COSTS if name != MARKS)


def _claim(evidence: Evidence) -> Answer:
    marks = changes(evidence, POSTED, (MARKS,))
    broken, told = breaks_something(evidence, POSTED)
    if broken:
        return Answer(
            Standing.REFUTED,
            f"A marked parent can have unmarked ancestors. {told} What it spares: {marks}.",
        )
    if evidence.moved(POSTED, MARKS):
        return Answer(Standing.BORNE_OUT, f"{marks}; every check holds on these traces.")
    return nowhere("Marking never met a marked parent.")


def _is_sensitive(evidence: Evidence) -> Answer:
    total, exits = evidence.base_total(MARKS), evidence.base_total("exits")
    spared = -evidence.moved(FIX, MARKS)
    cheaper = [cell for cell in evidence.of(FIX) if falls(cell, _OTHER)]
    rate = f"{round(spared * 1000 / exits) if exits else 0} for each 1,000 exits"
    text = f"Made sound (p3fix) it spares {spared:,} of {total:,} marks, {rate}"
    if cheaper:
        return Answer(Standing.REFUTED, f"{text}, and other costs fall {places(cheaper)}.")
    return Answer(Standing.BORNE_OUT, f"{text}; no exit, flush or sync is saved by it.")


def _looks_good(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, POSTED)
    return Answer(Standing.REFUTED, told) if broken else nowhere("Every check holds.")


def _is_stable(evidence: Evidence) -> Answer:
    broken = unsound(evidence, POSTED)
    if not broken:
        return nowhere("The change breaks nothing.")
    return Answer(
        Standing.BORNE_OUT,
        f"What he would not change keeps every check that the patch breaks {places(broken)}.",
    )


def _recursion(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, MERGED)
    if broken:
        return Answer(Standing.REFUTED, told)
    worse = [cell for cell in evidence.of(MERGED) if rises(cell)]
    if worse:
        return Answer(Standing.IN_PART, f"Sound, but costs rise {places(worse)}.")
    marks = changes(evidence, MERGED, (MARKS,))
    alone, _ = breaks_something(evidence, COUNT)
    text = f"So it was merged, on exact marks: sound, {marks}."
    if alone:
        text += f" The same rule without exact marks (p3count) is unsound {places(alone)}."
    return Answer(Standing.BORNE_OUT, text)


def _has_a_bug(evidence: Evidence) -> Answer:
    audits = [cell.base.audit for cell in evidence.of(POSTED)]
    wrong = [a for a in audits if a is not None and {"F-S6", "F-U1"} & a.failed.keys()]
    sweeps = sum(a.sweeps for a in audits if a is not None)
    if wrong:
        return Answer(Standing.BORNE_OUT, "The base's back references or marks are wrong.")
    return Answer(
        Standing.REFUTED,
        "The base's back references (F-S6) and marks (F-U1) are right in "
        f"{counted(sweeps, 'sweep')} of the whole host. He withdrew it at 8:58 pm.",
    )


def _marks_stay(evidence: Evidence) -> Answer:
    lost = failing(evidence.every(POSTED), "F-U1", "F-U4")
    if not lost:
        return nowhere("No stale mark stood in the way of a walk.")
    told = "; ".join(
        f"first at operation {first_failure(cell).operation_index} {places([cell])}"
        for cell in lost
    )
    return Answer(Standing.BORNE_OUT, f"A link to an out-of-sync page is not marked: {told}.")


TOPIC = Topic(
    number=3,
    title="stop walking parents that are already marked",
    mail=xiao("1:02 am"),
    base="p2",
    posted=Form(POSTED, "as posted", "Xiao Guangrong", "parent-stop-bit"),
    claim=_claim,
    counters=("exits", "synced", "hw_flush", MARKS),
    forms=(
        Form(COUNT, "the wider reading: at a count", "Xiao Guangrong", "parent-stop-count"),
        Form(FIX, "at a count, with exact marks", "after Xiao Guangrong", "unsync-clear-exact"),
        Form(MERGED, "as merged for 2.6.36", "Xiao Guangrong", "parent-stop-merged"),
    ),
    objections=(
        Objection(
            avi("1:32 am"),
            "Please separate these two changes.",
            not_measured(
                "So it was done: the unused argument went in alone (6b18493d60e). It changes no "
                "behaviour."
            ),
        ),
        Objection(avi("1:32 am"), "The optimization looks good.", _looks_good),
        Objection(
            avi("1:32 am"),
            "Perhaps it can be done even nicer using mutually recursive functions.",
            _recursion,
        ),
        Objection(
            marcelo("10:12 am"),
            "Did you see this codepath as being performance sensitive? I'd prefer to not touch it.",
            _is_sensitive,
        ),
        Objection(
            avi("4:58 am", 13),
            "There is also the advantage of code size reduction.",
            not_measured("The mail's diffstat: 23 lines added, 46 removed."),
        ),
        Objection(
            marcelo("8:01 am", 13),
            "mmu_unsync_walk was much more sensitive than parent walking, and gfn_to_memslot "
            "matters with EPT and NPT too.",
            not_measured(
                "No counter of a replay says what mmu_unsync_walk() visits, or how often a slot is "
                "looked up."
            ),
        ),
        Objection(
            xiao("8:23 pm", 13), "The original code has a bug in mmu_parent_walk().", _has_a_bug
        ),
        Objection(
            marcelo("9:35 am", 14),
            "This walking code already is compact and stable; I'd prefer to not change it.",
            _is_stable,
        ),
        Objection(
            None,
            "A sync of one page leaves the marks above it; the next mark must not stop there.",
            _marks_stay,
            f"{VECTORS}/s29_lost_mark.ops.jsonl.zst",
        ),
    ),
    reasons={
        "F-U1": (
            "When one page is brought in sync by itself, its parents keep their marks. The next "
            "load of a root clears those it reaches from the top, and leaves one further down. "
            "When the page goes out of sync again, the patch meets that stale mark and stops, so "
            "the parents above stay unmarked and the next sync does not find the page."
        ),
        "F-U4": "The sync began at the root, met no mark, and did not reach the page.",
        "F-T2": "The leaf is of before the guest changed its table; the sync passed it by.",
        "F-T5": "The guest used a translation that it had changed and flushed.",
    },
    today=(
        "mark_unsync() stops at a mark that is set, and at a parent that had marked children; "
        "every mark has a reason, because mmu_unsync_walk() clears those that have none and "
        "counts them."
    ),
    settled="ebdea638df0, 7a8f1a74e41, then 1047df1fb68 (2.6.36)",
)
