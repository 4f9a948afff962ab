"""Patch 6: all out-of-sync pages on one list."""

from __future__ import annotations

from refault.thread.evidence import Answer, Evidence, Standing
from refault.thread.mails import avi, xiao
from refault.thread.rules import (
    breaks_something,
    change,
    changes,
    moved_text,
    not_measured,
    nowhere,
    places,
    rises,
    sampled_text,
)
from refault.thread.topics import Form, Objection, Topic

POSTED, REACH, ONCE = "p6", "p2+p6reach", "p2+p6once"
_FLUSHES = ("tlb_flush", "hw_flush")


def _claim(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, POSTED)
    if broken:
        return Answer(Standing.REFUTED, told)
    calls, flushes = (evidence.moved(POSTED, name) for name in _FLUSHES)
    numbers = f"{changes(evidence, POSTED, _FLUSHES)}."
    if calls < 0 and flushes < 0:
        return Answer(Standing.BORNE_OUT, numbers)
    if calls < 0 < flushes:
        return Answer(
            Standing.REFUTED,
            f"Fewer calls, but more flushes reach the processor: {numbers}",
        )
    if not calls and not flushes:
        return nowhere("The number of flushes is the same.")
    return Answer(Standing.IN_PART, numbers)


def _list_is_long(evidence: Evidence) -> Answer:
    cells = evidence.of(POSTED)
    told = "; ".join(f"{sampled_text(cell.samples)} on {cell.trace}" for cell in cells)
    text = f"Pages out of sync at once, under the base: {told}."
    if not any(any(cell.samples) for cell in cells):
        return nowhere(text)
    mostly = [cell for cell in cells if sum(map(bool, cell.samples)) * 2 > len(cell.samples)]
    return Answer(Standing.BORNE_OUT if len(mostly) == len(cells) else Standing.IN_PART, text)


def _only_reachable(evidence: Evidence) -> Answer:
    numbers = changes(evidence, POSTED, ("exits", "synced", "mmu_cache_miss"))
    worse = [cell for cell in evidence.of(POSTED) if rises(cell, ("exits",))]
    filtered = (
        "With the list filtered by reachability (p6reach) "
        f"{moved_text(evidence.moved(REACH, 'exits'))}"
    )
    if worse:
        return Answer(Standing.BORNE_OUT, f"{numbers}. {filtered}.")
    if not evidence.moved(POSTED, "synced"):
        return nowhere("Every page on the list was reachable from the root that was loaded.")
    return Answer(Standing.REFUTED, f"{numbers}. {filtered}.")


def _flush_once(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, ONCE)
    if broken:
        return Answer(Standing.REFUTED, told)
    saved, base = evidence.moved(ONCE, "hw_flush"), evidence.base_total("hw_flush")
    if not saved:
        return nowhere("No sync had more than one flush.")
    worse = [cell for cell in evidence.of(ONCE) if rises(cell)]
    text = f"The single flush without the list (p6once): {change('hw_flush', saved, base)}"
    if worse:
        return Answer(Standing.IN_PART, f"{text}, but costs rise {places(worse)}.")
    return Answer(Standing.BORNE_OUT, f"{text}, no other cost rises.")


TOPIC = Topic(
    number=6,
    title="chain unsync pages, flush once",
    mail=xiao("1:06 am"),
    base="p2",
    posted=Form(POSTED, "as posted: one list", "Xiao Guangrong", "unsync-list-global"),
    claim=_claim,
    counters=("exits", "mmu_cache_miss", "synced", *_FLUSHES),
    sampled="mmu_unsync",
    forms=(
        Form("p2+p6vm", "a list for each VM", "after Avi Kivity", "unsync-list-vm"),
        Form(
            REACH, "the list filtered by reachability", "after Avi Kivity", "unsync-list-reachable"
        ),
        Form(ONCE, "no list, one flush", "after Xiao Guangrong", "sync-flush-once"),
        Form("p2+p6s", "2.6.36: protect once", "Xiao Guangrong", "sync-protect-once"),
        Form("p2+p6w", "2.6.36: one flush a table write", "Xiao Guangrong", "write-flush-once"),
        Form("p2+p6d", "2.6.36: flush at the next entry", "Xiao Guangrong", "flush-local-deferred"),
    ),
    objections=(
        Objection(
            avi("1:43 am"),
            "Will this ever happen? We usually have a ton of them.",
            _list_is_long,
        ),
        Objection(
            avi("1:43 am"),
            "Counter to the point of unsync: sync only what the new root reaches; the rest stays "
            "writable, to reduce our fault count.",
            _only_reachable,
        ),
        Objection(xiao("4:14 am"), "This patch needs more cooking; I'll improve it.", _flush_once),
        Objection(
            None,
            "The list is one for the whole module, so it reaches pages of other VMs without their "
            "lock.",
            not_measured("A trace holds one guest, so a list of its own (p6vm) is the same here."),
        ),
    ),
    today=(
        "mmu_sync_children() walks the marks below the root being loaded. It flushes once after "
        "it has write protected a vector of pages, and once at the end; there is no list."
    ),
    settled="d98ba053656, 0671a8e75d8, 3b5d1321866, f918b443527 (2.6.36), a4ee1ca4a36 (2.6.38)",
)
