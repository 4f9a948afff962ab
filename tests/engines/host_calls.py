"""Guests whose host takes ranges away, keeps a dirty log and sets registers."""

from refault.trace import EventKind
from tests.engines.guests import LONG, A, D, Guest, P, U, W

DATA = 100
FULL = P | W | U | A | D


def four_pages(vcpus=1, boots=None, leaf=FULL, **registers):
    """Four pages written, of eight that four tables map; A and D are set, or as in ``leaf``."""
    guest = Guest(vcpus, pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | FULL})
    guest.table(4, {i: (DATA + i) << 12 | leaf for i in range(8)})
    for vcpu in range(vcpus if boots is None else boots):
        guest.boot(0x1000, vcpu=vcpu, **registers)
    for page in range(4):
        guest.store(page << 12, 7)
    return guest


def unmap_range(guest, first, pages):
    return guest.add(EventKind.OP_UNMAP_RANGE, a=first, b=pages)


def log(guest, slot=0):
    return guest.add(EventKind.OP_LOG, aux=slot)


def log_off(guest, slot=0):
    return guest.add(EventKind.OP_LOG_OFF, aux=slot)


def get_log(guest, slot=0):
    return guest.add(EventKind.OP_GET_DIRTY_LOG, aux=slot)


def sregs(guest, cr3=0x1000, vcpu=0, **registers):
    values = {**LONG, **registers}
    guest.add(EventKind.OP_SREGS_CR, vcpu=vcpu, a=values["cr0"], b=cr3)
    return guest.add(EventKind.OP_SREGS, vcpu=vcpu, a=values["cr4"], b=values["efer"])


def untouched():
    """Two vCPUs; the pages that are not written have no A, so that no kernel maps them unasked."""
    return four_pages(2, leaf=P | W | U)


def itself():
    """The last table maps itself and the one above it."""
    return untouched().table(4, {9: 4 << 12 | FULL, 10: 3 << 12 | FULL})


#: What the code of kernels of today is held against, by name.
CASES = {
    "a range": lambda: unmap_range(untouched(), 90, 1000).load(0).load(0x1000),
    "a range of one frame": lambda: unmap_range(untouched(), DATA, 1).store(0).load(0x1000),
    "a range of nothing mapped": lambda: unmap_range(untouched(), 500, 100).load(0),
    "a range that begins in memory": lambda: unmap_range(untouched(), 1000, 1 << 20).load(0),
    "a log switched off": lambda: (
        log_off(log(untouched()).store(0).store(0x1000)).store(0).store(0x1000)
    ),
    "a log that was never on": lambda: log_off(untouched()).store(0),
    "nothing dirty": lambda: get_log(log(untouched())),
    "two of four": lambda: get_log(log(untouched()).store(0).store(0x2000).load(0x5000)),
    "dirty once": lambda: get_log(get_log(log(untouched()).store(0).store(0x2000)).load(0)),
    "dirty twice": lambda: get_log(get_log(log(untouched()).store(0).store(0x2000)).store(0)),
    "no log": lambda: get_log(untouched()),
    "off before it is read": lambda: get_log(log_off(log(untouched()).store(0))),
    "off and on": lambda: get_log(log(log_off(log(untouched()).store(0)))),
    "stores to tables": lambda: get_log(
        get_log(log(itself()).store(0))
        .store(0x9000 + 8 * 11, 105 << 12 | P | W | U)
        .store(0xA000 + 8 * 4, 0)
        .load(0xB000)
    ),
    "the same registers": lambda: sregs(untouched()).load(0),
    "CR0.WP": lambda: sregs(untouched(), cr0=LONG["cr0"] & ~0x10000).load(0).store(0x1000, user=0),
    "EFER.NX": lambda: sregs(untouched(), efer=0xD00).load(0).fetch(0x1000),
    "CR4.PGE": lambda: sregs(untouched(), cr4=0xA0).load(0),
    "CR3": lambda: sregs(untouched().table(9, {0: 2 << 12 | FULL}), 0x9000).load(0),
    "paging off and on": lambda: sregs(
        sregs(untouched(), cr0=0x33, cr4=0, efer=0).load(DATA << 12)
    ).load(0),
    "to PAE": lambda: sregs(
        untouched().table(9, {0: 10 << 12 | P}).table(10, {0: 4 << 12 | FULL}),
        0x9000,
        cr4=0x20,
        efer=0,
    ).load(0x3000),
}
