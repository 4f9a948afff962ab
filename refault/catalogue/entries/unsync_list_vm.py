"""Patch 6 without its most obvious fault."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-list-vm",
    title="Patch 6 with a list for each VM",
    author="after Avi Kivity",
    date="2010-04-12",
    summary=(
        "As unsync-list-global, but each VM has a list of its own. A host here has one guest,"
        " so the two are the same machine: the same knob, and the same results."
    ),
    claim="No page of another VM is reached without that VM's lock.",
    objection="The other objections to patch 6 stand.",
    fate="Never posted.",
    knobs={"sync_scope": values.SYNC_SCOPE_LISTED},
    requires=(),
    source="the objections in the thread",
    short="p6vm",
    form_of="unsync-list-global",
    reconstruction="It was never posted; the loop is that of unsync-list-global.",
)
