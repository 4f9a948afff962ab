"""Bugs of KVM's shadow MMU that the model never had, planted in it, each with operations.

``python -m tests.audit.planted`` runs in an interpreter of its own with kernels that are not
compiled, plants one bug after the other, and prints what the audit says with and without it. Each
case names the commit of Linux that mended the bug. Two bugs are those of later
mechanisms that the catalogue has as it was merged first; nothing is planted there.
"""

import dataclasses
import hashlib
import inspect
import json
import sys
import tempfile
from pathlib import Path

from refault.cli.trace_files import as_trace
from refault.compare import Column, compare
from refault.engines.shadow.kvm import (
    fault,
    pages,
    ptwrite,
    registers,
    rmap,
    slots,
    spte,
    sync,
)
from refault.replay.session import replay
from tests.audit.planted_logs import LOG_CASES
from tests.audit.planted_structure import STRUCTURE_CASES
from tests.audit.planting import LEAF, LONG, NX, PAGING, PS, TABLE, WRITE, Case, begun
from tests.audit.running import audited, of_operations, variants

#: A 2 MiB page at 0x200000, clean, and below 0x400000 a table inside the same 2 MiB of memory.
CLEAN_LARGE = {0x3008: 0x20_0000 | PS | TABLE, 0x3010: 0x20_1000 | TABLE, 0x20_1000: 0x64000 | LEAF}

_RETURN_IF_READ_ONLY = """\
            if spte & x86.LARGE:
                if not spte & x86.WRITABLE:
                    return
"""

