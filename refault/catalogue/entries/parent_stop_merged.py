"""Patch 3 as merged, last of three steps."""

from __future__ import annotations

from refault.catalogue import values
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
    knobs={"parent_stop": values.PARENT_STOP_AT_COUNT},
    requires=("unsync-clear-complete",),
    source="1047df1fb68",
    short="p3m3",
    form_of="parent-stop-bit",
    subjects=("KVM: MMU: don't walk every parent pages while mark unsync",),
    diff_ids=(
        "831a14192dc1e365a557267d2df99e5735407b12e02713fc194558e897974f3e",
        "b8d3d93b74820a948ea6ecaa079cc1e443ccac5248cfb26ab98bc03e2e69d31c",
        "6f1116a58ed3884e54bd3bf876d5e231e2d5e4760d928d5c7a724927c6d39c30",
    ),
    places={
        "6f1116a58ed3884e54bd3bf876d5e231e2d5e4760d928d5c7a724927c6d39c30": (
            "958a990a:8c4ddef6 7e551356:489248e0 ac6349ad:8beaabe2 "
            "6872c997:42af036c 42af036c: :8e01b411 8e01b411:8dfb3609"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)
