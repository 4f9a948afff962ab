"""Patch 4: what a guest's write to CR4 costs."""

from __future__ import annotations

from refault.compare import COSTS
from refault.thread.evidence import Answer, Cell, Evidence, Standing
from refault.thread.mails import avi, xiao
from refault.thread.rules import (
    breaks_something,
    changes,
    failing,
    falls,
    moved_text,
    not_measured,
    nowhere,
    places,
    rises,
    unsound,
)
from refault.thread.topics import VECTORS, Form, Objection, Topic

POSTED, STORED, NO_ROLE, BOTH, GLOBAL = "p4", "p2+p4s", "p2+p4n", "p4r", "p2+p4g"
_COUNTERS = ("exits", "mmu_cache_miss", "hw_flush")


def _is_idle(evidence: Evidence, *texts: str) -> bool:
    """Whether no trace has a write that these forms treat otherwise than the base."""
    return not any(
        cell.delta(name) for text in texts for cell in evidence.of(text) for name in COSTS
    )


def _lost(evidence: Evidence) -> list[Cell]:
    """Where a value that the guest wrote did not get into the register."""
    return failing(evidence.every(POSTED), "F-P2")


def _told_lost(cells: list[Cell]) -> str:
    told = []
    for cell in cells:
        found = cell.broken("F-P2")
        if found is not None:
            told.append(
                f"operation {found.operation_index} ({found.operation}): {found.got}, should be: "
                f"{found.want} {places([cell])}"
            )
    return "; ".join(told)


def _claim(evidence: Evidence) -> Answer:
    lost = _lost(evidence)
    if lost:
        return Answer(
            Standing.REFUTED, f"CR4 keeps its old value, so PGE never changes: {_told_lost(lost)}."
        )
    if _is_idle(evidence, POSTED):
        return nowhere("No write to CR4 changes PGE alone here.")
    return Answer(Standing.BORNE_OUT, f"{changes(evidence, POSTED, _COUNTERS)}.")


def _depends_on_cr4(evidence: Evidence) -> Answer:
    if _is_idle(evidence, STORED, BOTH):
        return nowhere("No write to CR4 changes PGE alone here.")
    with_role = evidence.moved(STORED, "exits")
    without = evidence.moved(BOTH, "exits")
    text = (
        f"Without a reset the loaded pages keep the role of the old PGE: with the store added "
        f"(p4s), {moved_text(with_role)}; with PGE out of the role too (p4r), "
        f"{without:+d}."
    )
    return Answer(Standing.BORNE_OUT if with_role > without else Standing.REFUTED, text)


def _is_unnecessary(evidence: Evidence) -> Answer:
    if _is_idle(evidence, BOTH):
        return nowhere("No write to CR4 changes PGE alone here.")
    numbers = changes(evidence, BOTH, _COUNTERS)
    saved = [cell for cell in evidence.of(BOTH) if falls(cell)]
    if saved:
        return Answer(Standing.REFUTED, f"Done right (p4r) it saves: {numbers}.")
    return Answer(Standing.BORNE_OUT, f"Done right (p4r) it saves less than 1 %: {numbers}.")


def _which_path(evidence: Evidence) -> Answer:
    dropped, restored = unsound(evidence, NO_ROLE), unsound(evidence, GLOBAL)
    _, told = breaks_something(evidence, GLOBAL)
    exits = (
        f"exits {evidence.moved(NO_ROLE, 'exits'):+d} without the role bit (p4n), "
        f"{evidence.moved(GLOBAL, 'exits'):+d} with the optimisation (p4g)"
    )
    if restored and not dropped:
        return Answer(
            Standing.ANSWERED,
            f"Drop the role bit. With the optimisation of 2008 restored (p4g): {told} "
            f"Over all traces, {exits}.",
        )
    if dropped and not restored:
        return Answer(Standing.ANSWERED, f"Restore the optimisation: {places(dropped)} p4n breaks.")
    if _is_idle(evidence, NO_ROLE, GLOBAL):
        return nowhere("Neither path changes anything here.")
    less = evidence.moved(NO_ROLE, "exits") <= evidence.moved(GLOBAL, "exits")
    choice = "dropping the role bit saves no less" if less else "the optimisation saves more"
    return Answer(Standing.ANSWERED, f"Both hold here, and {choice}: {exits}.")


def _store_is_lost(evidence: Evidence) -> Answer:
    lost = _lost(evidence)
    if not lost:
        return nowhere("No write to CR4 changes PGE alone here.")
    slower = [cell for cell in evidence.of(POSTED) if rises(cell)]
    cost = f" Guests that retry exit more {places(slower)}." if slower else ""
    return Answer(Standing.BORNE_OUT, f"At {_told_lost(lost)}.{cost}")


TOPIC = Topic(
    number=4,
    title="optimize for writing cr4",
    mail=xiao("1:03 am"),
    base="p2",
    posted=Form(POSTED, "as posted", "Xiao Guangrong", "cr4-posted"),
    claim=_claim,
    counters=("exits", "mmu_cache_miss", "hw_flush", "reload_calls"),
    forms=(
        Form(STORED, "with the store added", "after Xiao Guangrong", "cr4-store"),
        Form(NO_ROLE, "PGE out of the role, as merged", "Avi Kivity", "cr4-norole"),
        Form(BOTH, "the store, and PGE out of the role", "after both", "cr4-store-norole"),
        Form(
            GLOBAL,
            "global pages stay out of sync (2008)",
            "Avi Kivity's path",
            "global-pages",
        ),
        Form("p2+p4b", "2.6.36: reset for some bits", "Sheng Yang", "cr-reset-bits"),
        Form("p2+p4n+p4f", "5.16: PGE asks for a flush", "Lai Jiangshan", "cr4-guest-flush"),
    ),
    objections=(
        Objection(
            avi("1:34 am"),
            "All of which depend on cr4. (The archive lost the lines he answers.)",
            _depends_on_cr4,
        ),
        Objection(
            xiao("3:42 am"),
            "CR3's pages can be found again in the cache, so maybe this patch is unnecessary.",
            _is_unnecessary,
        ),
        Objection(
            avi("4:22 am"),
            "Or drop it altogether and give the guest ownership of cr4.pge.",
            not_measured(
                "KVM does so with two-dimensional paging only. With shadow pages it must see the "
                "write: it is the guest's flush."
            ),
        ),
        Objection(
            avi("11:42 pm"),
            "Revert the separation by cr4.pge, or restore the optimization that relies on it; "
            "I'm not sure which is best.",
            _which_path,
        ),
        Objection(
            None,
            "The fast path returns before the new value is stored.",
            _store_is_lost,
            f"{VECTORS}/s13_pge_toggle.ops.jsonl.zst",
        ),
    ),
    reasons={
        "F-P2": (
            "kvm_set_cr4() returns from the fast path before kvm_x86_ops->set_cr4() and "
            "vcpu->arch.cr4 get the new value. The guest reads the old one back, and each later "
            "attempt exits again."
        ),
    },
    today=(
        "kvm_post_set_cr4() resets the MMU for bits of its role, and PGE is not one of them: a "
        "change of PGE is stored and requests a flush of the guest's TLB."
    ),
    settled="87bc3bf972a (2.6.35), aad827034e4 (2.6.36), and a fast path for PGE in 5.16",
)
