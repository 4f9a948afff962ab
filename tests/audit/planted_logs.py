"""Bugs of dirty logging, planted in the model: pages that a migration would lose.

Kernels of every age had bugs of these kinds; a case names one where it is known by its title.
"""

from refault.engines.shadow.arch import access
from refault.engines.shadow.kvm import slots, spte, walk
from tests.audit.planting import LEAF, LONG, PS, TABLE, WRITE, Case, begun

#: The table 0x4 through a writable and a read-only directory entry: it has two shadow pages, so
#: stores to it are emulated, and may map what they write before anybody uses it.
TWICE = {
    **LONG,
    0x3008: 0x4000 | TABLE - WRITE,
    0x4000: 0x64000 | LEAF,
    0x4010: 0x4000 | LEAF,
}
LARGE = {**LONG, 0x3008: 0x20_0000 | PS | LEAF}

LOG_CASES = {
    "log-begins-unprotected": Case(
        "write protection is forgotten when logging is switched on",
        slots.start_dirty_log,
        (
            ("    commit_slot(m, slot, default_limit)\n", ""),
            ("    zap_all(m)\n    reload_remote_mmus(m)\n", ""),
        ),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF}),
            ["st", 0, 0, 1, 7],
            ["log", 0],
            ["st", 0, 0, 1, 8],
            ["get_dirty_log", 0],
        ],
        ("F-D1", "F-D2"),
    ),
    "log-begins-again-unprotected": Case(
        "the same once a log was off, during which all was let to write",
        slots.start_dirty_log,
        (
            (
                "    commit_slot(m, slot, default_limit)\n    zap_all(m)\n",
                "    if m.vm[words.SHADOW_ZAPPED] == 0:\n        zap_all(m)\n",
            ),
        ),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF}),
            ["log", 0],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
            ["log_off", 0],
            ["st", 0, 0, 1, 8],
            ["zapall"],
            ["st", 0, 0, 1, 8],
            ["log", 0],
            ["st", 0, 0, 1, 9],
            ["get_dirty_log", 0],
        ],
        ("F-D1", "F-D2"),
    ),
    "guess-not-logged": Case(
        "a page is not marked where it is mapped before it is used",
        spte.set_spte,
        (
            (
                "            elif access & words.ACC_WRITE:\n",
                "            elif access & words.ACC_WRITE and not speculative:\n",
            ),
        ),
        [
            *begun(TWICE),
            ["log", 0],
            ["ld", 0, 0, 1],
            ["ld", 0, 0x20_0000, 1],
            ["st", 0, 0x2000, 1, 0x65000 | LEAF],
            ["get_dirty_log", 0],
            ["st", 0, 0x2000, 1, 0x66000 | LEAF],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
        ],
        ("F-D1", "F-D2"),
    ),
    "sync-not-logged": Case(
        "a page is not marked where a sync lets it be written",
        spte.set_spte,
        (
            (
                "            elif access & words.ACC_WRITE:\n",
                "            elif access & words.ACC_WRITE and can_unsync:\n",
            ),
        ),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF - WRITE, 0x4008: 0x4000 | LEAF}),
            ["log", 0],
            ["ld", 0, 0, 1],
            ["st", 0, 0x1000, 1, 0x64000 | LEAF],
            ["cr3", 0, 0x1000],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
        ],
        ("F-D1", "F-D2"),
    ),
    "log-cleared-without-flush": Case(
        "a log is read and its pages are protected, and the TLB that may write them is kept",
        slots.slot_remove_write_access,
        (("    flush_remote_tlbs(m)\n", ""),),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF}),
            ["log", 0],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
            ["st", 0, 0, 1, 8],
            ["get_dirty_log", 0],
        ],
        ("F-T8", "F-D1", "F-D2"),
        "base,tlb=1",
    ),
    "walk-not-logged": Case(
        "the walker sets A and D in a table and does not mark it",
        walk.walk_addr,
        (("mark_page_dirty(m, table_gfn)\n", "pass\n"),),
        [
            *begun({**LONG, 0x4000: 0x64000 | TABLE}),
            ["log", 0],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
        ],
        ("F-D1",),
    ),
    "emulated-store-not-logged": Case(
        "KVM: nVMX: mark vmcs12 pages dirty on L2 exit, and others: what the host writes for the "
        "guest is not marked",
        access.emulate_store,
        (("    mark_page_dirty(m, gpa >> x86.PAGE_SHIFT)\n", ""),),
        [
            *begun(TWICE),
            ["log", 0],
            ["ld", 0, 0, 1],
            ["ld", 0, 0x20_0000, 1],
            ["st", 0, 0x2000, 1, 0x65000 | LEAF],
            ["get_dirty_log", 0],
        ],
        ("F-D1",),
    ),
    "large-page-while-logged": Case(
        "KVM: x86/mmu: Do not recover dirty-tracked NX Huge Pages: a slot that is logged is mapped "
        "by large pages, of which only one frame is marked",
        spte.mapping_level,
        (("    if slot == 0 or m.vm[slot + words.SLOT_LOG]:\n", "    if slot == 0:\n"),),
        [
            *begun(LARGE, level=2),
            ["log", 0],
            ["st", 0, 0x20_0000, 1, 7],
            ["st", 0, 0x20_5000, 1, 7],
            ["get_dirty_log", 0],
        ],
        ("F-D1", "F-D2"),
    ),
    "log-cleared-before-it-is-copied": Case(
        "a log is cleared, and what is answered is what came after",
        slots.get_dirty_log,
        (
            (
                "    count = read_dirty(m, place)\n",
                "    forget_dirty(m, place)\n    count = read_dirty(m, place)\n",
            ),
        ),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF}),
            ["log", 0],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
        ],
        ("F-D3",),
    ),
    "log-kept-for-one-slot": Case(
        "a page of another slot than the first is not marked",
        spte.set_spte,
        (
            (
                "                mark_page_dirty(m, gfn)\n",
                "                if gfn < 256:\n                    mark_page_dirty(m, gfn)\n",
            ),
        ),
        [
            ["vm", 1, 0],
            ["mem", 0, 0, 256],
            ["mem", 1, 1024, 64],
            *(["poke", at, value] for at, value in LONG.items()),
            ["poke", 0x4000, 0x40_0000 | LEAF],
            ["poke", 0x4008, 0x64000 | LEAF],
            ["boot", 0, 0x8001_0033, 0x1000, 0x20, 0x500],
            ["log", 1],
            ["log", 0],
            ["st", 0, 0, 1, 7],
            ["st", 0, 0x1000, 1, 7],
            ["get_dirty_log", 0],
            ["get_dirty_log", 1],
        ],
        ("F-D1", "F-D2"),
    ),
}
