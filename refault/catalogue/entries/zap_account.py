"""Patch 2 of the series: counting what a zap frees, and safe walks.

Zapping a shadow page also zaps its out-of-sync children. Three callers did
not consider that: the zap's own count, the loop that lowers the page
limit, and a hash walk that keeps the next node while the zap may free it.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-account",
    title="[PATCH 2/6] zapped-page accounting and list-walk restart",
    author="Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "mmu_zap_unsync_children() counts the children it zaps one by one. "
        "kvm_mmu_change_mmu_pages() subtracts them when it lowers the page limit. "
        "mmu_unshadow() restarts at the head of the bucket after a zap that zapped children."
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
    knobs={
        "zap_return": values.ZAP_RETURN_CHILDREN,
        "hash_restart": values.HASH_RESTART_UNSHADOW,
        "limit_loop": values.LIMIT_LOOP_CHILDREN,
    },
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 1:01 am; complete in the thread",
    short="p2",
    merged_in={"v2.6.35.6": "as 77662e0028c and 3246af0ece6"},
    subjects=("KVM MMU: fix kvm_mmu_zap_page() and its calling path",),
    diff_ids=("b5c27ae139fea2c3df3d9ffb727a76a49d9bd102eb2502be0f9418c5fe80fc7a",),
    places={
        "b5c27ae139fea2c3df3d9ffb727a76a49d9bd102eb2502be0f9418c5fe80fc7a": (
            "2ef75f40: :b70a7d60 d71a10d4:61edb694 d695f797:"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)
