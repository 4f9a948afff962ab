"""What each counter of a result counts."""

from __future__ import annotations

from refault.glossary.entry import (
    ANSWERS,
    COSTS,
    COUNTERS,
    GAUGES,
    KERNEL,
    SEMANTICS,
    SKIPPED,
    WORK,
    Entry,
)

_COMPARISON = "howto/read-a-comparison.md"
_LOGS = "howto/audit.md"

COST_ENTRIES = (
    Entry(
        "exits",
        COSTS,
        "Accesses of the guest whose fault left it and reached the host: the dearest thing that a "
        "shadow MMU makes a guest do. Register writes, INVLPG and hypercalls leave the guest too; "
        "vm_exits counts all of them. A kernel of one's own counts those under exits.",
        more=_COMPARISON,
    ),
    Entry(
        "mmu_pte_write",
        COSTS,
        "Stores of the guest to a table that is write-protected because it is shadowed. Each one "
        "exits, is emulated, and changes or drops the shadow entry.",
    ),
    Entry(
        "mmu_cache_miss",
        COSTS,
        "Shadow pages that were made because none in the hash had this table and role. Each is "
        "filled by faults, one entry at a time.",
    ),
    Entry(
        "mmu_recycled",
        COSTS,
        "Shadow pages that were taken from the end of the active list because the page limit was "
        "reached. What still needed them faults again.",
    ),
    Entry(
        "synced",
        COSTS,
        "Out-of-sync shadow pages that were compared with the guest's table, all 512 entries, and "
        "brought up to date.",
        also=("synced pages",),
    ),
    Entry(
        "hw_flush",
        COSTS,
        "Flush commands to the processor that the vCPU runs on: its translations are gone and are "
        "walked again.",
    ),
    Entry(
        "remote_tlb_flush",
        COSTS,
        "Requests to flush every vCPU for which another processor had to be interrupted. With one "
        "vCPU there are few; flush_calls counts the requests themselves.",
    ),
    Entry(
        "reload_calls",
        COSTS,
        "Requests that every vCPU drop its roots, as where a shadow page in use as a root is "
        "zapped. Each one waits for the others and loads its root again.",
    ),
    Entry(
        "parent_marks",
        COSTS,
        "Links visited while the ancestors of an out-of-sync page are marked, so that a root can "
        "find it again. It grows with the number of roots that share a table.",
    ),
)

COUNTER_ENTRIES = (
    Entry(
        "pf_fixed",
        COUNTERS,
        "Faults that the host answered by a shadow entry: the guest's tables allow the access, "
        "the shadow tables did not have it yet.",
    ),
    Entry(
        "pf_guest",
        COUNTERS,
        "Faults that were given to the guest, because its own tables do not allow the access.",
    ),
    Entry(
        "tlb_flush",
        COUNTERS,
        "Calls that flush the TLB of the vCPU at hand (kvm_mmu_flush_tlb); a patch may put the "
        "flush itself off, which hw_flush then shows.",
    ),
    Entry("invlpg", COUNTERS, "INVLPG instructions of the guest that the host carried out."),
    Entry(
        "mmu_shadow_zapped",
        COUNTERS,
        "Shadow pages that were zapped: unlinked, their entries dropped.",
    ),
    Entry(
        "mmu_pte_updated",
        COUNTERS,
        "Shadow leaves that an emulated store to a table replaced at once by the new value, "
        "without waiting for a fault.",
    ),
    Entry(
        "mmu_pde_zapped",
        COUNTERS,
        "Shadow entries above the leaves that an emulated store to a table dropped; the next "
        "access below faults.",
    ),
    Entry(
        "mmu_flooded",
        COUNTERS,
        "Shadow pages that were zapped because their table was written to again and again, or "
        "across an entry's border: KVM then takes it for no table any more.",
    ),
    Entry(
        "flush_calls",
        COUNTERS,
        "Requests to flush every vCPU, whether or not a processor had to be interrupted for it.",
    ),
)

