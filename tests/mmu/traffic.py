"""Random guests that stay on few tables and pages, so that walks go deep; and hostile ones.

``python -m tests.mmu.traffic FIRST COUNT`` replays that many of them under four variants and
prints one line of digests a guest: equal lines are equal results, however the kernels ran.
"""

import hashlib
import random
import sys

from refault.catalogue import Parameters, variant_from_golden_name
from refault.errors import RefaultError
from refault.mmu.engine import Host, operations_of
from refault.mmu.pageset import page_digest
from refault.trace import EventKind
from tests.mmu.guests import NX, PS, A, D, Guest, P, U, W

VARIANTS = [variant_from_golden_name(name) for name in ("base", "p2", "p3count", "series")]
VARIANTS.append(variant_from_golden_name("p2", Parameters(tlb=1)))
FRAMES = 24  # tables and data share the same few frames
PAGES = [i << shift for i in range(4) for shift in (12, 21, 30, 39)]


def entry(rng):
    if rng.random() < 0.2:
        return 0
    bits = P | W | U if rng.random() < 0.8 else rng.choice([P, P | W, P | U, W])
    bits |= rng.choice([0, A, A | D])
    if rng.random() < 0.1:
        bits |= PS
    if rng.random() < 0.05:
        bits |= rng.choice([NX, 1 << 45, 1 << 62])
    return rng.randrange(1, FRAMES) << 12 | bits


def random_guest(seed):
    """Stores into page tables through themselves, control registers, host pressure."""
    rng = random.Random(seed)
    vcpus = rng.choice([1, 1, 2, 3])
    guest = Guest(vcpus, bypass=rng.randrange(2), pages=2048, host_level=rng.choice([1, 1, 2]))
    for frame in range(1, FRAMES):
        guest.table(frame, {i: entry(rng) for i in range(4)})
    for vcpu in range(vcpus):
        guest.boot(rng.randrange(1, FRAMES) << 12, vcpu=vcpu)
    for _ in range(rng.randrange(50, 250)):
        vcpu = rng.randrange(vcpus)
        act = rng.random()
        if act < 0.7:
            _access(guest, rng, vcpu)
        elif act < 0.91:
            _register(guest, rng, vcpu)
        else:
            _host_act(guest, rng, vcpu)
    return guest


def _address(rng):
    return rng.choice(PAGES) + rng.choice(PAGES) + 8 * rng.randrange(4)


def _access(guest, rng, vcpu):
    gva, user, act = _address(rng), rng.randrange(2), rng.randrange(14)
    if act < 7:
        guest.load(gva, vcpu=vcpu, user=user)
    elif act < 13:
        size = rng.choice([8, 8, 8, 4, 1])
        guest.store(gva, entry(rng), size=size, vcpu=vcpu, user=user)
    else:
        guest.fetch(gva, vcpu=vcpu)


def _register(guest, rng, vcpu):
    act = rng.randrange(21)
    if act < 8:
        guest.cr3(rng.randrange(1, FRAMES) << 12, vcpu=vcpu)
    elif act < 14:
        guest.invlpg(_address(rng), vcpu=vcpu)
    elif act < 17:
        guest.add(EventKind.OP_CR4, vcpu=vcpu, a=rng.choice([0x20, 0xA0, 0xA0, 0x30]))
    elif act < 19:
        guest.add(EventKind.OP_EFER, vcpu=vcpu, a=rng.choice([0x500, 0xD00]))
    else:
        guest.add(EventKind.OP_CR0, vcpu=vcpu, a=rng.choice([0x80010033, 0x80000033]))


def _host_act(guest, rng, vcpu):
    frame = rng.randrange(1, FRAMES)
    kind, vcpu, value = rng.choice(
        [
            (EventKind.OP_UNMAP, 0, frame),
            (EventKind.OP_AGE, 0, frame),
            (EventKind.OP_SHRINK, 0, frame),
            (EventKind.OP_ZAPALL, 0, 0),
            (EventKind.OP_DIRTYLOG, 0, 0),
            (EventKind.OP_NR_PAGES, 0, rng.choice([30, 40, 64])),
            (EventKind.OP_UNSHADOW, vcpu, frame << 12),
            (EventKind.OP_UNPROTECT, vcpu, _address(rng)),
        ]
    )
    guest.add(kind, vcpu=vcpu, a=value)


_WILD = [0, 1, 7, 8, 511, 512, (1 << 28) - 1, 1 << 31, 1 << 39, 1 << 52, (1 << 63) - 1, 1 << 63]
_WILD += [(1 << 64) - 1, 0xFFFF888000000000, 0x000FFFFFFFFFF000]


def hostile_guest(seed):
    """Operations whose every number is extreme."""
    rng = random.Random(seed)
    guest = random_guest(seed) if rng.random() < 0.5 else Guest(2, pages=64).boot(0x1000)
    kinds = [kind for kind in EventKind if EventKind.OP_POKE <= kind != EventKind.OP_NOTE]
    for _ in range(60):
        kind = rng.choice(kinds)
        if kind in (EventKind.OP_BOOT_CR, EventKind.OP_BOOT):
            guest.boot(rng.choice(_WILD), vcpu=0, cr0=0x80010033)
            continue
        words = [rng.choice(_WILD) ^ rng.choice([0, 0, 8, 4096]) for _ in range(2)]
        guest.add(
            kind,
            vcpu=rng.randrange(guest.vcpus),
            flags=rng.choice([0, 4]),
            aux=rng.choice([0, 0, 1, 35]),
            a=words[0],
            b=words[1],
        )
    return guest


def digests(guest):
    """One word a variant: what its host came to, or the name of the refusal.

    The events go straight to the kernels: the reader's rules would stop most of the hostile ones.
    """
    header, block = guest.header(), guest.block()
    words = []
    for variant in VARIANTS:
        skipped = {}
        try:
            host = Host(variant, header)
            for ops, count, _ in operations_of(header, iter([block]), skipped):
                host.execute(ops, count)
        except RefaultError as error:
            words.append(type(error).__name__)
            continue
        state = [
            host.counters(),
            host.semantics(),
            host.skipped(),
            host.work(),
            skipped,
            host.findings.kept,
            host.outcomes.hexdigest(),
            page_digest(host.machine),
        ]
        words.append(hashlib.sha256(repr(state).encode()).hexdigest())
    return words


def counters_of(guest):
    """The base's counters after a guest."""
    host = Host(VARIANTS[0], guest.header())
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host.execute(ops, count)
    return host.counters()


def main(first, count):
    for seed in range(first, first + count):
        make = hostile_guest if seed % 3 == 2 else random_guest
        sys.stdout.write(" ".join([str(seed), *digests(make(seed))]) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
