"""Patch 4 as intended, and without CR4.PGE in the role."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-store-norole",
    title="Patch 4 as intended, without CR4.PGE in the role",
    author="after Xiao Guangrong and Avi Kivity",
    date="2010-04-19",
    summary=(
        "The fast path of patch 4, storing the new value, on shadow pages that do not depend "
        "on CR4.PGE (87bc3bf972a)."
    ),
    claim="The guest reads back what it wrote, and there is no second tree of shadow pages.",
    objection="",
    fate=(
        "The role bit went with 87bc3bf972a (2.6.35-rc1); a fast path for PGE came much later, "
        "in 5.16."
    ),
    knobs={"cr4_write": values.CR4_WRITE_STORES, "role_cr4_pge": values.ROLE_CR4_PGE_ABSENT},
    requires=(),
    source="the thread, and 87bc3bf972a of 19 April 2010",
    short="p4r",
    form_of="cr4-posted",
    reconstruction="The fast path that stores is ours; the role change is the commit's.",
    not_on={"v2.6.35.6": "CR4.PGE has left the role there; cr4-store is what remains of it"},
)
