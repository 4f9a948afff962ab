"""The idea of patch 4 as it came eleven years later."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-guest-flush",
    title="A change of CR4.PGE requests a flush of the guest's TLB",
    author="Lai Jiangshan",
    date="2021",
    summary=(
        "A write to CR4 drops the roots only if PSE or PAE changes. A change of PGE is stored"
        " and asks for a flush that the next entry carries out: the roots are synchronised "
        "and the TLB is flushed once."
    ),
    claim="A toggle of PGE flushes translations; it changes nothing about how tables are walked.",
    objection="",
    fate="Merged: 5.16.",
    knobs={"cr4_write": 3},
    requires=("cr4-norole",),
    source="release 5.16",
    short="p4f",
    form_of="cr4-posted",
    reconstruction=(
        "Written from a description of what 5.16 does, not from its code; 5.16's other "
        "changes are left out."
    ),
)