CASES = {
    "quadrant-ignored": Case(
        "fce0657ff9f1 KVM: MMU: Respect nonpae pagetable quadrant when zapping ptes",
        ptwrite.write_entries,
        (("    if place >> x86.PAGE_SHIFT != quadrant_of(m, sp):\n        return\n", ""),),
        [
            *begun(
                {0x1000: 0x2000 | TABLE, 0x2000: 0x2067 << 32 | 0x64067, 0x2800: 0x65067},
                cr4=0,
                efer=0,
            ),
            ["ld", 0, 0, 1],
            ["ld", 0, 0x20_0000, 1],
            ["ld", 0, 0x1000, 1],
            ["st4", 0, 0x1000, 1, 0x66067],
            ["ld", 0, 0x20_0000, 1],
        ],
        ("F-T1", "F-T5"),
    ),
    "nonpae-pde": Case(
        "ac1b714e78c8 KVM: MMU: Fix guest writes to nonpae pde",
        ptwrite.write_entries,
        (
            ("        place = (place & ~7) << 1\n", ""),
            ("        count = 2\n", "        pass\n"),
            ("    if place >> x86.PAGE_SHIFT != quadrant_of(m, sp):\n        return\n", ""),
        ),
        [
            *begun(
                {
                    0x1000: (0x3000 | TABLE) << 32 | 0x2000 | TABLE,
                    0x2000: 0x1067 << 32 | 0x64067,
                    0x3000: 0x65067,
                    0x4000: 0x66067,
                },
                cr4=0,
                efer=0,
            ),
            ["ld", 0, 0x40_0000, 1],
            ["ld", 0, 0x1000, 1],
            ["st4", 0, 0x1004, 1, 0x4000 | TABLE],
            ["ld", 0, 0x40_0000, 1],
        ],
        ("F-T1",),
    ),
    "owner-pagetable": Case(
        "0c0f40bdbe4 KVM: MMU: fix sync of ptes addressed at owner pagetable",
        sync.sync_page,
        (
            ("    unlink_unsync_page(m, sp)\n", ""),
            ("    if flush == FLUSH:\n", "    unlink_unsync_page(m, sp)\n    if flush == FLUSH:\n"),
        ),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF, 0x4008: 0x4000 | LEAF}),
            ["ld", 0, 0x1000, 1],
            ["cr3", 0, 0x1000],
            ["st", 0, 0x1000, 1, 0x65000 | LEAF],
        ],
        ("F-W1",),
    ),
    "pdptrs-not-reloaded": Case(
        "a2edf57f510c KVM: Fix PDPTR reloading on CR4 writes",
        registers.set_cr4,
        (("        and (value ^ old) & PDPTR_BITS\n", "        and 0\n"),),
        [
            *begun({0x1000: 0x2001, 0x2000: 0x3000 | LEAF, 0x3000: 0x1000 | LEAF}, efer=0),
            ["ld", 0, 0, 1],
            ["st", 0, 0x8, 1, 0x2001],
            ["cr4", 0, 0xA0],
            ["ld", 0, 0x4000_0000, 1],
        ],
        ("F-P2", "F-T5"),
    ),
    "read-only-large": Case(
        "404381c5839d KVM: MMU: drop read-only large sptes when creating lower level sptes",
        fault.fetch,
        (
            (
                "            if spte & x86.LARGE:\n",
                _RETURN_IF_READ_ONLY,
            ),
        ),
        [
            *begun({**LONG, **CLEAN_LARGE}, level=2),
            ["ld", 0, 0x20_0000, 1],
            ["ld", 0, 0x40_0000, 1],
            ["st", 0, 0x20_0000, 1, 7],
        ],
        ("F-T7",),
    ),
    "guarded-without-flush": Case(
        "d9e368d6126 KVM: Flush remote tlbs when reducing shadow pte permissions",
        pages.get_page,
        (
            (
                "        if rmap_write_protect(m, gfn):\n            flush_guarded_table(m)\n",
                "        rmap_write_protect(m, gfn)\n",
            ),
        ),
        [
            *begun(
                {
                    **LONG,
                    0x4000: 0x64000 | LEAF,
                    0x4008: 0x5000 | LEAF,
                    0x3008: 0x5000 | TABLE,
                    0x5000: 0x65000 | LEAF,
                },
                vcpus=2,
            ),
            ["st", 1, 0x1000, 1, 0x65000 | LEAF],
            ["ld", 0, 0x20_0000, 1],
            ["st", 1, 0x1000, 1, 0x66000 | LEAF],
            ["cr3", 0, 0x1000],
            ["ld", 0, 0x20_0000, 1],
        ],
        ("F-W1",),
        "base,tlb=1",
    ),
    "nxe-keeps-context": Case(
        "9645bb56b31a KVM: MMU: Use different shadows when EFER.NXE changes",
        registers.set_efer,
        (("    reset_context(m, cpu)\n", ""),),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF | NX}, efer=0xD00),
            ["ld", 0, 0, 1],
            ["efer", 0, 0x500],
            ["ld", 0, 0, 1],
        ],
        ("F-T1", "F-T5"),
    ),
    "large-access-not-in-role": Case(
        "d28c6cfbbc5e KVM: MMU: Fix hugepage pdes mapping same physical address with different"
        " access",
        pages.role_of,
        (
            (
                "    role |= access << words.ROLE_ACCESS_SHIFT\n",
                "    if not direct:\n        role |= access << words.ROLE_ACCESS_SHIFT\n",
            ),
        ),
        [
            *begun(
                {
                    **LONG,
                    0x2008: 0x5000 | TABLE - WRITE,
                    0x3000: 0x20_0000 | PS | LEAF,
                    0x5000: 0x20_0000 | PS | LEAF,
                }
            ),
            ["st", 0, 0, 1, 7],
            ["ld", 0, 0x4000_0000, 1],
            ["st", 0, 0, 1, 7],
            ["st", 0, 0x4000_0000, 1, 8],
        ],
        ("F-T1", "F-T5"),
    ),
    "direct-access-corrupted": Case(
        "9e7b0e7fba45 KVM: MMU: fix direct sp's access corrupted",
        fault.drop_stale_direct,
        (("    vm = m.vm\n", "    vm = m.vm\n    return\n"),),
        [
            *begun({**LONG, 0x3000: 0x20_0000 | PS | TABLE, 0x3008: 0x20_0000 | PS | LEAF - WRITE}),
            ["ld", 0, 0, 1],
            ["ld", 0, 0x20_0000, 1],
            ["st", 0, 0, 1, 7],
            ["st", 0, 0x20_0000, 1, 8],
        ],
        ("F-T1", "F-T5"),
        "rel35",
    ),
    "slot-deleted-unzapped": Case(
        "34d4cb8fca1f KVM: MMU: nuke shadowed pgtable pages and ptes on memslot destruction",
        slots.delete_slot,
        (("    zap_all(m)\n", ""),),
        [
            ["vm", 1, 0],
            ["mem", 0, 0, 256],
            ["mem", 1, 1024, 64],
            *(["poke", at, value] for at, value in LONG.items()),
            ["poke", 0x4000, 0x40_0000 | LEAF],
            ["boot", 0, PAGING, 0x1000, 0x20, 0x500],
            ["ld", 0, 0, 1],
            ["mem_delete", 1],
        ],
        ("F-H1",),
    ),
    "large-leaves-left": Case(
        "6597ca09e6c KVM: MMU: Fix rmap_write_protect() hugepage iteration bug",
        rmap.rmap_write_protect,
        (("            sptep = first_writable(m, rmap)\n", "            sptep = 0\n"),),
        [
            *begun(
                {
                    **LONG,
                    0x3000: 0x20_0000 | PS | LEAF,
                    0x3008: 0x20_0000 | PS | LEAF,
                    0x3010: 0x20_1000 | TABLE,
                    0x20_1000: 0x64000 | LEAF,
                },
                level=2,
            ),
            ["st", 0, 0, 1, 7],
            ["st", 0, 0x20_0000, 1, 7],
            ["ld", 0, 0x40_0000, 1],
        ],
        ("F-R5",),
    ),
    "large-replaced-without-flush": Case(
        "93a423e7045 KVM: MMU: flush remote TLBs on large->normal entry overwrite",
        fault.fetch,
        (
            (
                "                flush_remote_tlbs(m)\n            left",
                "            left",
            ),
        ),
        [
            *begun({**LONG, **CLEAN_LARGE}, vcpus=2, level=2),
            ["ld", 1, 0x20_0000, 1],
            ["ld", 0, 0x40_0000, 1],
            ["st", 0, 0x20_0000, 1, 7],
            ["unmap", 0x250],
        ],
        ("F-H1",),
        "base,tlb=1",
    ),
    "prefetch-hides-reserved": Case(
        "e730b63cc08, which mends 957ed9e (2.6.37): reserved bits counted as absent",
        None,
        (),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF, 0x4008: 0x65000 | LEAF | 1 << 50}, bypass=1),
            ["ld", 0, 0, 1],
            ["ld", 0, 0x1000, 1],
        ],
        ("F-W4", "F-T5"),
        "v2.6.35.6+pte-prefetch",
    ),
    "lazy-flush-and-protect": Case(
        "KVM: X86: Fix missed remote tlb flush in rmap_write_protect() (2021, of a4ee1ca4a36e)",
        None,
        (),
        [
            *begun(
                {
                    **LONG,
                    0x4000: 0x64000 | LEAF,
                    0x4008: 0x4000 | LEAF,
                    0x4010: 0x5000 | LEAF,
                    0x3008: 0x5000 | TABLE,
                    0x5000: 0x65000 | LEAF,
                },
                vcpus=2,
            ),
            ["ld", 0, 0x1000, 1],
            ["st", 1, 0x2000, 1, 0x65000 | LEAF],
            ["st", 0, 0x1010, 1, 0],
            ["st", 0, 0x1008, 1, 0x4000 | LEAF - WRITE],
            ["invlpg", 0, 0x1000],
            ["st", 1, 0x2000, 1, 0x65000 | LEAF],
            ["cr3", 0, 0x1000],
            ["ld", 0, 0x20_0000, 1],
            ["st", 1, 0x2000, 1, 0x66000 | LEAF],
        ],
        ("F-W1",),
        "v2.6.35.6+sync-flush-lazy,tlb=1",
    ),
    "write-ignores-inherited-access": Case(
        "41074d07c78b KVM: MMU: Fix inherited permissions for emulated guest pte updates",
        ptwrite.update_entry,
        (("    access = role_access & gpte_access(", "    access = gpte_access("),),
        [
            *begun(
                {
                    **LONG,
                    0x3008: 0x4000 | TABLE - WRITE,
                    0x4000: 0x64000 | LEAF,
                    0x4010: 0x4000 | LEAF,
                }
            ),
            ["ld", 0, 0, 1],
            ["ld", 0, 0x20_0000, 1],
            ["st", 0, 0x2000, 1, 0x65000 | LEAF],
            ["st", 0, 0x20_0000, 1, 7],
        ],
        ("F-T1", "F-T5"),
    ),
    "sync-maps-writable": Case(
        "36a2e6774bfb KVM: MMU: fix writable sync sp mapping",
        spte.need_write_protect,
        (
            (
                "        can_unsync or m.vm[words.KNOB_SYNC_PROTECT]",
                "        1 or m.vm[words.KNOB_SYNC_PROTECT]",
            ),
        ),
        [
            *begun(
                {
                    **LONG,
                    0x3008: 0x5000 | TABLE,
                    0x4000: 0x64000 | LEAF,
                    0x4008: 0x4000 | LEAF,
                    0x4010: 0x5000 | LEAF,
                    0x5000: 0x5000 | LEAF - WRITE,
                }
            ),
            ["ld", 0, 0x20_0000, 1],
            ["ld", 0, 0, 1],
            ["st", 0, 0x1000 + 8 * 3, 1, 0x5000 | LEAF],
            ["st", 0, 0x2000 + 8 * 1, 1, 0x65000 | LEAF],
            ["ld", 0, 0x3000, 1],
            ["st", 0, 0x2000, 1, 0x5000 | LEAF],
            ["cr3", 0, 0x1000],
            ["st", 0, 0x3000, 1, 0x66000 | LEAF],
            ["ld", 0, 0x20_0000, 1],
        ],
        ("F-W1",),
        "p2+p6s",
    ),
    "log-read-without-protection": Case(
        "edde99ce0529 KVM: Write protect memory after slot swap",
        slots.get_dirty_log,
        (("        slot_remove_write_access(m, slot)\n", ""),),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF}),
            ["log", 0],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 0],
            ["st", 0, 0, 1, 8],
            ["get_dirty_log", 0],
        ],
        ("F-T8",),
    ),
    "sync-forgets-the-host": Case(
        "1403283acca3 KVM: MMU: add SPTE_HOST_WRITEABLE flag to the shadow ptes",
        sync.sync_entry,
        (
            (
                "    if not host_writable:\n        access &= ~words.ACC_WRITE\n",
                "",
            ),
        ),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF, 0x4008: 0x4000 | LEAF}),
            ["st", 0, 0, 1, 7],
            ["st", 0, 0x1010, 1, 0x65000 | LEAF],
            ["change_pte", 0x64, 0],
            ["cr3", 0, 0x1000],
            ["st", 0, 0, 1, 8],
        ],
        ("F-H1",),
    ),
    "slots-beyond-the-bitmap": Case(
        "291f26bc0f89 KVM: MMU: Extend kvm_mmu_page->slot_bitmap size",
        spte.mmu_set_spte,
        (("|= 1 << slot\n", "|= 1 & (1 << slot)\n"),),
        [
            ["vm", 1, 0],
            ["mem", 0, 0, 256],
            ["mem", 1, 1024, 64],
            *(["poke", at, value] for at, value in LONG.items()),
            ["poke", 0x4000, 0x40_0000 | LEAF],
            ["boot", 0, PAGING, 0x1000, 0x20, 0x500],
            ["log", 1],
            ["st", 0, 0, 1, 7],
            ["get_dirty_log", 1],
            ["st", 0, 0, 1, 8],
        ],
        ("F-R3", "F-T8"),
    ),
    "same-cr3-without-sync": Case(
        "0ba73cdadb8a KVM: MMU: sync roots on mmu reload (its part in kvm_set_cr3)",
        registers.set_cr3,
        (("        sync_roots(m, cpu)\n", ""),),
        [
            *begun({**LONG, 0x4000: 0x64000 | LEAF, 0x4008: 0x4000 | LEAF}),
            ["ld", 0, 0, 1],
            ["st", 0, 0x1000, 1, 0x65000 | LEAF],
            ["cr3", 0, 0x1000],
            ["ld", 0, 0, 1],
        ],
        ("F-U4", "F-T2", "F-T5"),
    ),
}


