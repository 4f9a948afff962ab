"""What is compiled: the tree's own files, and ours, which is linked with them."""

from __future__ import annotations

from pathlib import Path

RUNTIME = Path(__file__).with_name("runtime")

#: The tree's files, where it has them. The first is the one that everything is about.
TREE_UNITS = (
    "arch/x86/kvm/mmu/mmu.c",
    "arch/x86/kvm/mmu/spte.c",
    "arch/x86/kvm/mmu/page_track.c",
    "arch/x86/kvm/mmu/tdp_mmu.c",
    "arch/x86/kvm/mmu/tdp_iter.c",
    "arch/x86/kvm/x86.c",
    "arch/x86/kvm/regs.c",
    "virt/kvm/kvm_main.c",
    "virt/kvm/dirty_ring.c",
    "lib/rbtree.c",
    "lib/find_bit.c",
    "lib/interval_tree.c",
    "lib/list_debug.c",
)
#: Where a file of C that a patch adds is compiled too.
ADDED_TO = "arch/x86/kvm/mmu"
#: Ours that see the tree's headers, and ours that see the C library's.
KERNEL_HALF = ("host.c", "ops.c")
PROGRAM_HALF = ("program.c", "hardware.c", "tlb.c", "memory.c", "answers.c")
#: Of that half, those that read or write what the tree has allocated.
ALLOCATED = ("hardware.c", "memory.c", "answers.c")


def tree_units(tree: Path) -> tuple[str, ...]:
    """Those of the tree that it has."""
    return tuple(name for name in TREE_UNITS if (tree / name).is_file())


def added_units(tree: Path, original: Path) -> tuple[str, ...]:
    """Those that patches have added to the MMU: the tree's Makefile names them, and is not read."""
    names = sorted(path.name for path in (tree / ADDED_TO).glob("*.c"))
    return tuple(
        f"{ADDED_TO}/{name}" for name in names if not (original / ADDED_TO / name).exists()
    )


def runtime_files() -> list[Path]:
    """Every file of ours that a build reads, in order."""
    return sorted(RUNTIME.glob("*.[ch]"))
