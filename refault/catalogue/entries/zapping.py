"""Patch 2 of the series and its other forms: counting what a zap frees, and walking on safely.

Zapping a shadow page also zaps its out-of-sync children. Three callers did
not reckon with that: the zap's own count, the loop that lowers the page
limit, and a hash walk that keeps the next node while the zap may free it.
"""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCHES: tuple[Patch, ...] = (
    Patch(
        id="zap-account",
        title="[PATCH 2/6] zapped-page accounting and list-walk restart",
        author="Xiao Guangrong",
        date="2010-04-12",
        summary=(
            "mmu_zap_unsync_children() counts the children it zaps one by one. "
            "kvm_mmu_change_mmu_pages() subtracts them when it lowers the page limit. "
            "mmu_unshadow() goes on from the head of the bucket after a zap that took children."
        ),
        claim=(
            "The number of zapped pages was wrong (it held the parents too), the freed pages were "
            "counted short, and the next node of the walk can be one of the zapped children: a "
            "use after free."
        ),
        objection=(
            "Avi Kivity first doubted the restart, then saw the defect; he asked for 'goto "
            "restart' instead of touching the iterator, and for a zap that frees only the page it "
            "is given later. Marcelo Tosatti would rather leave the loop when the list of active "
            "pages is empty than trust the accounting."
        ),
        fate=(
            "Merged in another form: 77662e0028c (2.6.34-rc6, marked for stable; here zap-merged), "
            "then 3246af0ece6 (2.6.35-rc1) with restarts in every walk, d35b8dd9355 (2.6.35-rc1) "
            "and 54a4f0239f2 (2.6.36)."
        ),
        knobs={"zap_return": 1, "hash_restart": 1, "limit_loop": 1},
        requires=(),
        source="kvm mailing list, 12 April 2010, mail of 1:01 am; complete in the thread",
        short="p2",
    ),
    Patch(
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
        knobs={"hash_restart": 2, "limit_loop": 2},
        requires=(),
        source="replies of 12 to 14 April 2010 in the same thread",
        short="p2alt",
        form_of="zap-account",
        reconstruction="The replies say it in words; there was no such patch.",
    ),
    Patch(
        id="zap-restart-posted",
        title="Patch 2 with restarts instead of its change to the iterator",
        author="after Avi Kivity",
        date="2010-04-12",
        summary=(
            "Every hash and list walk starts again after a zap that took children; the loop that "
            "lowers the page limit stays as posted, without a test for an empty list."
        ),
        claim="'goto restart' is easier to read than a changed iterator, and as safe.",
        objection="",
        fate="The restarts were merged as 3246af0ece6 (2.6.35-rc1).",
        knobs={"zap_return": 1, "hash_restart": 2, "limit_loop": 1},
        requires=(),
        source="Avi Kivity's reply of 12 April 2010 in the same thread",
        short="p2goto",
        form_of="zap-account",
        reconstruction="The reply says it in words; there was no such patch.",
    ),
    Patch(
        id="zap-merged",
        title="Patch 2 as merged",
        author="Xiao Guangrong",
        date="2010-04",
        summary=(
            "As posted, and: the loop that lowers the page limit also ends at an empty list, and "
            "the limit becomes the number of pages that are left."
        ),
        claim="No page of the budget is lost for good when the limit is lowered.",
        objection=(
            "The limit can end below the request, and roots in use still count as freed, until "
            "54a4f0239f2 (2.6.36)."
        ),
        fate="Merged: 77662e0028c (2.6.34-rc6, marked for stable).",
        knobs={"zap_return": 1, "hash_restart": 1, "limit_loop": 3},
        requires=(),
        source="release 2.6.34",
        short="p2merged",
        form_of="zap-account",
    ),
)
