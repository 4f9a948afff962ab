"""Avi Kivity's answer to patch 4."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-norole",
    title="Take CR4.PGE out of the role",
    author="Avi Kivity",
    date="2010-04-19",
    summary=(
        "Shadow pages no longer depend on CR4.PGE. A write to CR4 still drops the roots, but "
        "the next entry finds the same pages again."
    ),
    claim=(
        "Nothing relies on the separation since the optimisation for global pages went in "
        "2009; without it there is no second tree of shadow pages, and no table is kept from "
        "going out of sync by its twin."
    ),
    objection="",
    fate="Merged: 87bc3bf972a (2.6.35-rc1).",
    knobs={"role_cr4_pge": 0},
    requires=(),
    source="87bc3bf972a",
    short="p4n",
    form_of="cr4-posted",
    merged_in={"v2.6.35.6": "as 87bc3bf972a"},
)
