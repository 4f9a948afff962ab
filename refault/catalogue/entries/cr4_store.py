"""Patch 4 as intended."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-store",
    title="Patch 4 as intended: the fast path stores the new value",
    author="after Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "The fast path of patch 4, with the new value stored. Where CR4.PGE is part of the "
        "role, the loaded pages keep the role they have until the next reset."
    ),
    claim=(
        "Toggling CR4.PGE costs one flush per write: no root is dropped, and no second tree of "
        "shadow pages is made for the few instructions with PGE off."
    ),
    objection="Avi Kivity asked for a decision on the role bit first.",
    fate="Not merged in this form; a fast path for PGE came in 5.16.",
    knobs={"cr4_write": values.CR4_WRITE_STORES},
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 1:03 am",
    short="p4s",
    form_of="cr4-posted",
    reconstruction="The mail with the store added; this was never posted.",
)
