"""Address spaces: roots, clearing and copying all of one, pages that become large."""

from __future__ import annotations

from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.synth import words as w
from refault.synth.kernels.frames import (
    field,
    release,
    take_block,
)
from refault.synth.kernels.recording import (
    READ,
    WRITE,
    entry_of,
    frame_in,
    index_of,
    put_entry,
    store_entry,
    touch_frame,
)
from refault.synth.kernels.tables import (
    begin_table,
    clear_if_tracked,
    descend,
    end_table,
    ensure,
    find_vma,
    flush_range,
    free_table,
    pages_below,
    prune,
    release_pages,
    set_entry,
    split_large,
    take_frame,
)
from refault.synth.words import Guest


@kernel
def take_pair(g: Guest, vcpu: int) -> int:
    """The first of two frames that differ in bit 0, cleared: a kernel's root and a program's."""
    if not g.state[w.PAIR_HEAD]:
        block = take_block(g)
        if not block:
            g.state[w.STOPPED] = w.OUT_OF_MEMORY
            return 0
        for i in range(0, g.state[w.HUGE_FRAMES], 2):
            push_pair(g, block + g.state[w.HUGE_FRAMES] - 2 - i)
    first = g.state[w.PAIR_HEAD]
    g.state[w.PAIR_HEAD] = g.frames[field(first, w.NEXT)]
    for frame in range(first, first + 2):
        touch_frame(g, vcpu, frame, WRITE)
        clear_if_tracked(g, vcpu, frame)
        g.frames[field(frame, w.REF)] = 1
    return first


@kernel
def push_pair(g: Guest, first: int) -> None:
    """Two frames are free for roots; they never go back to other uses."""
    g.frames[field(first, w.NEXT)] = g.state[w.PAIR_HEAD]
    g.state[w.PAIR_HEAD] = first


@kernel
def zap_range(g: Guest, vcpu: int, proc: int, root: int, start: int, end: int) -> int:
    """Clear the entries of pages ``start`` to ``end`` - 1 and free what is left empty.

    Answers how many entries were cleared; flushing is the caller's.
    """
    page = start
    cleared = 0
    last = (1 << g.state[w.INDEX_BITS]) - 1
    while page < end:  # one iteration per table, or per hole
        va = page << x86.PAGE_SHIFT
        found = descend(g, root, va)
        if found < 0:
            shift = pages_below(g, -found)
            page = ((page >> shift) + 1) << shift
        elif found > 1:
            table, index = g.state[w.PATH + 2], index_of(g, va, 2)
            size = g.state[w.HUGE_FRAMES]
            if page & (size - 1) or page + size > end:
                split_large(g, vcpu, proc, va)
                continue
            entry = entry_of(g, table, index)
            set_entry(g, vcpu, table, index, 0)
            release_pages(g, frame_in(entry), size)
            cleared += 1
            page += size
            prune(g, vcpu, va, 2)
        else:
            table, index = g.state[w.PATH + 1], page & last
            while index <= last and page < end:
                entry = entry_of(g, table, index)
                if entry:
                    store_entry(g, vcpu, table, index, 0)
                    cleared += 1
                    if entry & x86.PRESENT:
                        release(g, frame_in(entry))
                index += 1
                page += 1
            prune(g, vcpu, va, 1)
    return cleared


@kernel
def new_root(g: Guest, vcpu: int, proc: int) -> None:
    """A root with the kernel's half, and with PTI a second one that has only the trampoline."""
    state = g.state
    top = state[w.LEVELS]
    at = proc * w.PROC_WORDS
    root = take_pair(g, vcpu) if state[w.PTI] else take_frame(g, vcpu)
    begin_table(g, root, top, 0)
    touch_frame(g, vcpu, state[w.KERNEL_ROOT], READ)
    for index in range(state[w.USER_TOP], 1 << state[w.INDEX_BITS]):
        if top == 3 and index > 3:
            break
        entry = entry_of(g, state[w.KERNEL_ROOT], index)
        if entry:
            put_entry(g, root, index, entry)
            g.frames[field(root, w.LIVE)] += 1
    g.procs[at + w.ROOT] = root
    g.procs[at + w.USER_ROOT] = root
    if state[w.PTI]:
        other = begin_table(g, root + 1, top, 0)
        put_entry(g, other, state[w.TRAMPOLINE_INDEX], state[w.TRAMPOLINE_ENTRY])
        g.frames[field(other, w.LIVE)] += 1
        g.frames[field(root, w.PAIR)] = other
        g.procs[at + w.USER_ROOT] = other
    if top == 3:  # a processor caches these entries when it loads CR3
        for index in range(state[w.USER_TOP]):
            ensure(g, vcpu, root, index << 30, 2)


