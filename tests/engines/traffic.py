"""Random guests that stay on few tables and pages, so that walks go deep; and hostile ones.

``python -m tests.engines.traffic FIRST COUNT`` replays that many of them under six variants and
prints one line of digests a guest: equal lines are equal results, however the kernels ran.
"""

import hashlib
import random
import sys

from refault.catalogue import Parameters, variant_from_golden_name
from refault.engines.shadow.state.pageset import page_digest
from refault.errors import RefaultError
from refault.replay.lowering.rows import operations_of
from refault.replay.session import warm_up
from refault.trace import EventKind
from tests.engines.guests import NX, PS, A, D, Guest, P, U, W
from tests.engines.hostile import capture_guest, hostile_operations
from tests.engines.hosts import Host

NAMES = ("base", "p3count", "series", "apr_series", "apr_p3fix", "rel35")
VARIANTS = [variant_from_golden_name(name) for name in NAMES]
VARIANTS.append(variant_from_golden_name("p2", Parameters(tlb=1)))
LOGGED = (VARIANTS[0], VARIANTS[-2])  # writing the event log of all would take too long
FRAMES = 24  # tables and data share the same few frames
PDPTS = (1, 2)  # frames whose entries have P alone, as PDPTEs must
SPOTS = (0, 1, 2, 3, 256, 511)  # words of a table that are in use
ROOT_MODES = ("long", "long", "pae", "32bit", "nonpaging")
REGISTERS = {
    "long": {"cr0": 0x80010033, "cr4": 0x20, "efer": 0x500},
    "pae": {"cr0": 0x80010033, "cr4": 0x20, "efer": 0},
    "32bit": {"cr0": 0x80010033, "cr4": 0x10, "efer": 0},
    "nonpaging": {"cr0": 0x33, "cr4": 0, "efer": 0},
}


def bits(rng):
    """What stands in a present entry beside the frame."""
    found = P | W | U if rng.random() < 0.8 else rng.choice([P, P | W, P | U, W])
    found |= rng.choice([0, A, A | D])
    return found | PS if rng.random() < 0.1 else found


def entry(rng):
    """An entry of eight bytes."""
    if rng.random() < 0.2:
        return 0
    odd = rng.choice([NX, 1 << 45, 1 << 62]) if rng.random() < 0.05 else 0
    return rng.randrange(1, FRAMES) << 12 | bits(rng) | odd


def pair(rng):
    """Two entries of four bytes."""
    halves = [0 if rng.random() < 0.2 else rng.randrange(1, FRAMES) << 12 | bits(rng) for _ in "ab"]
    return halves[0] | halves[1] << 32


