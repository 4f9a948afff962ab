"""The guests of :mod:`tests.engines.traffic` under variants that set every new knob.

``python -m tests.engines.variant_traffic FIRST COUNT`` prints its lines of digests.
"""

import sys

from refault.catalogue import MERGED, PatchSet, resolve
from tests.engines import traffic

LATER = (
    *MERGED["merged-2.6.36"].patches,
    *("sync-transient", "unsync-many", "invlpg-unsync", "pte-prefetch-exact"),
    *("write-lost-flush", "sync-flush-lazy", "pvm-prefault"),
)
PATCH_SETS = [
    MERGED["merged-2.6.36"],
    PatchSet("v2.6.35.6", LATER),
    PatchSet("v2.6.35.6", ("pvm-dirty-epoch", "pvm-root-pair", "sync-transient", "pte-prefetch")),
    PatchSet("v2.6.35.6", ("pvm-table-queue", "pvm-prefault", "pvm-root-pair")),
    PatchSet(patches=("zap-children-invalid", "global-pages", "unsync-list-reachable")),
    PatchSet(
        "kvm-2010-04", ("zap-return-self", "cr4-norole", "cr4-guest-flush", "sync-flush-once")
    ),
    PatchSet(
        patches=(
            *("zap-return-self", "zap-batch", "unsync-count-exact", "cr4-store"),
            *("sync-flush-once", "sync-protect-once", "write-flush-once", "flush-local-deferred"),
        )
    ),
]


def main(first, count):
    traffic.VARIANTS[:] = [resolve(patch_set) for patch_set in PATCH_SETS]
    traffic.main(first, count)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
