"""Patch 5 of the series: fields of struct kvm_mmu_page as bits of one word. No behaviour."""

from __future__ import annotations

from refault.catalogue.model import Beginning, Patch

PATCH = Patch(
    id="sp-flags-word",
    title="[PATCH 5/6] flag word instead of int and bool fields",
    author="Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "'multimapped' and 'unsync' of struct kvm_mmu_page become bits of one word, read and "
        "written through small functions."
    ),
    claim="No functional change; a smaller struct.",
    objection=(
        "Avi Kivity: just use bool for multimapped; from more than four flags on, 'bool "
        "flag : 1' saves the space and stays readable."
    ),
    fate="Merged as bool: 0571d366e0b (2.6.35-rc1). On x86-64 neither form saves a byte.",
    knobs={},
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 1:05 am; cut off after the accessors",
    short="p5",
    merged_in={"v2.6.35.6": "as bool fields, 0571d366e0b"},
    layout="flag word",
    subjects=("KVM MMU: reduce kvm_mmu_page size",),
    beginning=Beginning(
        32, "c10ff819340754dc8e247b7f5dd8d1a2a9105bbe5ac3baec4b475e41a8535f6c", added=55, removed=24
    ),
    files=(
        "arch/x86/include/asm/kvm_host.h",
        "arch/x86/kvm/mmu.c",
        "arch/x86/kvm/mmutrace.h",
        "arch/x86/kvm/paging_tmpl.h",
    ),
)
