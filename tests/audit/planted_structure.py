"""Bugs that leak, forget and answer wrongly, planted in the model.

Kernels had bugs of these kinds again and again. Each is told by what it is about.
"""

from refault.engines.shadow.kvm import pages, slots, walk, zap
from tests.audit.planting import LEAF, LONG, Case, begun

_TWO = {**LONG, 0x4000: 0x64000 | LEAF, 0x4008: 0x65000 | LEAF}

STRUCTURE_CASES = {
    "parent-leaked": Case(
        "a page that is zapped stays among the parents of the pages it linked to",
        zap.unlink_eight,
        (("                remove_parent(m, child_of(spte), sptep)\n", "                pass\n"),),
        [*begun(_TWO), ["ld", 0, 0, 1], ["shrink", 1], ["ld", 0, 0, 1], ["shrink", 1]],
        ("F-S6",),
    ),
    "rmap-leaked": Case(
        "leaves of a page that is zapped stay in the reverse map",
        zap.unlink_eight,
        (
            (
                "            if level == 1:\n                rmap_remove(m, sptep)\n",
                "            if level == 1:\n                pass\n",
            ),
        ),
        [*begun(_TWO), ["ld", 0, 0, 1], ["zapall"]],
        ("F-R1",),
    ),
    "write-count-leaked": Case(
        "the count of tables in a large region is not lowered when one is zapped",
        zap.drop_page,
        (("        account_shadowed(m, m.page[sp + words.GFN], -1)\n", "        pass\n"),),
        [*begun(_TWO, level=2), ["ld", 0, 0, 1], ["zapall"]],
        ("F-R4",),
    ),
    "freed-page-in-hash": Case(
        "a freed page stays in its hash bucket",
        zap.free_page,
        (("    hash_remove(m, sp)\n", ""),),
        [*begun(_TWO), ["ld", 0, 0, 1], ["zapall"]],
        ("F-S1",),
    ),
    "root-zapped-in-use": Case(
        "a root in use is zapped and its vCPU is not told to drop it",
        zap.drop_page,
        (("        reload_remote_mmus(m)\n", "        pass\n"),),
        [*begun(_TWO), ["ld", 0, 0, 1], ["zapall"], ["ld", 0, 0, 1]],
        ("F-S5",),
    ),
    "gauge-leaked": Case(
        "an out-of-sync page is zapped and still counted",
        zap.unlink_unsync_page,
        (("    m.vm[words.UNSYNC_PAGES] -= 1\n", ""),),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF, 0x4008: 0x4000 | LEAF}),
            ["ld", 0, 0x1000, 1],
            ["st", 0, 0x1000, 1, 0x65000 | LEAF],
            ["cr3", 0, 0x1000],
        ],
        ("F-W3",),
    ),
    "quadrant-not-in-role": Case(
        "both halves of a 32-bit table share one shadow page",
        pages.role_of,
        (("        role |= quadrant << words.ROLE_QUADRANT_SHIFT\n", "        pass\n"),),
        [
            *begun(
                {0x1000: 0x2067 << 0, 0x2000: 0x64067, 0x2800: 0x65067},
                cr4=0,
                efer=0,
            ),
            ["ld", 0, 0, 1],
            ["ld", 0, 0x20_0000, 1],
        ],
        ("F-T1",),
    ),
    "pse36-ignored": Case(
        "the high bits of a 4 MiB page's address are dropped",
        walk.mapped_gfn,
        (("        gfn += (gpte >> 13 & 0xF) << 20\n", "        pass\n"),),
        [
            ["vm", 1, 0],
            ["mem", 0, 0, 4096],
            ["mem", 1, 1 << 20, 1024],
            ["poke", 0x1000, 0xE7 | 1 << 13],
            ["boot", 0, 0x8001_0033, 0x1000, 0x10, 0],
            ["ld", 0, 0, 1],
        ],
        ("F-T5",),
    ),
    "nx-not-reserved": Case(
        "bit 63 of an entry is no reserved bit though EFER.NX is clear (PAE)",
        walk.reserved_bits,
        (("        mask |= x86.NX\n", "        pass\n"),),
        [
            *begun(
                {0x1000: 0x2001, 0x2000: 0x3000 | LEAF, 0x3000: 0x64000 | LEAF | 1 << 63}, efer=0
            ),
            ["ld", 0, 0, 1],
        ],
        ("F-T5",),
    ),
    "age-forgets-its-answer": Case(
        "a notifier clears A and answers that nobody touched the frame",
        slots.notifier_age,
        (
            (
                "        young |= rmap_age(m, large_rmap(m, slot, gfn, level))\n",
                "        rmap_age(m, large_rmap(m, slot, gfn, level))\n",
            ),
            ("    young = rmap_age(m, small)\n", "    young = 0\n    rmap_age(m, small)\n"),
        ),
        [*begun(_TWO), ["age", 0x64], ["st", 0, 0, 1, 7], ["age", 0x64]],
        ("F-H2",),
    ),
    "age-without-flush": Case(
        "a notifier clears A and leaves the TLB, through which the frame is used without A",
        slots.notifier_age,
        (("    if young:\n        flush_remote_tlbs(m)\n", ""),),
        [*begun(_TWO), ["st", 0, 0, 1, 7], ["age", 0x64], ["st", 0, 0, 1, 8], ["age", 0x64]],
        ("F-H2",),
        "base,tlb=1",
    ),
}
