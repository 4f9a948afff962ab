"""Patch 2: what a zap frees, and walks that go on at a page it has freed."""

from __future__ import annotations

from refault.compare import ComparedColumn
from refault.thread.evidence import Answer, Cell, Evidence, Standing, end_of, stop_text
from refault.thread.mails import avi, marcelo, xiao
from refault.thread.rules import (
    breaks_something,
    change,
    changes,
    fails_still,
    listed,
    nowhere,
    places,
    repairs,
    rises,
)
from refault.thread.topics import LOWERED, PLAIN, VECTORS, Form, Objection, Topic

POSTED, GOTO, EMPTY, INVALID, SELF = "p2", "p2goto", "p2empty", "p2inv", "p2self"

#: The budget of pages: n_alloc - n_free is the number in use.
BUDGET = "F-S3"
_FREED = "use-after-free"
_QUIET = (
    "No walk met a freed page: that takes a paravirtual guest that releases a table, and no such "
    "release is in these traces."
)


def _met_freed(evidence: Evidence) -> list[Cell]:
    """Where the base's walk goes on at a page that its own zap has freed."""
    return [cell for cell in evidence.of(POSTED) if _end(cell.base).startswith(_FREED)]


def _claim(evidence: Evidence) -> Answer:
    freed = _met_freed(evidence)
    budget = repairs(evidence.posted, BUDGET)
    told = []
    closed = [cell for cell in freed if not _end(cell.column)]
    if closed:
        told.append(f"The base goes on at a freed page {places(closed)}; the patch does not.")
    if budget:
        told.append(f"It repairs the budget of pages ({BUDGET}) {places(budget)}.")
    if told:
        return Answer(Standing.BORNE_OUT, " ".join(told))
    return nowhere(f"Nothing that is wrong under the base is right under it. {_QUIET}")


def _restart_is_needed(evidence: Evidence) -> Answer:
    freed = _met_freed(evidence)
    if not freed:
        return nowhere(f"{_QUIET} He withdrew it at 5:49 am.")
    ends = listed([_end(cell.base) for cell in freed])
    return Answer(
        Standing.REFUTED, f"The base breaks {places(freed)}: {ends}. He withdrew it at 5:49 am."
    )


def _goto(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, GOTO)
    if broken:
        return Answer(Standing.REFUTED, told)
    pairs = list(zip(evidence.every(POSTED), evidence.every(GOTO), strict=True))
    costs = [here for there, here in pairs if rises(here) != rises(there)]
    if costs:
        return Answer(Standing.IN_PART, f"As safe, but it costs more {places(costs)}.")
    counter = "mmu_flooded"
    moved = [
        change(counter, here.value(counter) - there.value(counter), there.value(counter))
        + f" {places([here])}"
        for there, here in pairs
        if here.value(counter) != there.value(counter)
    ]
    side = f" Only the count of flooded pages differs: {'; '.join(moved)}." if moved else ""
    return Answer(Standing.BORNE_OUT, f"Guest, host and costs are as with the patch.{side}")


def _only_the_page(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, INVALID)
    if broken:
        return Answer(Standing.REFUTED, told)
    numbers = changes(evidence, INVALID, ("exits", "mmu_pte_write", "mmu_cache_miss"))
    worse = [cell for cell in evidence.of(INVALID) if rises(cell)]
    if worse:
        return Answer(
            Standing.IN_PART,
            f"Sound, and no walk needs a restart, but the pages set aside cost: {numbers}.",
        )
    return Answer(Standing.BORNE_OUT, f"Sound; {numbers}.")


def _empty_is_safer(evidence: Evidence) -> Answer:
    dead = [cell for cell in evidence.every(EMPTY) if _end(cell.base)]
    alive = [cell for cell in dead if not _end(cell.column)]
    if alive:
        return Answer(Standing.BORNE_OUT, f"The test alone keeps the host alive {places(alive)}.")
    if dead:
        ends = listed(list(dict.fromkeys(_end(cell.base) for cell in dead)))
        return Answer(
            Standing.REFUTED, f"The test alone does not keep the host alive {places(dead)}: {ends}."
        )
    counted = repairs(evidence.posted, BUDGET)
    left = [cell for cell in counted if _fails(evidence.every(EMPTY), cell)]
    text = "The list never ran empty, so the test made no difference."
    if left:
        text += (
            f" It is no substitute for the count: the budget stays wrong ({BUDGET}) {places(left)}."
        )
    return nowhere(text)


