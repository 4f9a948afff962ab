"""The configuration a tree is compiled with: ours, small, and the same for every tree.

A kernel's ``.config`` decides which of its ``CONFIG_`` symbols are set. No ``.config`` is read
here: what the shadow MMU needs is written down below, and what the tree itself derives from it is
read from the ``select`` lines of its Kconfig files. One processor, no tracing, no modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

#: Where a tree says what x86-64 and KVM select.
KCONFIGS = ("arch/x86/Kconfig", "arch/x86/kvm/Kconfig", "virt/kvm/Kconfig")

#: Set whatever the tree says. Values other than 1 are numbers and strings.
_ALWAYS: dict[str, str] = {
    **dict.fromkeys(
        (
            "64BIT",
            "X86",
            "X86_64",
            "MMU",
            "KVM",
            "HAVE_KVM",
            "HAVE_KVM_EVENTFD",
            "X86_5LEVEL",
            "DYNAMIC_MEMORY_LAYOUT",
            "SPARSEMEM",
            "SPARSEMEM_EXTREME",
            "SPARSEMEM_VMEMMAP",
            "SLUB",
            "BUG",
            "GENERIC_BUG",
            "GENERIC_BUG_RELATIVE_POINTERS",
            "DEBUG_BUGVERBOSE",
            "PRINTK",
            "HZ_250",
            "TINY_RCU",
            "TINY_SRCU",
            "PERF_EVENTS",
            "MEMCG",
            "CGROUPS",
            "TRANSPARENT_HUGEPAGE",
            "HUGETLB_PAGE",
            "HUGETLBFS",
            "MMU_NOTIFIER",
            "MIGRATION",
            "COMPACTION",
            "SYSFS",
            "EVENTFD",
            "SCHED_INFO",
            "KVM_X86",
            "PHYS_ADDR_T_64BIT",
            "ARCH_DMA_ADDR_T_64BIT",
            "HAS_IOMEM",
            "HAS_IOPORT",
            "HAS_DMA",
            "DEBUG_LIST",
            "LIST_HARDENED",
            "X86_CMPXCHG64",
            "X86_CMOV",
            "X86_TSC",
            "X86_LOCAL_APIC",
            "X86_IO_APIC",
            "X86_DEBUGCTLMSR",
            "X86_MCE",
            "CPU_SUP_INTEL",
            "CPU_SUP_AMD",
            "GENERIC_CPU",
            "ZONE_DMA",
            "ZONE_DMA32",
            "HIGH_RES_TIMERS",
            "PCI",
            "PCI_MSI",
            "ACPI",
            "NET",
            "INET",
            "BLOCK",
            "CC_IS_GCC",
            "CC_HAS_ASM_GOTO",
            "CC_HAS_ASM_GOTO_OUTPUT",
            "CC_HAS_ASM_GOTO_TIED_OUTPUT",
            "CC_HAS_ASM_INLINE",
            "CC_HAS_INT128",
            "ARCH_SUPPORTS_INT128",
            "THREAD_INFO_IN_TASK",
            "BASE_FULL",
            "UID16",
            "POSIX_TIMERS",
            "FUTEX",
            "EPOLL",
            "SHMEM",
            "AIO",
            "STACKTRACE_SUPPORT",
        ),
        "1",
    ),
    "CLANG_VERSION": "0",
    "NR_CPUS": "1",
    "NODES_SHIFT": "0",
    "PGTABLE_LEVELS": "5",
    "PAGE_SHIFT": "12",
    "HZ": "250",
    "BASE_SMALL": "0",
    "X86_L1_CACHE_SHIFT": "6",
    "X86_INTERNODE_CACHE_SHIFT": "6",
    "X86_MINIMUM_CPU_FAMILY": "64",
    "PHYSICAL_START": "0x1000000",
    "PHYSICAL_ALIGN": "0x200000",
    "RANDOMIZE_MEMORY_PHYSICAL_PADDING": "0xa",
    "LOG_BUF_SHIFT": "17",
    "ILLEGAL_POINTER_VALUE": "0xdead000000000000",
    "FUNCTION_ALIGNMENT": "16",
    "DEFAULT_HOSTNAME": '"(none)"',
    "KVM_MAX_NR_VCPUS": "1024",
    "ARCH_MMAP_RND_BITS": "28",
    "ARCH_MMAP_RND_BITS_MAX": "32",
    "SPLIT_PTLOCK_CPUS": "4",
    "BOOT_CONFIG_EMBED_FILE": '""',
}

#: Never set, whatever selects it: more processors, code that patches itself, tracing, hardening
#: that changes how memory is reached, and what only a booted kernel has.
_NEVER = re.compile(
    r"""
    SMP | .*PARAVIRT.* | .*STATIC_CALL.* | .*JUMP_LABEL.* | .*TRACEPOINTS? | .*TRACING | .*FTRACE.*
    | FUNCTION_.*TRACER | HAVE_FUNCTION_.*
    | PREEMPT | PREEMPTION | PREEMPT_(RCU|COUNT|BUILD|RT|LAZY|VOLUNTARY) | .*PREEMPT_DYNAMIC.*
    | TREE_S?RCU | MODULES | MODULE_SIG | KVM_MODULE | FORTIFY_SOURCE | .*HARDENED_USERCOPY.*
    | .*RETPOLINE.* | .*RETHUNK.* | LOCKDEP.* | MEMORY_HOTPLUG | HYPERV.* | KVM_HYPERV | KVM_XEN
    | .*KASAN.* | .*KCSAN.* | .*KMSAN.* | .*LIVEPATCH.* | KVM_GENERIC_PRIVATE_MEM
    | KVM_PRIVATE_MEM | KVM_GENERIC_MEMORY_ATTRIBUTES | KVM_SW_PROTECTED_VM | KVM_WERROR
    | .*_CLANG.* | .*UBSAN.* | .*STACKPROTECTOR.* | X86_32.* | .*QUEUED_(SPIN|RW)LOCKS
    | NUMA.* | NEED_PER_CPU_.* | HAVE_SETUP_PER_CPU_AREA | .*OBJTOOL.* | .*ORC.*
    | MEM_ALLOC_PROFILING | .*CALL_THUNKS.* | .*CALL_PADDING.*
    | .*VMAP_STACK.* | SOFTIRQ_ON_OWN_STACK | HAVE_SOFTIRQ_ON_OWN_STACK | CALL_DEPTH_TRACKING
    | .*KERNEL_IBT.* | .*SHADOW_STACK.* | USE_X86_SEG_SUPPORT
    """,
    re.VERBOSE,
)

_CONFIG = re.compile(r"(?:menu)?config\s+(\w+)\s*(?:#.*)?")
_SELECT = re.compile(r"\s+select\s+(\w+)(?:\s+if\s+(.*?))?\s*(?:#.*)?")

#: What a select may depend on to be followed: always true here.
_TRUE = {"X86_64", "64BIT", "MMU", "X86_64 && MMU", "MMU && X86_64", "SLUB", "PERF_EVENTS"}
_ROOTS = ("X86", "X86_64", "KVM", "KVM_X86", "MMU")


def settings(tree: Path) -> dict[str, str]:
    """The symbols that are set, with their values, in the order of their names."""
    selects = _selects(tree)
    found = dict(_ALWAYS)
    todo = list(_ROOTS)
    while todo:
        for symbol in selects.get(todo.pop(), ()):
            if symbol not in found and not _NEVER.fullmatch(symbol):
                found[symbol] = "1"
                todo.append(symbol)
    return dict(sorted(found.items()))


def autoconf(tree: Path) -> str:
    """``include/generated/autoconf.h`` of these settings."""
    lines = (f"#define CONFIG_{symbol} {value}" for symbol, value in settings(tree).items())
    return "\n".join(lines) + "\n"


def _selects(tree: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in KCONFIGS:
        path = tree / name
        if path.is_file():
            for symbol, selected in _select_lines(path.read_text(encoding="utf-8")):
                found.setdefault(symbol, []).append(selected)
    return found


def _select_lines(text: str) -> Iterator[tuple[str, str]]:
    symbol = ""
    for line in text.splitlines():
        if match := _CONFIG.fullmatch(line.strip()) if not line[:1].isspace() else None:
            symbol = match[1]
        elif (match := _SELECT.fullmatch(line)) and (match[2] is None or match[2] in _TRUE):
            yield symbol, match[1]
