"""The purpose that CR4.PGE in the role once had."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="global-pages",
    title="Leave pages of global entries out of sync when CR3 is loaded",
    author="after Marcelo Tosatti and Avi Kivity",
    date="2008-12-01",
    summary=(
        "A shadow page that maps only global entries is not synchronised by loading "
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
        " is in a thread that we do not have; probably pages that mix global and other "
        "entries."
    ),
    fate=(
        "6cffe8ca4a2, e2078318042 and 25e2343246f with 2f0b3d60b2c (2.6.29); switched off as "
        "bf47a760f66 ('complexity not worthwhile') and removed as c2d0ee46e6e (2009). The "
        "role bit stayed until 87bc3bf972a."
    ),
    knobs={
        "global_pages": values.GLOBAL_PAGES_LEFT,
        "role_cr4_pge": values.ROLE_CR4_PGE_PRESENT,
        "cr4_write": values.CR4_WRITE_RESETS,
        "cr_reset": values.CR_RESET_ALWAYS,
    },
    requires=(),
    source="6cffe8ca4a2, 2f0b3d60b2c, 25e2343246f",
    short="p4g",
    form_of="cr4-posted",
    reconstruction=(
        "Rebuilt on code two years younger. It needs every write to CR4 and CR0 to reset, so "
        "it contradicts each patch that avoids that."
    ),
    subjects=(
        "KVM: MMU: skip global pgtables on sync due to cr3 switch",
        "KVM: MMU: Segregate mmu pages created with different cr4.pge settings",
        "KVM: MMU: Initialize a shadow page's global attribute from cr4.pge",
        "KVM: MMU: Don't treat a global pte as such if cr4.pge is cleared",
    ),
    parts=(
        ("495e5b598517bcfb9d7b1f511f5e8da9ec36a30dd84fab248fc3cdc5cc7df984",),
        ("6d9063f8431d5094068be2a3fa8c1a9060c6afb144f43a1fc736d52fd25e64ec",),
        ("df7379edb8118288412d3fe43355a9ffaab29e0d89fcbd7e0df81d209e0e71b1",),
        ("e9a9627661dfea73fe235c89dc3aa830448d053f595edddd9ae230bf8a1a4191",),
    ),
    places={
        "6d9063f8431d5094068be2a3fa8c1a9060c6afb144f43a1fc736d52fd25e64ec": (
            "c72f1a63: 9a64a58e:64787858"
        ),
        "df7379edb8118288412d3fe43355a9ffaab29e0d89fcbd7e0df81d209e0e71b1": (
            "f9754dcb:675faba5 792754ff:7f78d597 314bf220:6f34750d"
        ),
        "e9a9627661dfea73fe235c89dc3aa830448d053f595edddd9ae230bf8a1a4191": ("314bf220:6f34750d"),
    },
    files=(
        "arch/x86/include/asm/kvm_host.h",
        "arch/x86/kvm/mmu.c",
        "arch/x86/kvm/paging_tmpl.h",
        "arch/x86/kvm/x86.c",
    ),
)