CASES |= LOG_CASES | STRUCTURE_CASES


def plant(case):
    """The function with its changes, in the place of the old one wherever that is named."""
    old = case.function
    source = inspect.getsource(old).partition("@kernel\n")[2]
    for before, after in case.changes:
        if before not in source:
            raise ValueError(f"{case.commit}: not found: {before!r}")
        source = source.replace(before, after)
    names = {}
    exec(compile(source, "planted", "exec"), sys.modules[old.__module__].__dict__, names)
    _replace(old, names[old.__name__])
    return names[old.__name__]


def _replace(old, new):
    for name, module in list(sys.modules.items()):
        if name.startswith("refault.") and getattr(module, old.__name__, None) is old:
            setattr(module, old.__name__, new)


def told(case):
    """What the audit says of a case, and its result with the audit: one column of a comparison."""
    with tempfile.TemporaryDirectory() as folder:
        path = of_operations(case.lines, Path(folder))
        (report,) = audited(path, case.base)
        with as_trace(path) as trace:
            (result,) = replay(trace, variants(case.base))
    return report, result


def lines_of(report):
    """The checks that fail, each once, in order; with the operation of the first."""
    return [[each.check, each.operation_index, each.exception] for each in report.broken]


def verdict_of(planted, sound):
    """What a comparison says of the code without the bug, held against the code with it."""
    columns = []
    for name, (report, result) in (("planted", planted), ("sound", sound)):
        # One machine in the catalogue, two in truth.
        digest = hashlib.sha256(f"{name} {result.variant_digest}".encode()).hexdigest()
        of_it, its_audit = (
            dataclasses.replace(each, variant_digest=digest) for each in (result, report)
        )
        columns.append(Column(name, name, None, of_it, variant_digest=digest, audit=its_audit))
    column = compare(columns, trace_name="case").columns[1]
    return [column.verdict.value, column.reason]


def main(wanted):
    """What the audit says of each case, without the bug and with it."""
    found = {}
    for name in wanted or CASES:
        case = CASES[name]
        sound = told(case)
        if case.function is None:
            found[name] = {"planted": lines_of(sound[0])}
            continue
        new = plant(case)
        try:
            planted = told(case)
        finally:
            _replace(new, case.function)
        found[name] = {
            "sound": lines_of(sound[0]),
            "planted": lines_of(planted[0]),
            "causes": [[step.text for step in each.cause] for each in planted[0].broken],
            "verdict": verdict_of(planted, sound),
            "against": verdict_of(sound, planted),
            "told": [each.message for each in planted[1].findings],
        }
    sys.stdout.write(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
