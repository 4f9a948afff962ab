"""What CR4.PGE in the role had been for."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="global-pages",
    title="Leave pages of global entries out of sync when CR3 is loaded",
    author="after Marcelo Tosatti and Avi Kivity",
    date="2008-12-01",
    summary=(
        "A shadow page that maps nothing but global entries is not synchronised by loading "
        "CR3, and its ancestors are not marked; writes to CR0 and CR4 synchronise all such "
        "pages before the reset. Pages for PGE on and off are kept apart by the role, and G "
        "is ignored while PGE is off. A page that maps an entry without G becomes like any "
        "other."
    ),
    claim=(
        "Global translations outlive a load of CR3 on the processor too, so kernel tables "
        "need no synchronising at every switch."
    ),
    objection=(
        "Avi Kivity, 2010: restore it, or drop the role bit that it needs. What broke in 2009"
        " is told in a thread we do not have; a page that mixes global and other entries is "
        "the likely place."
    ),
    fate=(
        "6cffe8ca4a2, e2078318042 and 25e2343246f with 2f0b3d60b2c (2.6.29); switched off as "
        "bf47a760f66 ('complexity not worthwhile') and removed as c2d0ee46e6e (2009). The "
        "role bit stayed until 87bc3bf972a."
    ),
    knobs={"global_pages": 1, "role_cr4_pge": 1, "cr4_write": 0, "cr_reset": 0},
    requires=(),
    source="6cffe8ca4a2, 2f0b3d60b2c, 25e2343246f",
    short="p4g",
    form_of="cr4-posted",
    reconstruction=(
        "Rebuilt on code two years younger. It needs every write to CR4 and CR0 to reset, so "
        "it contradicts each patch that avoids that."
    ),
)
