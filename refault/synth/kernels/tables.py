"""Page tables: making, finding, changing and freeing them, and dropping translations."""

from __future__ import annotations

from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.synth import words as w
from refault.synth.kernels.frames import (
    field,
    pop,
    push,
    release,
)
from refault.synth.kernels.recording import (
    DROPPED_CLEARED,
    DROPPED_FREED,
    WORDS_PER_FRAME,
    WRITE,
    drop,
    entry_of,
    frame_in,
    index_of,
    invalidate,
    is_leaf,
    load_root,
    store_entry,
    touch_frame,
)
from refault.synth.words import Guest

USER_TABLE = 0x67  # present, writable, user, accessed, dirty
KERNEL_TABLE = 0x63
KERNEL_PAGE = 0x163  # and global, for the kernel only
FLUSH_ALL_ABOVE = 33  # pages; Linux's tlb_single_page_flush_ceiling


@kernel
def pages_below(g: Guest, level: int) -> int:
    """log2 of the pages that one entry of that level maps."""
    return g.state[w.INDEX_BITS] * (level - 1)


@kernel
def clear_if_tracked(g: Guest, vcpu: int, frame: int) -> None:
    """Clear a frame that still is tracked as a root; each word is an event."""
    if g.frames[field(frame, w.TRACKED)]:
        for index in range(WORDS_PER_FRAME):
            store_entry(g, vcpu, frame, index, 0)
        drop(g, vcpu, frame, DROPPED_CLEARED)
        g.frames[field(frame, w.LIVE)] = 0


@kernel
def take_frame(g: Guest, vcpu: int) -> int:
    """A free frame, cleared."""
    frame = pop(g)
    touch_frame(g, vcpu, frame, WRITE)
    clear_if_tracked(g, vcpu, frame)
    return frame


@kernel
def new_table(g: Guest, vcpu: int, level: int, base: int) -> int:
    """An empty table for the addresses from ``base`` on; nothing points to it yet."""
    return begin_table(g, take_frame(g, vcpu), level, base)


@kernel
def begin_table(g: Guest, frame: int, level: int, base: int) -> int:
    """A frame, which was cleared, becomes a table."""
    g.frames[field(frame, w.LEVEL)] = level
    g.frames[field(frame, w.BASE)] = base
    g.frames[field(frame, w.LIVE)] = 0
    g.frames[field(frame, w.PAIR)] = 0
    return frame


@kernel
def free_table(g: Guest, vcpu: int, frame: int) -> None:
    """A table that nothing points to any more is a free frame."""
    end_table(g, vcpu, frame)
    push(g, frame)


@kernel
def end_table(g: Guest, vcpu: int, frame: int) -> None:
    """A frame is no table any more; some roots stay tracked."""
    level = g.frames[field(frame, w.LEVEL)]
    stays = level == g.state[w.LEVELS] and g.state[w.LEAVES_ROOTS]
    if not (stays and g.frames[field(frame, w.TRACKED)]):
        drop(g, vcpu, frame, DROPPED_FREED)
        if g.frames[field(frame, w.LIVE)]:
            for i in range(WORDS_PER_FRAME):
                g.memory[frame * WORDS_PER_FRAME + i] = 0
    g.frames[field(frame, w.REF)] = 0
    g.frames[field(frame, w.OWNER)] = 0


@kernel
def set_entry(g: Guest, vcpu: int, frame: int, index: int, value: int) -> None:
    """Store an entry; one of a program in a root goes to both halves of a pair (PTI)."""
    pair = g.frames[field(frame, w.PAIR)]
    if pair and index < g.state[w.USER_TOP]:
        store_entry(g, vcpu, pair, index, value)
        if value and g.state[w.LEVELS] == x86.LONG_LEVELS:
            value |= x86.NX
    store_entry(g, vcpu, frame, index, value)


@kernel
def descend(g: Guest, root: int, va: int) -> int:
    """How far the tables go: 1 to a leaf table, 2 to a large page, -level where nothing is.

    ``PATH`` holds the tables passed.
    """
    level = g.state[w.LEVELS]
    frame = root
    while True:  # one iteration per level
        g.state[w.PATH + level] = frame
        if level == 1:
            return 1
        entry = entry_of(g, frame, index_of(g, va, level))
        if not entry & x86.PRESENT:
            return -level
        if is_leaf(entry, level):
            return level
        frame = frame_in(entry)
        level -= 1


