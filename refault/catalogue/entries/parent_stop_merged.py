"""Patch 3 as merged, last of three steps."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="parent-stop-merged",
    title="Patch 3 as merged: do not walk every parent while marking",
    author="Xiao Guangrong",
    date="2010-06-11",
    summary=(
        "Marking stops at a parent that had marked children already, by two functions that "
        "call each other, as Avi Kivity had suggested."
    ),
    claim=(
        "With exact marks a parent that has one has marked ancestors, so the walk may stop there."
    ),
    objection="",
    fate=(
        "Merged: 1047df1fb68 (2.6.36). On April's code the three steps gave the same bytes as"
        " parent-stop-count with unsync-clear-exact, so they are the same knobs here."
    ),
    knobs={"parent_stop": 2},
    requires=("unsync-clear-complete",),
    source="1047df1fb68",
    short="p3m3",
    form_of="parent-stop-bit",
)
