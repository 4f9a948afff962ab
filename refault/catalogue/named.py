"""Patch sets with a name: the series, those of the golden data, and what releases merged."""

from __future__ import annotations

from refault.catalogue.model import PatchSet

#: The six patches of 12 April 2010, in the order they were posted.
SEED_SERIES = (
    "unsync-walk-struct",
    "zap-account",
    "parent-stop-bit",
    "cr4-posted",
    "sp-flags-word",
    "unsync-list-global",
)

_FORMS: dict[str, tuple[str, ...]] = {
    "p2": ("zap-account",),
    "p2alt": ("zap-restart",),
    "p3": ("zap-account", "parent-stop-bit"),
    "p3count": ("zap-account", "parent-stop-count"),
    "p3fix": ("zap-account", "parent-stop-count", "unsync-clear-exact"),
    "p4": ("zap-account", "cr4-posted"),
    "p4r": ("zap-account", "cr4-store-norole"),
    "p6": ("zap-account", "unsync-list-global"),
    "series": SEED_SERIES,
}
_APRIL_FORMS: dict[str, tuple[str, ...]] = {
    **_FORMS,
    "p2goto_nolist": ("zap-restart-posted",),
    "p2merged": ("zap-merged",),
    "p3full": (
        "zap-account",
        "unsync-count-exact",
        "unsync-clear-complete",
        "parent-stop-merged",
    ),
}

#: The name of a configuration in the golden results, and the patch set that makes it. Two of them
#: may be one machine (``apr_p3fix`` and ``apr_p3full``); a variant then has the first name.
GOLDEN: dict[str, PatchSet] = {
    "base": PatchSet("v2.6.34-pre"),
    "rel34": PatchSet("v2.6.34-pre", ("zap-merged",)),
    **{name: PatchSet("v2.6.34-pre", ids) for name, ids in _FORMS.items()},
    "apr": PatchSet("kvm-2010-04"),
    **{f"apr_{name}": PatchSet("kvm-2010-04", ids) for name, ids in _APRIL_FORMS.items()},
    "rel35": PatchSet("v2.6.35.6"),
}

#: What a release contains of this series, and nothing else of it. 2.6.36 has much more: tables
#: that are all out of sync at once, INVLPG of out-of-sync pages only, and so on.
MERGED: dict[str, PatchSet] = {
    "merged-2.6.34": PatchSet("v2.6.34-pre", ("zap-merged",)),
    "merged-2.6.35": PatchSet("v2.6.35.6"),
    "merged-2.6.36": PatchSet(
        "v2.6.35.6",
        (
            "zap-return-self",
            "zap-batch",
            "write-flush-once",
            "flush-local-deferred",
            "unsync-count-exact",
            "unsync-clear-complete",
            "parent-stop-merged",
            "sync-protect-once",
            "cr-reset-bits",
        ),
    ),
}

NAMED: dict[str, PatchSet] = {**GOLDEN, **MERGED}
