"""What 2.6.36 did about needless context resets."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr-reset-bits",
    title="Reset the MMU context only for bits that matter to it",
    author="Sheng Yang",
    date="2010-05-12",
    summary=(
        "A write to CR4 drops the roots only if PGE, PSE or PAE changes; one to CR0 only if "
        "PG, WP, CD or NW does."
    ),
    claim="Other bits do not change how tables are walked.",
    objection=(
        "PGE is among the bits, so the toggling that patch 4 is about stays as dear as it was."
    ),
    fate="Merged: aad827034e4 (2.6.36).",
    knobs={"cr_reset": 1},
    requires=(),
    source="aad827034e4",
    short="p4b",
    form_of="cr4-posted",
)
