"""What kernels from 2.6.36 on do otherwise, in the model and in the code of kernels of today.

Small guests, one mechanism each: the counter that the mechanism is about moves in the kernel as it
does in the model with the patch, and not as in the model without it.
"""

import functools

import pytest

from refault.catalogue import KERNEL, PatchSet, resolve
from refault.linux.variants import resolve_kernel
from refault.replay.session import replay
from refault.trace import EventKind
from tests.engines.guests import A, D, Guest, P, U
from tests.engines.variants import (
    FIRST_OF_PT2,
    PD,
    PDPT,
    PT,
    ROOT,
    SELF,
    link,
    shadowed,
    two_tables,
)

BASE = "v2.6.35.6"
READ_ONLY = P | U | A | D
SECOND = 11  # the root of another address space, over tables of its own
FREE = SELF + 0x800  # an entry of PT that maps nothing


def sharing():
    """PT out of sync under the first root."""
    guest = two_tables()
    for frame in (11, 12):
        guest.table(frame, {0: link(frame + 1)})
    return guest.table(13, {0: link(PT)}).load(0).store(FREE, link(103))


def linked_again():
    return sharing().cr3(SECOND << 12).load(0).load(SELF)


def two_roles(guest):
    """PD's second entry leads to PT too, and grants no W."""
    guest.table(ROOT, {0: link(PDPT)}).table(PDPT, {0: link(PD)})
    guest.table(PD, {0: link(PT), 1: link(PT, READ_ONLY)})
    return guest.table(PT, {0: link(100), 1: link(PT)}).boot(ROOT << 12).load(0)


def whole_group():
    guest = Guest()
    guest.table(ROOT, {0: link(PDPT)}).table(PDPT, {0: link(PD)}).table(PD, {0: link(PT)})
    return guest.table(PT, {i: link(100 + i) for i in range(8)}).boot(ROOT << 12).load(0)


def losing_write():
    """PT is out of sync, not mapped any more, and its first entry has lost W."""
    guest = two_tables(vcpus=2).load(0).load(0, vcpu=1).store(SELF, link(100, READ_ONLY))
    return guest.add(EventKind.OP_UNMAP, a=PT).load(0, vcpu=1)


def emptied():
    """The same with an entry that is gone, where nothing else in the sync makes a flush."""
    guest = Guest(2)
    guest.table(ROOT, {0: link(PDPT)}).table(PDPT, {0: link(PD)})
    guest.table(PD, {0: link(PT), 1: link(5)}).table(5, {0: link(103)})
    guest.table(PT, {0: link(100), 1: link(PT), 2: link(102)})
    for vcpu in (0, 1):
        guest.boot(ROOT << 12, vcpu=vcpu)
        guest.load(0, vcpu=vcpu).load(2 << 12, vcpu=vcpu).load(FIRST_OF_PT2, vcpu=vcpu)
    guest.store(SELF, 0).add(EventKind.OP_UNMAP, a=PT).add(EventKind.OP_AGE, a=102)
    return guest.load(FIRST_OF_PT2, vcpu=1)


def dropped():
    return emptied().cr3(ROOT << 12).load(FIRST_OF_PT2)


#: By mechanism: the guest, what it does, the patches, and counter → (without them, with them).
CASES = {
    "a page that is linked again stays out of sync": (
        sharing,
        lambda g: g.cr3(SECOND << 12).load(0),
        ("sync-transient",),
        {"mmu_unsync": (0, 1)},
    ),
    "and writable": (
        linked_again,
        lambda g: g.store(FREE, 0),
        ("sync-transient",),
        {"exits": (1, 0)},
    ),
    "both pages of a table go out of sync": (
        lambda: two_roles(Guest()).load(FIRST_OF_PT2),
        lambda g: g.store(FREE, link(103)),
        ("unsync-many",),
        {"mmu_unsync": (0, 2), "mmu_pte_write": (1, 0)},
    ),
    "a new page of level 1 leaves the other out of sync": (
        lambda: two_roles(Guest()).store(FREE, link(103)),
        lambda g: g.load(FIRST_OF_PT2),
        ("sync-transient", "unsync-many"),
        {"mmu_unsync": (0, 1)},
    ),
    "INVLPG leaves a page in sync alone": (
        shadowed,
        lambda g: g.invlpg(0),
        ("invlpg-unsync",),
        {"mmu_pte_write": (1, 0)},
    ),
    "a fault maps its group": (
        whole_group,
        lambda g: [g.load(i << 12) for i in range(1, 8)],
        ("pte-prefetch-exact",),
        {"exits": (7, 0), "pf_fixed": (7, 0)},
    ),
    "a leaf that loses W is flushed": (
        losing_write,
        lambda g: g.cr3(ROOT << 12).load(0),
        ("write-lost-flush",),
        {"remote_tlb_flush": (0, 1)},
    ),
}


@functools.cache
def total(variant, make, act):
    guest = make()
    if act is not None:
        act(guest)
    (result,) = replay(guest.trace(), [variant_of(variant)])
    assert result.stopped is None
    return result.counters


def variant_of(name):
    base, *patch_ids = name
    return resolve_kernel(PatchSet(base)) if KERNEL in base else resolve(PatchSet(base, patch_ids))


def moved(variant, make, act, counters):
    """How far an act moves these counters, and what it leaves in the gauge mmu_unsync."""
    before, after = total(variant, make, None), total(variant, make, act)
    before = before | {"mmu_unsync": 0}
    return {name: after[name] - before[name] for name in counters}


@pytest.mark.parametrize("mechanism", CASES)
def test_the_kernel_does_as_the_model_with_the_patch(build, release, mechanism):
    (made,) = build(release)
    make, act, patch_ids, counters = CASES[mechanism]
    without, having = ({name: n[i] for name, n in counters.items()} for i in (0, 1))
    assert moved((BASE,), make, act, counters) == without
    assert moved((BASE, *patch_ids), make, act, counters) == having
    assert moved((f"{KERNEL}{made.digest}",), make, act, counters) == having


def test_what_a_sync_drops_is_flushed_when_the_host_takes_the_frame(build, release):
    """So did kernels up to 5.10; later ones flush in the sync itself again."""
    (made,) = build(release)

    def flushes(variant):
        return [
            moved(variant, make, act, ["remote_tlb_flush"])["remote_tlb_flush"]
            for make, act in (
                (emptied, lambda g: g.cr3(ROOT << 12).load(FIRST_OF_PT2)),
                (dropped, lambda g: g.add(EventKind.OP_UNMAP, a=100)),
            )
        ]

    assert flushes((BASE,)) == [0, 0]
    assert flushes((BASE, "sync-flush-lazy")) == [0, 1]
    lazy = release == "5.10"
    assert flushes((f"{KERNEL}{made.digest}",)) == ([0, 1] if lazy else [1, 0])
