"""Guests for tests of single variants, and what an act changes under one of them.

Frames 1 to 3 are the PML4, PDPT and PD of one address space; PD[0] leads to the table in
frame 4, PD[1] to that in frame 5. A bit pattern of A and D everywhere keeps the walk from
writing to guest memory.
"""

from refault.catalogue import PatchSet, resolve
from refault.engines.shadow.state import words
from refault.replay.lowering.rows import operations_of
from refault.trace import EventKind
from tests.engines.guests import A, D, Guest, P, U, W
from tests.engines.hosts import Host

FULL = P | W | U | A | D
ROOT, PDPT, PD, PT, PT2 = 1, 2, 3, 4, 5
FIRST_OF_PT2 = 1 << 21
SELF = 0x1000  # maps PT itself
OTHER = 0x2000  # maps PT2
UPPER = 0x3000  # maps PD


def link(frame, bits=FULL):
    return frame << 12 | bits


def two_tables(vcpus=1, **registers):
    """A booted guest with both tables, both pages of which are also mapped in the first."""
    guest = Guest(vcpus)
    guest.table(ROOT, {0: link(PDPT)}).table(PDPT, {0: link(PD)})
    guest.table(PD, {0: link(PT), 1: link(PT2)})
    guest.table(PT, {0: link(100), 1: link(PT), 2: link(PT2), 3: link(PD)})
    guest.table(PT2, {0: link(101)})
    for vcpu in range(vcpus):
        guest.boot(ROOT << 12, vcpu=vcpu, **registers)
    return guest


def shadowed(**registers):
    """Both tables shadowed and in sync: five shadow pages, the root's in use."""
    return two_tables(**registers).load(0).load(FIRST_OF_PT2)


def unsynced(**registers):
    """Both tables out of sync, the first one first."""
    return shadowed(**registers).load(SELF).load(OTHER)


def synced_by_lookup():
    """PT goes out of sync under the first root, and is synced when a second one links it."""
    guest = two_tables()
    for frame in (11, 12):
        guest.table(frame, {0: link(frame + 1)})
    guest.table(13, {0: link(PT)})
    return guest.load(0).load(SELF).cr3(11 << 12).load(0).cr3(ROOT << 12).load(0)


def unshadow(guest, frame):
    return guest.add(EventKind.OP_UNSHADOW, a=frame << 12)


def limit(guest, pages):
    return guest.add(EventKind.OP_NR_PAGES, a=pages)


def cr0(guest, value):
    return guest.add(EventKind.OP_CR0, a=value)


def cr4(guest, value):
    return guest.add(EventKind.OP_CR4, a=value)


def host_after(guest, *patch_ids, base="v2.6.34-pre"):
    """The host of a guest under a patch set; a broken kernel says so in ``vm[BUG]``."""
    host = Host(resolve(PatchSet(base, patch_ids)), guest.header())
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host.execute(ops, count)
    return host


def bug_of(guest, *patch_ids):
    return host_after(guest, *patch_ids).machine.vm[words.BUG]


def changes(make, act, *patch_ids, base="v2.6.34-pre"):
    """The counters that an act changes after ``make()``, and by how much."""
    before = host_after(make(), *patch_ids, base=base).counters()
    guest = make()
    act(guest)
    host = host_after(guest, *patch_ids, base=base)
    assert not host.machine.vm[words.BUG]
    after = host.counters()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}