GAUGE_ENTRIES = (
    Entry(
        "mmu_unsync",
        GAUGES,
        "Out-of-sync shadow pages at the end: tables that the guest may write to without an exit "
        "until they are synced.",
    ),
    Entry("lpages", GAUGES, "Large leaves at the end: shadow entries that map 2 MiB or more."),
    Entry("n_alloc", GAUGES, "The page limit: how many shadow pages the host allows this guest."),
    Entry("n_free", GAUGES, "What is left of the page limit."),
    Entry("active", GAUGES, "Shadow pages on the active list at the end."),
)

WORK_ENTRIES = (
    Entry(
        "tlb_hits",
        WORK,
        "Accesses whose translation the processor's TLB still held. Without tlb=1 there is none.",
        also=("TLB hits",),
    ),
    Entry("walks", WORK, "Accesses that walked the shadow tables, or began to."),
    Entry(
        "vm_exits",
        WORK,
        "KVM's own exits, one for every time the guest was left and entered again: faults that "
        "reach the host, register writes, INVLPG and hypercalls.",
    ),
    Entry(
        "mmio_exits",
        WORK,
        "Exits at an address without memory: a device's registers.",
    ),
    Entry(
        "insn_emulation",
        WORK,
        "Instructions that the host carried out for the guest, as a store to a shadowed table.",
    ),
    Entry("insn_emulation_fail", WORK, "Instructions that the host could not carry out."),
    Entry(
        "hypercalls", WORK, "Calls of the guest to the host, where a patch changes the guest too."
    ),
)

SEMANTICS_ENTRIES = (
    Entry("accesses", SEMANTICS, "Loads, fetches and stores that were executed."),
    Entry(
        "witnessed",
        SEMANTICS,
        "Those of them whose outcome the trace knows from the real guest. A trace of operations "
        "has none; there an audit judges.",
    ),
    Entry(
        "wrong_address",
        SEMANTICS,
        "Accesses that reached another address than on the real guest: it reads, or destroys, "
        "somebody else's data.",
        also=("wrong address", "wrong-address"),
    ),
    Entry(
        "missed_fault",
        SEMANTICS,
        "Accesses that went through where the real guest took a page fault: a right was granted "
        "that the guest had taken away.",
        also=("missed fault", "missed-fault"),
    ),
    Entry(
        "spurious_fault",
        SEMANTICS,
        "Accesses that gave the guest a page fault which the real one did not get.",
        also=("spurious fault", "spurious-fault"),
    ),
    Entry(
        "wrong_error_code",
        SEMANTICS,
        "Page faults of the real guest too, but with another error code.",
        also=("wrong error code", "wrong-error-code"),
    ),
    Entry(
        "other",
        SEMANTICS,
        "Accesses that came out in another way still, as a device's register for memory.",
        also=("other outcome", "wrong-outcome"),
    ),
    Entry(
        "stale",
        SEMANTICS,
        "Of the wrong outcomes those that contradict even a walk of the guest's own tables at "
        "that moment: a translation was used that should have been dropped. The shadow tables "
        "alone are to blame.",
        also=("of these, stale", "semantics.stale"),
    ),
    Entry(
        "outcomes",
        SEMANTICS,
        "A digest over what guest and host saw of every operation, in order. The same as the "
        "base's: neither can tell the two columns apart on this trace, which proves no functional "
        "change there.",
        also=("all outcomes", "guest's outcomes", "wrong outcomes"),
        more=_COMPARISON,
    ),
)

