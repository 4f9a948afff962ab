"""Patch 6 as Avi Kivity's objection would have it."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-list-reachable",
    title="Patch 6 with a list of candidates, filtered by reachability",
    author="after Avi Kivity",
    date="2010-04-12",
    summary=(
        "Loading a root goes through the list of out-of-sync pages and synchronises those "
        "that some path of links joins to a root being loaded; the rest stay writable. One "
        "local flush at the end."
    ),
    claim="Only what the new root reaches is synchronised, without walking marks downward.",
    objection="Each listed page costs a walk upward, along every path until a root is found.",
    fate="Never posted.",
    knobs={"sync_scope": values.SYNC_SCOPE_REACHABLE},
    requires=(),
    source="Avi Kivity's reply in the same thread",
    short="p6reach",
    form_of="unsync-list-global",
    reconstruction="The reply only says what must not be synchronised; the rest is our idea.",
)