@kernel
def free_root(g: Guest, vcpu: int, root: int) -> None:
    """Free a root, which no vCPU has loaded, with its pair; its programs' part is cleared."""
    if g.state[w.LEVELS] == 3:
        for index in range(g.state[w.USER_TOP]):
            entry = entry_of(g, root, index)
            set_entry(g, vcpu, root, index, 0)
            free_table(g, vcpu, frame_in(entry))
    pair = g.frames[field(root, w.PAIR)]
    g.frames[field(root, w.PAIR)] = 0
    if pair:
        end_table(g, vcpu, root)
        end_table(g, vcpu, pair)
        push_pair(g, root)
    else:
        free_table(g, vcpu, root)


@kernel
def copy_leaf(g: Guest, vcpu: int, parent: int, child: int, page: int) -> int:
    """Copy one leaf table from ``page`` on; answers the first page behind it."""
    last = (1 << g.state[w.INDEX_BITS]) - 1
    table = g.state[w.PATH + 1]
    root = g.procs[child * w.PROC_WORDS + w.ROOT]
    target = 0
    vma = -1
    index = page & last
    while index <= last:
        entry = entry_of(g, table, index)
        if entry:
            if vma < 0 or not g.vmas[vma + w.FROM] <= page < g.vmas[vma + w.TO]:
                vma = find_vma(g, parent, page)
            how = g.vmas[vma + w.HOW] if vma >= 0 else 0
            if how & w.OF_FILE and not how & (w.CHANGED | w.SHARED):
                page += 1
                index += 1
                continue  # a fault of the child finds it in the page cache
            if entry & x86.PRESENT:
                if entry & x86.WRITABLE and not how & w.SHARED:
                    entry &= ~x86.WRITABLE
                    store_entry(g, vcpu, table, index, entry)
                g.frames[field(frame_in(entry), w.REF)] += 1
                entry &= ~x86.ACCESSED
            if target == 0:
                target = ensure(g, vcpu, root, page << x86.PAGE_SHIFT, 1)
            store_entry(g, vcpu, target, index, entry)
        page += 1
        index += 1
    return page


@kernel
def copy_space(g: Guest, vcpu: int, parent: int, child: int) -> None:
    """Fork: the child gets the parent's pages, writable private ones read-only in both."""
    root = g.procs[parent * w.PROC_WORDS + w.ROOT]
    page = 0
    while page < g.state[w.USER_END]:  # one iteration per table, or per hole
        va = page << x86.PAGE_SHIFT
        found = descend(g, root, va)
        if found < 0:
            shift = pages_below(g, -found)
            page = ((page >> shift) + 1) << shift
        elif found > 1:
            table, index = g.state[w.PATH + 2], index_of(g, va, 2)
            entry = entry_of(g, table, index) & ~x86.WRITABLE
            set_entry(g, vcpu, table, index, entry)
            target = ensure(g, vcpu, g.procs[child * w.PROC_WORDS + w.ROOT], va, 2)
            set_entry(g, vcpu, target, index, entry & ~x86.ACCESSED)
            for i in range(g.state[w.HUGE_FRAMES]):
                g.frames[field(frame_in(entry) + i, w.REF)] += 1
            page += g.state[w.HUGE_FRAMES]
        else:
            page = copy_leaf(g, vcpu, parent, child, page)


@kernel
def collapse(g: Guest, vcpu: int, proc: int, va: int) -> int:
    """Small pages become a large one, copied to a free block; 1 if it was possible."""
    size = g.state[w.HUGE_FRAMES]
    page = va >> x86.PAGE_SHIFT & ~(size - 1)
    va = page << x86.PAGE_SHIFT
    root = g.procs[proc * w.PROC_WORDS + w.ROOT]
    if descend(g, root, va) != 1:
        return 0
    leaf, table = g.state[w.PATH + 1], g.state[w.PATH + 2]
    index = index_of(g, va, 2)
    for i in range(size):
        entry = entry_of(g, leaf, i)
        if not entry & x86.PRESENT or g.frames[field(frame_in(entry), w.REF)] != 1:
            return 0
    block = take_block(g)
    if block == 0:
        return 0
    set_entry(g, vcpu, table, index, 0)
    flush_range(g, vcpu, proc, page, 1)
    for i in range(size):
        touch_frame(g, vcpu, frame_in(entry_of(g, leaf, i)), READ)
        clear_if_tracked(g, vcpu, block + i)
        touch_frame(g, vcpu, block + i, WRITE)
        g.frames[field(block + i, w.REF)] = 1
        g.frames[field(block + i, w.OWNER)] = 0
    bits = entry_of(g, leaf, 0) & (x86.NX | 0xFFF) | x86.DIRTY | x86.WRITABLE
    set_entry(g, vcpu, table, index, block << x86.PAGE_SHIFT | bits | x86.LARGE)
    for i in range(size):
        entry = entry_of(g, leaf, i)
        store_entry(g, vcpu, leaf, i, 0)
        release(g, frame_in(entry))
    free_table(g, vcpu, leaf)
    return 1