class Traffic:
    """A guest whose vCPUs run in modes of their own, and change them."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.vcpus = rng.choice([1, 1, 2, 3])
        level = rng.choice([1, 1, 2])
        self.is_split = rng.random() < 0.3
        pages = 16 if self.is_split else 2048
        self.guest = Guest(self.vcpus, bypass=rng.randrange(2), pages=pages, host_level=level)
        if self.is_split:
            self.guest.add(EventKind.OP_MEM, flags=level, aux=1, a=16, b=2032)
        self.modes = [rng.choice(ROOT_MODES) for _ in range(self.vcpus)]
        for frame in range(1, FRAMES):
            narrow = "32bit" in self.modes and rng.random() < 0.5
            word = self._pdpte if frame in PDPTS else pair if narrow else entry
            self.guest.table(frame, {i: word(rng) for i in SPOTS})
        for vcpu, mode in enumerate(self.modes):
            self.guest.boot(self._root(mode), vcpu=vcpu, **REGISTERS[mode])

    @staticmethod
    def _pdpte(rng):
        return rng.choice([0, P, P, P]) and rng.randrange(3, FRAMES) << 12 | P

    def _root(self, mode):
        frames = PDPTS if mode == "pae" and self.rng.random() < 0.9 else range(1, FRAMES)
        return self.rng.choice(frames) << 12

    def address(self, mode):
        rng = self.rng
        if mode == "long":
            places = [rng.choice(SPOTS[:4]) << shift for shift in (39, 30, 21)]
            gva = sum(places) | rng.choice(SPOTS) << 12
        elif mode == "pae":
            gva = rng.randrange(4) << 30 | rng.choice(SPOTS) << 21 | rng.choice(SPOTS) << 12
        elif mode == "32bit":
            high, low = (2 * rng.choice(SPOTS) + rng.randrange(2) for _ in "ab")
            gva = high << 22 | low << 12
        else:
            gva = rng.randrange(FRAMES + 2) << 12
        return gva + 8 * rng.randrange(4)

    def act(self):
        vcpu, chance = self.rng.randrange(self.vcpus), self.rng.random()
        if chance < 0.7:
            self._access(vcpu)
        elif chance < 0.89:
            self._register(vcpu)
        elif chance < 0.91:
            self._switch(vcpu)
        else:
            self._host_act(vcpu)

    def _access(self, vcpu):
        rng, mode = self.rng, self.modes[vcpu]
        gva, user, chance = self.address(mode), rng.randrange(2), rng.randrange(14)
        if chance < 7:
            self.guest.load(gva, vcpu=vcpu, user=user)
        elif chance < 13:
            size = rng.choice([8, 8, 8, 4, 4, 2, 1])
            value = pair(rng) if mode == "32bit" else entry(rng)
            inside = rng.randrange(0, 8, size)
            self.guest.store(gva + inside, value, size=size, vcpu=vcpu, user=user)
        else:
            self.guest.fetch(gva, vcpu=vcpu)

    def _register(self, vcpu):
        rng, mode, chance = self.rng, self.modes[vcpu], self.rng.randrange(21)
        if chance < 8:
            self.guest.cr3(self._root(mode), vcpu=vcpu)
        elif chance < 14:
            self.guest.invlpg(self.address(mode), vcpu=vcpu)
        elif chance < 17:
            values = [0x20, 0xA0, 0xA0, 0x30] if mode in ("long", "pae") else [0x10, 0x90, 0]
            self.guest.add(EventKind.OP_CR4, vcpu=vcpu, a=rng.choice(values))
        elif chance < 19:
            values = [0x500, 0xD00] if mode == "long" else [0, 0x800]
            self.guest.add(EventKind.OP_EFER, vcpu=vcpu, a=rng.choice(values))
        else:
            paging = REGISTERS[mode]["cr0"] & 1 << 31
            self.guest.add(EventKind.OP_CR0, vcpu=vcpu, a=paging | rng.choice([0x10033, 0x33]))

    def _switch(self, vcpu):
        """Into another mode, the way an operating system goes; now and then the wrong way."""
        mode = self.modes[vcpu] = self.rng.choice(ROOT_MODES)
        registers = REGISTERS[mode]
        steps = [
            (EventKind.OP_CR0, 0x10033),
            (EventKind.OP_CR4, registers["cr4"]),
            (EventKind.OP_EFER, registers["efer"] & ~0x400),
            (EventKind.OP_CR3, self._root(mode)),
            (EventKind.OP_CR0, registers["cr0"]),
        ]
        if self.rng.random() < 0.2:
            self.rng.shuffle(steps)
        for kind, value in steps:
            self.guest.add(kind, vcpu=vcpu, a=value)

    def _set_registers(self, vcpu):
        """From outside the guest, into the mode it is in or another one."""
        rng = self.rng
        mode = self.modes[vcpu] = rng.choice([self.modes[vcpu], *ROOT_MODES])
        registers = REGISTERS[mode]
        cr0 = registers["cr0"] ^ rng.choice([0, 0, 0x10000])
        efer = registers["efer"] | rng.choice([0, 0, 0x800])
        self.guest.add(EventKind.OP_SREGS_CR, vcpu=vcpu, a=cr0, b=self._root(mode))
        self.guest.add(
            EventKind.OP_SREGS, vcpu=vcpu, a=registers["cr4"] | rng.choice([0, 0x80]), b=efer
        )

    def _host_act(self, vcpu):
        rng, frame = self.rng, self.rng.randrange(1, FRAMES)
        kind, vcpu, value = rng.choice(
            [
                (EventKind.OP_UNMAP, 0, frame),
                (EventKind.OP_AGE, 0, frame),
                (EventKind.OP_CHANGE_PTE, 0, frame),
                (EventKind.OP_SHRINK, 0, frame),
                (EventKind.OP_ZAPALL, 0, 0),
                (EventKind.OP_DIRTYLOG, 0, 0),
                (EventKind.OP_LOG, 0, 0),
                (EventKind.OP_NR_PAGES, 0, rng.choice([9, 30, 40, 64, 64, 64])),
                (EventKind.OP_UNSHADOW, vcpu, frame << 12),
                (EventKind.OP_UNPROTECT, vcpu, self.address(self.modes[vcpu])),
                (EventKind.OP_MEM_DELETE, 0, 0),
                (EventKind.OP_UNMAP_RANGE, 0, frame),
                (EventKind.OP_LOG_OFF, 0, 0),
                (EventKind.OP_GET_DIRTY_LOG, 0, 0),
                (EventKind.OP_SREGS, vcpu, 0),
            ]
        )
        if kind == EventKind.OP_UNMAP_RANGE:
            self.guest.add(kind, a=value, b=rng.randrange(1, 40))
        elif kind == EventKind.OP_SREGS:
            self._set_registers(vcpu)
        elif kind != EventKind.OP_MEM_DELETE:
            self.guest.add(kind, vcpu=vcpu, a=value, b=rng.randrange(2))
        elif self.is_split:
            self.guest.add(kind, aux=1)
            for _ in range(rng.randrange(6)):
                self._access(rng.randrange(self.vcpus))
            self.guest.add(EventKind.OP_MEM, flags=1, aux=1, a=16, b=2032)


def random_guest(seed):
    """Stores into page tables through themselves, control registers, host pressure."""
    traffic = Traffic(seed)
    for _ in range(traffic.rng.randrange(50, 250)):
        traffic.act()
    return traffic.guest


def hostile_guest(seed):
    """Operations whose every number is extreme, behind ordinary ones or none."""
    rng = random.Random(seed)
    guest = random_guest(seed) if rng.random() < 0.5 else Guest(2, pages=64).boot(0x1000)
    return hostile_operations(guest, rng)


def guest_of(seed):
    """Every third guest is hostile, every sixth a hostile capture."""
    if seed % 6 == 5:
        return capture_guest(random.Random(seed))
    return hostile_guest(seed) if seed % 6 == 2 else random_guest(seed)


def host_after(guest, variant, events=None):
    """The host a guest leaves behind, and what became no operation.

    The events go straight to the kernels: the reader's rules would stop most of the hostile ones.
    """
    header, block, skipped = guest.header(), guest.block(), {}
    host = Host(variant, header, events=events)
    if header.content == "capture":
        host.begin()
    for ops, count, _ in operations_of(header, iter([block]), skipped):
        host.execute(ops, count)
    return host, skipped


def digests(guest):
    """One word a variant: what its host came to, or the name of the refusal."""
    words = []
    for variant in VARIANTS:
        log = hashlib.sha256()
        events = (lambda text, log=log: log.update(text.encode())) if variant in LOGGED else None
        try:
            host, skipped = host_after(guest, variant, events)
        except RefaultError as error:
            words.append(type(error).__name__)
            continue
        state = [
            host.counters(),
            host.notes.semantics(),
            host.notes.skipped(),
            host.work(),
            skipped,
            host.notes.findings.kept,
            host.notes.outcomes.hexdigest(),
            page_digest(host.machine),
            log.hexdigest(),
        ]
        words.append(hashlib.sha256(repr(state).encode()).hexdigest())
    return words


def main(first, count):
    warm_up()
    for seed in range(first, first + count):
        sys.stdout.write(" ".join([str(seed), *digests(guest_of(seed))]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
