"""Words of KVM and the manuals; docs/GLOSSARY.md has the same sentences."""

from __future__ import annotations

from refault.glossary.entry import KVM, Entry

ENTRIES = (
    Entry(
        "gva",
        KVM,
        "guest-virtual and guest-physical address, in bytes",
        also=("gpa",),
    ),
    Entry(
        "gfn",
        KVM,
        "guest and host page-frame number: an address divided by 4096",
        also=("pfn",),
    ),
    Entry(
        "gpte",
        KVM,
        "entry of a guest's page table, and of the shadow table that stands for it",
        also=("spte",),
    ),
    Entry(
        "role",
        KVM,
        "the attributes that tell shadow pages of one guest table apart: level, access, "
        "quadrant, direct, …",
    ),
    Entry(
        "root",
        KVM,
        "the shadow page CR3 leads to",
    ),
    Entry(
        "quadrant",
        KVM,
        "which part of a 32-bit guest table a shadow page stands for: guest tables have 1024 "
        "entries there, shadow tables 512",
    ),
    Entry(
        "direct",
        KVM,
        "of a shadow page: it maps a linear range and shadows no guest table",
    ),
    Entry(
        "unsync",
        KVM,
        "out of sync: the guest may write the table without trapping, so the shadow page may "
        "differ from it until the next flush",
    ),
    Entry(
        "sync",
        KVM,
        "update an unsync shadow page from the guest's table",
    ),
    Entry(
        "transient sync",
        KVM,
        "the same, but the page stays unsync and its table writable (sync-transient)",
    ),
    Entry(
        "prefetch",
        KVM,
        "map the entries next to the one that faulted, of its group of eight (pte-prefetch)",
    ),
    Entry(
        "prefault",
        KVM,
        "map a page when the guest returns from the #PF it was given, before it tries again "
        "(pvm-prefault)",
    ),
    Entry(
        "dirty epoch",
        KVM,
        "a number that rises with every page that goes unsync; a root that was synced at the "
        "latest one has nothing to sync (pvm-dirty-epoch)",
    ),
    Entry(
        "table queue",
        KVM,
        "stores to guest tables that were noted and not yet applied to their shadow pages "
        "(pvm-table-queue)",
    ),
    Entry(
        "pair of roots",
        KVM,
        "the tables of one process with and without the kernel's half, under PTI (pvm-root-pair)",
    ),
    Entry(
        "zap",
        KVM,
        "remove a shadow page: unlink it, drop its sptes, free it now or by its last user",
    ),
    Entry(
        "rmap",
        KVM,
        "reverse map: from a guest frame to every spte that maps it",
    ),
    Entry(
        "parent",
        KVM,
        "an spte that points to a shadow page; the shadow page keeps a list of them",
    ),
    Entry(
        "active list",
        KVM,
        "all shadow pages of a guest, newest first; reclaim takes the oldest",
    ),
    Entry(
        "hash bucket",
        KVM,
        "the shadow pages whose gfn hashes alike, newest first",
    ),
    Entry(
        "flood",
        KVM,
        "repeated writes to one guest table: KVM then stops shadowing it",
    ),
    Entry(
        "PCID",
        KVM,
        "address-space number of the TLB, and the instructions that drop translations",
        also=(
            "INVLPG",
            "INVPCID",
        ),
    ),
    Entry(
        "CR0",
        KVM,
        "the registers that choose paging mode, root and global pages",
        also=(
            "CR3",
            "CR4",
            "EFER",
        ),
    ),
    Entry(
        "A and D bits",
        KVM,
        "accessed and dirty, set in a guest's entries by the page walk",
    ),
    Entry(
        "TLB",
        KVM,
        "the processor's cache of translations",
    ),
)
