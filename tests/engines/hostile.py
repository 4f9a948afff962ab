"""Events no honest tool writes: every number extreme, in any order."""

from refault.trace import EventKind, MemorySlot, TraceHeader
from refault.trace.format import CAPTURE_KINDS, OPERATION_KINDS
from tests.engines.guests import A, D, Guest, P, U, W

WILD = [0, 1, 7, 8, 511, 512, (1 << 28) - 1, 1 << 31, 1 << 39, 1 << 52, (1 << 63) - 1, 1 << 63]
WILD += [(1 << 64) - 1, 0xFFFF888000000000, 0x000FFFFFFFFFF000, 0x1000, 0x1FFE, 0x2FFC]
CR0S = [0x80010033, 0x80000031, 0x33, 0x80000000, 0xFFFFFFFF, 0]
CR4S = [0x20, 0, 0x30, 0xA0, 0x80000020, 0xFFFFFFFF]
EFERS = [0x500, 0, 0xD00, 0x400, 0x100, (1 << 64) - 1]
NEVER = (EventKind.OP_VM, EventKind.OP_NOTE, EventKind.OP_BOOT_CR, EventKind.OP_SREGS_CR)


def word(rng):
    """A number at an edge of something, or just beside it."""
    return rng.choice(WILD) ^ rng.choice([0, 0, 1, 6, 8, 4096])


def hostile_operations(guest, rng):
    """Sixty operations of every kind behind those the guest has."""
    kinds = [kind for kind in sorted(OPERATION_KINDS) if kind not in NEVER]
    for _ in range(60):
        kind, vcpu = rng.choice(kinds), rng.randrange(guest.vcpus)
        if kind == EventKind.OP_BOOT:
            registers = {
                "cr0": rng.choice(CR0S),
                "cr4": rng.choice(CR4S),
                "efer": rng.choice(EFERS),
            }
            guest.boot(word(rng), vcpu=vcpu, **registers)
            continue
        if kind == EventKind.OP_SREGS:
            guest.add(EventKind.OP_SREGS_CR, vcpu=vcpu, a=rng.choice(CR0S), b=word(rng))
            guest.add(kind, vcpu=vcpu, a=rng.choice(CR4S), b=rng.choice(EFERS))
            continue
        if kind == EventKind.OP_MEM and rng.random() < 0.9:  # most others are refused
            place = rng.choice([0, 4096, 4608, 1 << 27])
            guest.add(kind, flags=2, aux=rng.choice([0, 1, 35]), a=place, b=rng.choice([1, 512]))
            continue
        guest.add(
            kind,
            vcpu=vcpu,
            flags=rng.choice([0, 1, 2, 4]),
            aux=rng.choice([0, 0, 0, 1, 35, 36, 63, 255]),
            a=word(rng),
            b=word(rng),
        )
    return guest


class Capture(Guest):
    """Collects the events of a capture."""

    slots = (MemorySlot(0, 0, 64), MemorySlot(3, 512, 512, 2))

    def __init__(self, vcpus):
        super().__init__(vcpus)
        self.rows = []

    def header(self):
        return TraceHeader("capture", "a hostile capture", "long", self.vcpus, self.slots)


def capture_guest(rng):
    """A start like a real one, then events of every kind of a capture."""
    guest = Capture(rng.choice([1, 2]))
    for vcpu in range(guest.vcpus):
        for kind, aux, a, b in (
            (EventKind.MSR, 0, 0xC0000080, rng.choice([0x500, 0xD00])),
            (EventKind.CR, 4, rng.choice([0x20, 0xA0]), 0),
            (EventKind.CR, 0, 0x80010033, 0),
            (EventKind.CR, 3, 0x1000, 0),
        ):
            guest.add(kind, vcpu=vcpu, flags=32, aux=aux, a=a, b=b)
    for _ in range(rng.randrange(20, 120)):
        if rng.random() < 0.3:
            snapshot(guest, rng)
        else:
            wild_event(guest, rng)
    return guest


def snapshot(guest, rng):
    """A table becomes tracked; the number of entries need not be the one announced."""
    vcpu, frame, count = rng.randrange(guest.vcpus), rng.randrange(1, 9), rng.randrange(6)
    announced = count if rng.random() < 0.8 else rng.choice([0, 512, 513, 1 << 40, (1 << 64) - 1])
    guest.add(EventKind.TABLE_SNAPSHOT, vcpu=vcpu, aux=1, a=frame << 12, b=announced)
    for index in range(count):
        value = rng.randrange(1, 9) << 12 | rng.choice([P, P | W, P | W | U | A | D, 0x80 | P | W])
        guest.add(EventKind.TABLE_ENTRY, vcpu=vcpu, a=frame << 12 | index << 3, b=value)


def wild_event(guest, rng):
    """Any kind; addresses half the time in the few pages that are mapped."""
    a, b = (
        word(rng) if rng.random() < 0.5 else rng.randrange(9) << 12 | 8 * rng.randrange(8)
        for _ in "ab"
    )
    guest.add(
        rng.choice(sorted(CAPTURE_KINDS)),
        vcpu=rng.randrange(guest.vcpus),
        flags=rng.randrange(64),
        aux=rng.choice([0, 1, 3, 3, 4, 19, 35, 36, 67, 255]),
        a=a,
        b=b,
    )
