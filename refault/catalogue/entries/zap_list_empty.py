"""One half of what was asked for patch 2: stop at an empty list."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-list-empty",
    title="Patch 2, Marcelo Tosatti's half: leave the loop when the list is empty",
    author="after Marcelo Tosatti",
    date="2010-04-14",
    summary=(
        "The loop that lowers the page limit ends when no active page is left. It still "
        "counts one page for each zap, and the hash walks stay as they are."
    ),
    claim=(
        "Safer than trusting the count of zapped pages: whatever that says, no list head is "
        "taken for a page."
    ),
    objection=(
        "Xiao Guangrong: the zap's return value is needed to adjust the number of free pages."
        " And mmu_unshadow() can still continue at a freed page."
    ),
    fate="The test was merged as part of 77662e0028c (2.6.34-rc6).",
    knobs={"limit_loop": values.LIMIT_LOOP_UNTIL_EMPTY},
    requires=(),
    source="Marcelo Tosatti's reply in the same thread",
    short="p2empty",
    form_of="zap-account",
    reconstruction="The reply describes it; there was no such patch.",
    merged_in={"v2.6.35.6": "as part of 77662e0028c"},
)