ANSWER_ENTRIES = (
    Entry("gp_refused", ANSWERS, "Register writes of the guest that were refused with #GP."),
    Entry(
        "unmap_found",
        ANSWERS,
        "Frames taken away by the host, or ranges, of which a mapping was found.",
    ),
    Entry("age_young", ANSWERS, "Frames of which the host was told that the guest used them."),
    Entry("shrink_reported", ANSWERS, "Shadow pages that the shrinker reported, over all calls."),
    Entry(
        "unprotect_found",
        ANSWERS,
        "Frames that stopped being shadowed tables when an address was unprotected.",
    ),
    Entry("dirty_reads", ANSWERS, "Dirty logs that the host read.", more=_LOGS),
    Entry(
        "dirty_logged",
        ANSWERS,
        "Pages that the dirty logs held which were read, over all of them: what a migration sends "
        "again. A log may hold pages that nobody wrote, and those cost.",
        more=_LOGS,
    ),
    Entry(
        "dirty_written",
        ANSWERS,
        "Pages that were written between two readings of their dirty log, over all readings: the "
        "least that dirty_logged can be.",
        more=_LOGS,
    ),
    Entry(
        "dirty_lost",
        ANSWERS,
        "Pages that were written, and that the dirty log read next did not hold: a guest that is "
        "migrated loses what it wrote there. The finding is lost-dirty-page.",
        more=_LOGS,
    ),
)

KERNEL_ENTRIES = (
    Entry("pf_taken", KERNEL, "Page faults that reached the MMU's handler."),
    Entry("pf_emulate", KERNEL, "Page faults that were answered by emulating the instruction."),
    Entry(
        "pf_spurious",
        KERNEL,
        "Page faults for which the entry was there already when it was looked at.",
    ),
    Entry("pf_fast", KERNEL, "Page faults that were answered without the MMU's lock."),
    Entry(
        "pf_mmio_spte_created",
        KERNEL,
        "Entries made to remember that an address is a device's, so that the next fault is quick.",
    ),
    Entry("pages_4k", KERNEL, "Leaves of 4 KiB at the end."),
    Entry("pages_2m", KERNEL, "Leaves of 2 MiB at the end."),
    Entry("pages_1g", KERNEL, "Leaves of 1 GiB at the end."),
    Entry("nx_lpage_splits", KERNEL, "Large pages that are split so that none is executable."),
    Entry("remote_tlb_flush_requests", KERNEL, "Requests to flush every vCPU."),
    Entry(
        "max_mmu_page_hash_collisions",
        KERNEL,
        "The most shadow pages of other tables that one look into a hash bucket passed by.",
    ),
    Entry("max_mmu_rmap_size", KERNEL, "The most entries that mapped one frame."),
)

SKIPPED_ENTRIES = (
    Entry("device", SKIPPED, "Accesses to a device: no memory is touched."),
    Entry("vcpu-not-booted", SKIPPED, "Events of a vCPU before its registers are known."),
    Entry(
        "store-carried-by-table-store",
        SKIPPED,
        "Stores that the trace holds a second time, as a store to a table. Nothing is lost.",
    ),
    Entry("store-without-address", SKIPPED, "Stores of which the trace does not know the address."),
    Entry(
        "store-would-damage-table",
        SKIPPED,
        "Stores whose value is unknown and which would destroy an entry of a table.",
    ),
    Entry("outside-memory", SKIPPED, "Events at an address where the guest has no memory."),
    Entry("unsupported", SKIPPED, "Events that this engine does not know."),
    Entry(
        "table-store-applied-without-mapping",
        SKIPPED,
        "Stores to a table whose guest-virtual address is unknown: the table changes, but the "
        "fault and the mapping of the store are missing.",
    ),
    Entry(
        "invpcid-applied-as-flush",
        SKIPPED,
        "INVPCID, which kernels of 2010 do not have: applied as INVLPG, or as a load of CR3.",
    ),
)

ENTRIES = (
    *SEMANTICS_ENTRIES,
    *COST_ENTRIES,
    *COUNTER_ENTRIES,
    *GAUGE_ENTRIES,
    *WORK_ENTRIES,
    *ANSWER_ENTRIES,
    *KERNEL_ENTRIES,
    *SKIPPED_ENTRIES,
)
