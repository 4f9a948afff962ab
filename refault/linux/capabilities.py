"""What a tree has, found by looking at it and never by its release: distributions port back.

Each capability is a name in ``capabilities.h``, ``RF_HAS_…``, and the files and the pattern that
show it. To follow a kernel that renamed something, add a line here and use its name in
``runtime/host.h``.
"""

from __future__ import annotations

import re
from pathlib import Path

_KVM_HOST = "arch/x86/include/asm/kvm_host.h"
_COMMON = "include/linux/kvm_host.h"

#: Name → files to look at, and what one of them must hold.
CAPABILITIES: dict[str, tuple[tuple[str, ...], str]] = {
    "KVM_INIT_OPAQUE": ((_COMMON,), r"int kvm_init\(void \*opaque"),
    "VENDOR_INIT": ((_KVM_HOST,), r"\bkvm_x86_vendor_init\("),
    "MODULE_INITS": ((_KVM_HOST,), r"\bkvm_mmu_x86_module_init\("),
    "FORCED_ROOT_LEVEL": ((_KVM_HOST,), r"kvm_configure_mmu\([^)]*\btdp_forced_root_level\b"),
    "STATIC_CALLS": ((_KVM_HOST,), r"DECLARE_STATIC_CALL\(kvm_x86_"),
    "FLUSH_TLB_NAMES": ((_KVM_HOST,), r"\(\*flush_tlb_all\)"),
    "PCPU_HOT": (("arch/x86/include/asm/current.h",), r"struct pcpu_hot\b"),
    "IS_VALID_CR4": ((_KVM_HOST,), r"\(\*is_valid_cr4\)"),
    "IS_VALID_CR0": (("arch/x86/include/asm/kvm-x86-ops.h",), r"KVM_X86_OP\(is_valid_cr0\)"),
    "CPUID_ENTRY_INDEX": (("arch/x86/kvm/cpuid.h",), r"kvm_find_cpuid_entry_index\("),
    "CPUID_ENTRY2": (
        ("arch/x86/kvm/cpuid.h",),
        r"static inline struct kvm_cpuid_entry2 \*kvm_find_cpuid_entry\(",
    ),
    "INLINE_KICK": ((_COMMON,), r"static inline void kvm_vcpu_kick\("),
    "RESERVED_GPA_BITS": ((_KVM_HOST,), r"\breserved_gpa_bits;"),
    "GOVERNED_FEATURES": ((_KVM_HOST,), r"\bgoverned_features;"),
    "CPU_CAPS": ((_KVM_HOST,), r"\bcpu_caps\["),
    "SHRINKER_ALLOC": (("include/linux/shrinker.h",), r"\bshrinker_alloc\("),
    "SHRINKER_NAME": (
        ("include/linux/shrinker.h",),
        r"register_shrinker\(struct shrinker \*shrinker,",
    ),
    "CHANGE_PTE": (("include/linux/mmu_notifier.h",), r"\(\*change_pte\)"),
    "UNPROTECT_PAGE": ((_KVM_HOST,), r"\bkvm_mmu_unprotect_page\("),
    "INJECT_FROM_HARDWARE": (
        (_KVM_HOST,),
        r"void kvm_inject_page_fault\([^)]*bool from_hardware\)",
    ),
    "LOAD_PDPTRS_MMU": ((_KVM_HOST,), r"load_pdptrs\(struct kvm_vcpu \*vcpu, struct kvm_mmu"),
    "PDPTRS_OF_VCPU": (
        ("arch/x86/kvm/regs.h", "arch/x86/kvm/kvm_cache_regs.h"),
        r"vcpu->arch\.pdptrs\[",
    ),
    "WRITE_PHYS": ((_KVM_HOST,), r"\bemulator_write_phys\("),
    "EMULATE_MSR_WRITE": ((_KVM_HOST,), r"\bkvm_emulate_msr_write\("),
    "ROOT_INFO": ((_KVM_HOST,), r"struct kvm_mmu_root_info root;"),
    "ROOT_ROLE": ((_KVM_HOST,), r"\broot_role;"),
    "TRY_TO_UNSYNC": (("arch/x86/kvm/mmu/mmu_internal.h",), r"\bmmu_try_to_unsync_pages\("),
    "UNSYNC_IN_SLOT": (
        ("arch/x86/kvm/mmu/mmu_internal.h",),
        r"\bmmu_try_to_unsync_pages\([^)]*\bstruct kvm_memory_slot\b",
    ),
    "UNSYNC_OF_VCPU": (
        ("arch/x86/kvm/mmu/mmu_internal.h",),
        r"\bmmu_try_to_unsync_pages\(struct kvm_vcpu\b",
    ),
    "LOCAL_FLUSHES": (
        ("arch/x86/kvm/x86.h", "arch/x86/kvm/x86.c"),
        r"\bvoid kvm_service_local_tlb_flush_requests\(",
    ),
    "GUEST_FLUSH_SYNCS": (
        ("arch/x86/kvm/x86.c",),
        r"(?ms)^static void kvm_vcpu_flush_tlb_guest\((?:(?!^\}).)*\bkvm_mmu_sync_prev_roots\(",
    ),
    "GUEST_FLUSH_UNLOADS": (
        ("arch/x86/kvm/x86.c",),
        r"(?ms)^static void kvm_vcpu_flush_tlb_guest\((?:(?!^\}).)*\bkvm_mmu_unload\(",
    ),
    "GPTE_BY_PAGE": (("arch/x86/kvm/mmu/paging_tmpl.h",), r"\bmemremap\("),
    "VCPU_ARRAY": ((_COMMON,), r"struct xarray vcpu_array;"),
    "PUT_CLEARS_DR6": (
        ("arch/x86/kvm/x86.c",),
        r"(?ms)^void kvm_arch_vcpu_put\((?:(?!^\}).)*\bset_debugreg\(",
    ),
    "MMU_RWLOCK": ((_COMMON,), r"\brwlock_t mmu_lock;"),
    "VM_TYPES": (("arch/x86/kvm/x86.h", _KVM_HOST), r"\bsupported_vm_types;"),
    "STATS_DESC": ((_COMMON,), r"\bkvm_vm_stats_desc\["),
    "STATS_NAME_IN_DESC": ((_COMMON,), r"extern const struct kvm_stats_desc kvm_vm_stats_desc"),
}


def capabilities(tree: Path) -> dict[str, bool]:
    """Which of them the tree has."""
    return {
        name: any(re.search(pattern, _text(tree / file)) for file in files)
        for name, (files, pattern) in CAPABILITIES.items()
    }


def header(tree: Path) -> str:
    """``capabilities.h``."""
    lines = [f"#define RF_HAS_{name} {int(has)}" for name, has in capabilities(tree).items()]
    return "\n".join(lines) + "\n"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