def _end(column: ComparedColumn) -> str:
    """How the simulated kernel broke, or nothing."""
    stopped = end_of(column)
    return "" if stopped is None else stop_text(stopped)


def _fails(cells: list[Cell], beside: Cell) -> bool:
    """Whether a form fails the budget where another one repairs it."""
    same = [e for e in cells if (e.trace, e.setting) == (beside.trace, beside.setting)]
    return bool(fails_still(same, BUDGET))


def _count_is_needed(evidence: Evidence) -> Answer:
    counted = repairs(evidence.posted, BUDGET)
    left = [cell for cell in counted if _fails(evidence.every(EMPTY), cell)]
    if not left:
        return nowhere("No trace needed the count: the budget comes out the same without it.")
    return Answer(
        Standing.BORNE_OUT,
        f"Without the count the budget stays wrong ({BUDGET}) {places(left)}; with it it is right.",
    )


def _pinned_roots(evidence: Evidence) -> Answer:
    still = fails_still(evidence.posted, BUDGET)
    if not still:
        return nowhere(f"The budget ({BUDGET}) is right under the patch wherever it was replayed.")
    where = {(cell.trace, cell.setting) for cell in still}
    mended = [
        cell
        for cell in repairs(evidence.every(SELF), BUDGET)
        if (cell.trace, cell.setting) in where
    ]
    later = f"; {SELF} (54a4f0239f2) mends it {places(mended)}" if mended else ""
    return Answer(
        Standing.BORNE_OUT, f"The budget is still wrong ({BUDGET}) {places(still)}{later}."
    )


TOPIC = Topic(
    number=2,
    title="zapped-page accounting and list-walk restart",
    mail=xiao("1:01 am"),
    base="base",
    posted=Form(POSTED, "as posted", "Xiao Guangrong", "zap-account"),
    claim=_claim,
    counters=("exits", "mmu_pte_write", "mmu_cache_miss", "hw_flush"),
    forms=(
        Form(
            GOTO, "restarts in place of the iterator", "asked by Avi Kivity", "zap-restart-posted"
        ),
        Form("p2walks", "the restarts alone", "asked by Avi Kivity", "zap-restart-walks"),
        Form(EMPTY, "the test for an empty list alone", "by Marcelo Tosatti", "zap-list-empty"),
        Form("p2alt", "restarts and the test, no count", "asked by both", "zap-restart"),
        Form(INVALID, "zap only the page given", "Avi Kivity's idea", "zap-children-invalid"),
        Form("p2merged", "as merged for 2.6.34", "Xiao Guangrong", "zap-merged"),
        Form(SELF, "2.6.36: a zap answers what it freed", "Gui Jianfeng", "zap-return-self"),
        Form("p2self+p2batch", "2.6.36: prepare and commit", "Xiao Guangrong", "zap-batch"),
    ),
    objections=(
        Objection(
            avi("1:24 am"),
            "I don't understand why this is needed: the iterator is safe against removal.",
            _restart_is_needed,
            f"{VECTORS}/s10a_bucket_bug.ops.jsonl.zst",
        ),
        Objection(
            avi("5:49 am"), "Change the assignment to 'goto restart', not the iterator.", _goto
        ),
        Objection(
            avi("5:49 am"),
            "Later: zap only the page that is given, and use role.invalid on its children.",
            _only_the_page,
        ),
        Objection(
            marcelo("7:59 am", 13),
            "It is safer to check for an empty list than to rely on proper accounting.",
            _empty_is_safer,
        ),
        Objection(
            xiao("6:34 pm"),
            "The number of zapped pages is needed to adjust the number of free pages.",
            _count_is_needed,
        ),
        Objection(
            None,
            "A root in use is counted as freed although its page stays.",
            _pinned_roots,
            f"{VECTORS}/s19a_shrink_limit_in_use.ops.jsonl.zst",
        ),
    ),
    settings=(PLAIN, LOWERED),
    today=(
        "kvm_mmu_prepare_zap_page() puts pages on a list that kvm_mmu_commit_zap_page() frees "
        "after one flush, and answers whether the list is unstable, so that walks restart. Pages "
        "are counted where they are made and where they are zapped (kvm_account_mmu_page())."
    ),
    settled="77662e0028c, 3246af0ece6, 54a4f0239f2, 7775834a233, d98ba053656, f41d335a02d (2.6.36)",
    note=(
        "No host lowers its page limit in a quiet capture, so every form is also replayed under a "
        "limit of 400 shadow pages that changes to 64 and back."
    ),
)
