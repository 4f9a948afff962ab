"""The six patches together, and what releases merged of them."""

from __future__ import annotations

from refault.thread.evidence import Answer, Evidence, Standing
from refault.thread.mails import xiao
from refault.thread.rules import breaks_something, changes
from refault.thread.topics import Form, Topic

POSTED = "series"
_COUNTERS = ("exits", "mmu_cache_miss", "hw_flush", "parent_marks")


def _claim(evidence: Evidence) -> Answer:
    broken, told = breaks_something(evidence, POSTED)
    numbers = changes(evidence, POSTED, _COUNTERS)
    if broken:
        return Answer(Standing.REFUTED, f"{told} {numbers}.")
    return Answer(Standing.ANSWERED, f"Every check holds. {numbers}.")


TOPIC = Topic(
    number=0,
    title="all six patches, and what releases merged",
    mail=xiao("12:59 am"),
    base="base",
    posted=Form(
        POSTED,
        "as posted",
        "Xiao Guangrong",
        own_claim="Fixes, clean-ups and optimisations of the shadow MMU.",
        own_fate=(
            "2.6.34 took patch 2 as zap-merged; 2.6.35 patch 1, patch 5 as bool, the unused "
            "argument of patch 3 and Avi Kivity's answer to patch 4; 2.6.36 the early stop, on "
            "exact marks, and single flushes. The list of patch 6 was never merged."
        ),
    ),
    claim=_claim,
    counters=_COUNTERS,
    forms=(
        Form("merged-2.6.34", "what 2.6.34 took", "release", own_claim="Patch 2 as merged."),
        Form(
            "merged-2.6.35",
            "what 2.6.35 took",
            "release",
            own_claim="Patches 1, 2, 5, the role without PGE, and all else that 2.6.35 changed.",
        ),
        Form(
            "merged-2.6.36",
            "what 2.6.36 took",
            "release",
            own_claim="The same, exact marks, the early stop, batched zaps, deferred flushes.",
        ),
    ),
    today="See each patch.",
    settled="",
)