@kernel
def ensure(g: Guest, vcpu: int, root: int, va: int, down_to: int) -> int:
    """The table of that level for ``va``; makes those that are missing."""
    level = g.state[w.LEVELS]
    frame = root
    while level > down_to:
        index = index_of(g, va, level)
        entry = entry_of(g, frame, index)
        if not entry & x86.PRESENT:
            base = va >> x86.PAGE_SHIFT >> pages_below(g, level) << pages_below(g, level)
            child = new_table(g, vcpu, level - 1, base << x86.PAGE_SHIFT)
            bits = USER_TABLE
            if base >= g.state[w.USER_END] or base < 0:
                bits = KERNEL_TABLE
            if level == 3 and g.state[w.LEVELS] == 3:
                bits = x86.PRESENT
            entry = child << x86.PAGE_SHIFT | bits
            set_entry(g, vcpu, frame, index, entry)
        frame = frame_in(entry)
        level -= 1
    return frame


@kernel
def find_vma(g: Guest, proc: int, page: int) -> int:
    """Where the area of a page stands in ``vmas``, or -1."""
    for i in range(g.procs[proc * w.PROC_WORDS + w.VMA_COUNT]):
        at = (proc * w.MAX_VMAS + i) * w.VMA_WORDS
        if g.vmas[at + w.FROM] <= page < g.vmas[at + w.TO]:
            return at
    return -1


@kernel
def flush_range(g: Guest, vcpu: int, proc: int, page: int, count: int) -> None:
    """Drop translations of a process on every vCPU that runs it, by INVLPG or a load of CR3."""
    for other in range(g.state[w.VCPU_COUNT]):
        cpu = w.VCPUS + other * w.VCPU_WORDS
        if g.state[cpu + w.PROC] != proc:
            continue
        if other != vcpu:
            g.state[w.CLOCK] += 120  # the interrupt that asks for it
        in_user_root = other != vcpu and g.state[w.PTI] and g.state[cpu + w.IN_USER]
        root = g.procs[proc * w.PROC_WORDS + w.ROOT]
        if in_user_root:
            load_root(g, other, root)
        if count > FLUSH_ALL_ABOVE:
            load_root(g, other, root)
        else:
            for i in range(count):
                invalidate(g, other, (page + i) << x86.PAGE_SHIFT)
        if in_user_root:
            load_root(g, other, g.procs[proc * w.PROC_WORDS + w.USER_ROOT])


@kernel
def release_pages(g: Guest, frame: int, count: int) -> None:
    """One mapping less of several frames."""
    for i in range(count):
        release(g, frame + i)


@kernel
def prune(g: Guest, vcpu: int, va: int, lowest: int) -> int:
    """Free the tables on ``PATH`` that became empty, from that level up; answers how many.

    Roots stay, and with PAE the tables below them, which a processor has cached.
    """
    freed = 0
    top = g.state[w.LEVELS]
    last = top - 1 if top == 3 else top
    level = lowest
    while level < last:
        frame = g.state[w.PATH + level]
        if g.frames[field(frame, w.LIVE)]:
            break
        set_entry(g, vcpu, g.state[w.PATH + level + 1], index_of(g, va, level + 1), 0)
        free_table(g, vcpu, frame)
        freed += 1
        level += 1
    return freed


@kernel
def split_large(g: Guest, vcpu: int, proc: int, va: int) -> None:
    """A large page becomes a table of small ones: invalidated first, as Linux does."""
    table, index = g.state[w.PATH + 2], index_of(g, va, 2)
    entry = entry_of(g, table, index)
    size = g.state[w.HUGE_FRAMES]
    base = va >> x86.PAGE_SHIFT & ~(size - 1)
    leaf = new_table(g, vcpu, 1, base << x86.PAGE_SHIFT)
    for i in range(size):
        store_entry(g, vcpu, leaf, i, (entry & ~x86.LARGE) + (i << x86.PAGE_SHIFT))
    set_entry(g, vcpu, table, index, entry & ~x86.PRESENT)
    flush_range(g, vcpu, proc, base, 1)
    set_entry(g, vcpu, table, index, leaf << x86.PAGE_SHIFT | USER_TABLE)
    for i in range(size):
        g.frames[field(frame_in(entry) + i, w.OWNER)] = proc << 40 | base + i + 1
