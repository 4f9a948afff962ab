"""Patch 2 as its reviewers asked for it, both halves together."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-restart",
    title="Patch 2 as its reviewers asked: restart every walk, stop at an empty list",
    author="after Avi Kivity and Marcelo Tosatti",
    date="2010-04-14",
    summary=(
        "Every hash and list walk starts again after a zap that took children. The loop that "
        "lowers the page limit ends when no active page is left, and does not subtract "
        "children. A flooded page whose zap took children is not counted in mmu_flooded."
    ),
    claim=(
        "The same defects are closed without touching the iterator and without relying on "
        "the accounting."
    ),
    objection=(
        "Xiao Guangrong: the zap's return value is needed to adjust the number of free pages."
    ),
    fate=(
        "The restarts were merged as 3246af0ece6 (2.6.35-rc1), the test for an empty list as "
        "part of 77662e0028c (2.6.34-rc6)."
    ),
    knobs={
        "hash_restart": values.HASH_RESTART_EVERY_WALK,
        "limit_loop": values.LIMIT_LOOP_UNTIL_EMPTY,
    },
    requires=(),
    source="replies of 12 to 14 April 2010 in the same thread",
    short="p2alt",
    form_of="zap-account",
    reconstruction="The replies describe it; there was no such patch.",
    merged_in={"v2.6.35.6": "as 77662e0028c and 3246af0ece6"},
)
