"""One piece of patch 6 as merged: table writes."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="write-flush-once",
    title="One flush for an emulated table write",
    author="Xiao Guangrong",
    date="2010-06-04",
    summary=(
        "An emulated write to a page table makes one flush at its end instead of one for each"
        " shadow entry: a remote one if any entry needs it, else a local one; none if a page "
        "zapped by the write brings a flush of its own (zap-batch)."
    ),
    claim="Fewer flushes when a table is shadowed more than once.",
    objection="",
    fate="Merged: 0671a8e75d8 (2.6.36).",
    knobs={"write_flush": 1},
    requires=(),
    source="0671a8e75d8",
    short="p6w",
    form_of="unsync-list-global",
)
