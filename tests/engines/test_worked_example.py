"""The specification's worked example, its counters derived by hand for 2.6.34.

One vCPU, VMX with bypass_guest_pf. PML4 frame 1, PDPT 2, PD 3, PT 4, each with entry 0
present (W, U, A=0); PT[0] → frame 100 (W, U, A=0, D=0); PT[1] → frame 4 itself (W, U,
A, D); the rest absent. PD[0] can be written through PT[3] → frame 3 (W, U, A, D).
"""

import pytest

from refault.catalogue import PatchSet, resolve
from refault.engines.shadow.state import words
from refault.replay.lowering.rows import operations_of
from tests.engines.guests import LONG, A, D, Guest, P, U, W
from tests.engines.hosts import Host

ROOT, PD_PAGE, PT_PAGE, DATA = 0x1000, 3, 4, 100


def example():
    guest = Guest(bypass=1, pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(
        PT_PAGE,
        {
            0: DATA << 12 | P | W | U,
            1: PT_PAGE << 12 | P | W | U | A | D,
            3: PD_PAGE << 12 | P | W | U | A | D,
        },
    )
    return guest.boot(ROOT, **LONG)


# What happens, and the counters that have changed since the step before.
STEPS = [
    (
        "reading a page for the first time builds three tables under the root",
        lambda g: g.load(0),
        {"mmu_cache_miss": 4, "pf_fixed": 1, "exits": 1},
    ),
    (
        "writing it sets D and grants W",
        lambda g: g.store(0, 7),
        {"pf_fixed": 1, "exits": 1},
    ),
    (
        "reading a table through a writable mapping lets it go out of sync",
        lambda g: g.load(0x1000),
        {"pf_fixed": 1, "exits": 1, "mmu_unsync": 1, "parent_marks": 3},
    ),
    ("writing an unsync table costs nothing", lambda g: g.store(0x1010, 101 << 12 | P | W | U), {}),
    (
        "INVLPG of an absent leaf is one local flush",
        lambda g: g.invlpg(0x2000),
        {"invlpg": 1, "tlb_flush": 1, "hw_flush": 1},
    ),
    (
        "the new mapping is found at the next touch",
        lambda g: g.store(0x2000, 9),
        {"pf_fixed": 1, "exits": 1},
    ),
    (
        "reloading the same CR3 syncs the table: one flush for it and one for the reload",
        lambda g: g.cr3(ROOT),
        {"mmu_unsync": -1, "synced": 1, "tlb_flush": 2, "hw_flush": 2, "flush_calls": 1},
    ),
    (
        "a one-byte store makes it unsync again, without emulation",
        lambda g: g.store(0x1FF8, 0, size=1),
        {"pf_fixed": 1, "exits": 1, "mmu_unsync": 1, "parent_marks": 3, "hw_flush": 1},
    ),
    (
        "a store to an upper table is emulated and drops the link it hits, which others may hold",
        lambda g: g.store(0x3004, 0, size=4),
        {
            "pf_fixed": 1,
            "exits": 1,
            "hw_flush": 1,
            "mmu_pte_write": 1,
            "mmu_pde_zapped": 1,
            "flush_calls": 1,
        },
    ),
]


def counters_after(steps):
    guest = example()
    for _, act, _ in STEPS[:steps]:
        act(guest)
    with guest.trace() as trace:
        host = Host(resolve(PatchSet()), trace.header)
        for ops, count, _ in operations_of(trace.header, trace.blocks(), {}):
            host.execute(ops, count)
    assert not host.machine.vm[words.BUG]
    return host.counters()


@pytest.mark.parametrize("step", range(1, len(STEPS) + 1), ids=[step[0] for step in STEPS])
def test_each_step_changes_exactly_these_counters(step):
    before, after = counters_after(step - 1), counters_after(step)
    expected = STEPS[step - 1][2]
    watched = {name for _, _, changes in STEPS for name in changes}
    changed = {name: after[name] - before[name] for name in watched if after[name] != before[name]}
    if step == 1:  # the flush asked for when the slot was made is carried out at the first entry
        changed["hw_flush"] -= 1
        changed = {name: change for name, change in changed.items() if change}
    assert changed == expected
