"""The state of a guest: the registers of its processors, and its memory.

Four flat arrays of ``int64``: ``state`` (listed below), ``frames`` (per frame of a slot: where its
content begins in ``mem``, 0: all zero), ``mem``, and ``result`` of the current walk. A slot that
was deleted keeps its frames, in case it is added again unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from refault.errors import ReplayRefused
from refault.replay.arrays import longer, zeros
from refault.replay.guests import check_slot
from refault.replay.x86 import ENTRIES
from refault.trace.format import MAX_GUEST_PAGES, MAX_SLOTS, MAX_VCPUS

if TYPE_CHECKING:
    from refault.replay.budget import Ask

# state[]
VCPU_COUNT = 0
SLOT_COUNT = 1
MEM_NEXT = 2  # first unused word of mem[]
ABORTED = 3  # set by another thread: the replay was aborted
SLOTS = 8
SLOT_WORDS = 4
SLOT_BASE = 0  # first gfn
SLOT_PAGES = 1
SLOT_FRAMES = 2  # offset of its frames in frames[]
SLOT_USED = 3
CPUS = SLOTS + SLOT_WORDS * MAX_SLOTS
CPU_WORDS = 16
CR0 = 0
CR3 = 1
CR4 = 2
EFER = 3
BOOTED = 4
PDPTES = 8  # the four cached ones
STATE_WORDS = CPUS + CPU_WORDS * MAX_VCPUS

# result[]
ADDRESS = 0  # reached, or the #PF code
VALUE = 1  # what a load read
RESULT_WORDS = 2

MEMORY_WORDS_MAX = 1 << 29
# The frames for whose content one operation may need memory: that of its store. A and D are set in
# tables, which have content.
FRAMES_PER_OPERATION = 1


class Machine(NamedTuple):
    """One guest on bare hardware."""

    state: Any
    frames: Any
    mem: Any
    result: Any


def create() -> Machine:
    """Hardware without vCPUs, memory or guest."""
    sizes = (STATE_WORDS, 1, 64 * ENTRIES, RESULT_WORDS)
    m = Machine(*(zeros(size) for size in sizes))
    m.state[MEM_NEXT] = ENTRIES
    return m


def reserve(m: Machine, ask: Ask) -> Machine:
    """The same machine with room for any one operation; kernels never allocate."""
    if len(m.mem) - m.state[MEM_NEXT] >= FRAMES_PER_OPERATION * ENTRIES:
        return m
    wanted = 2 * len(m.mem)
    if wanted > MEMORY_WORDS_MAX:
        raise ReplayRefused(
            f"the guest writes more than {MEMORY_WORDS_MAX >> 17} MiB of memory; "
            "replay a shorter trace"
        )
    return m._replace(mem=longer(m.mem, wanted, ask, "what the guest writes"))


def add_slot(m: Machine, slot: int, base_gfn: int, page_count: int, ask: Ask) -> Machine:
    """The same machine with one more memory slot.

    Raises:
        ReplayRefused: it overlaps another, exists already, or is larger than a guest may be.
    """
    state, place = m.state, SLOTS + slot * SLOT_WORDS
    used = (
        (other, int(state[at + SLOT_BASE]), int(state[at + SLOT_PAGES]))
        for other, at in enumerate(range(SLOTS, CPUS, SLOT_WORDS))
        if state[at + SLOT_USED]
    )
    check_slot(slot, base_gfn, page_count, used)
    same = state[place + SLOT_BASE] == base_gfn and state[place + SLOT_PAGES] == page_count
    if not same:
        start = len(m.frames)
        if start + page_count > MAX_GUEST_PAGES + 1:
            raise ReplayRefused(
                f"memory slot {slot}: more than {MAX_GUEST_PAGES >> 8} MiB of guest memory in all, "
                "that of deleted slots included"
            )
        frames = longer(m.frames, start + page_count, ask, f"memory slot {slot}")
        m = m._replace(frames=frames)
        state[place : place + SLOT_USED] = [base_gfn, page_count, start]
    state[place + SLOT_USED] = 1
    state[SLOT_COUNT] = max(state[SLOT_COUNT], slot + 1)
    return m
