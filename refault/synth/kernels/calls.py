"""System calls of a synthetic guest, and what its kernel does by itself."""

from __future__ import annotations

from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.synth import words as w
from refault.synth.kernels.faults import (
    CODE_COPY,
    CODE_EXIT,
    CODE_FORK,
    CODE_MMAP,
    CODE_SCHED,
    kernel_enter,
    kernel_leave,
    run_code,
    user_access,
)
from refault.synth.kernels.frames import field, free_frame, release, roll
from refault.synth.kernels.recording import (
    FETCH,
    READ,
    USER,
    WRITE,
    entry_of,
    frame_in,
    index_of,
    invalidate,
    kernel_touch,
    load_root,
    store_entry,
    toggle_global,
    touch_frame,
)
from refault.synth.kernels.spaces import collapse, copy_space, free_root, new_root, zap_range
from refault.synth.kernels.tables import (
    KERNEL_PAGE,
    descend,
    ensure,
    flush_range,
    split_large,
    take_frame,
)
from refault.synth.words import Guest

FILE_BITS = 24
PAUSE_COMMANDS = 256


@kernel
def proc_at(proc: int) -> int:
    """Where the words of a process stand."""
    return proc * w.PROC_WORDS


@kernel
def new_process(g: Guest, vcpu: int, child: int) -> None:
    """A process with an empty address space."""
    if g.procs[proc_at(child) + w.ALIVE]:
        g.state[w.STOPPED] = w.BAD_PROCESS
        return
    g.procs[proc_at(child) + w.ALIVE] = 1
    g.procs[proc_at(child) + w.VMA_COUNT] = 0
    g.procs[proc_at(child) + w.STACK] = take_frame(g, vcpu)
    new_root(g, vcpu, child)


@kernel
def fork(g: Guest, vcpu: int, parent: int, child: int) -> None:
    """The child shares the parent's pages until one of them writes."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_FORK, 4)
    new_process(g, vcpu, child)
    if g.state[w.STOPPED] == 0:
        count = g.procs[proc_at(parent) + w.VMA_COUNT]
        g.procs[proc_at(child) + w.VMA_COUNT] = count
        for i in range(count * w.VMA_WORDS):
            source = parent * w.MAX_VMAS * w.VMA_WORDS + i
            g.vmas[child * w.MAX_VMAS * w.VMA_WORDS + i] = g.vmas[source]
        copy_space(g, vcpu, parent, child)
        flush_range(g, vcpu, parent, 0, w.FILTER_SLOTS)
    kernel_leave(g, vcpu)


@kernel
def execute(g: Guest, vcpu: int, proc: int) -> None:
    """A new address space replaces the old one."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_FORK + 4, 3)
    at = proc_at(proc)
    old = g.procs[at + w.ROOT]
    new_root(g, vcpu, proc)
    load_root(g, vcpu, g.procs[at + w.ROOT])
    g.procs[at + w.VMA_COUNT] = 0
    zap_range(g, vcpu, proc, old, 0, g.state[w.USER_END])
    free_root(g, vcpu, old)
    kernel_leave(g, vcpu)


@kernel
def leave(g: Guest, vcpu: int, proc: int) -> None:
    """Exit: free everything, then run the idle process."""
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_EXIT, 3)
    at = proc_at(proc)
    root = g.procs[at + w.ROOT]
    if zap_range(g, vcpu, proc, root, 0, g.state[w.USER_END]):
        load_root(g, vcpu, root)
    run_code(g, vcpu, CODE_SCHED, 1)
    load_root(g, vcpu, g.state[w.KERNEL_ROOT])
    g.state[cpu + w.PROC] = 0
    free_root(g, vcpu, root)
    free_frame(g, g.procs[at + w.STACK])
    g.procs[at + w.ALIVE] = 0


@kernel
def mmap(g: Guest, vcpu: int, proc: int, page: int, pages: int, how: int) -> None:
    """Add an area; its pages come with their first accesses."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP, 1)
    count = g.procs[proc_at(proc) + w.VMA_COUNT]
    if count == w.MAX_VMAS:
        g.state[w.STOPPED] = w.TOO_MANY_AREAS
        return
    at = (proc * w.MAX_VMAS + count) * w.VMA_WORDS
    g.vmas[at + w.FROM] = page
    g.vmas[at + w.TO] = page + pages
    g.vmas[at + w.HOW] = how & 0xFF
    g.vmas[at + w.FILE] = how >> 8 & ((1 << FILE_BITS) - 1)
    g.vmas[at + w.OFFSET] = how >> (8 + FILE_BITS)
    g.procs[proc_at(proc) + w.VMA_COUNT] = count + 1
    kernel_leave(g, vcpu)


@kernel
def munmap(g: Guest, vcpu: int, proc: int, page: int, pages: int) -> None:
    """Remove the areas inside a range, their pages and what tables became empty."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP, 2)
    kept = 0
    for i in range(g.procs[proc_at(proc) + w.VMA_COUNT]):
        source = (proc * w.MAX_VMAS + i) * w.VMA_WORDS
        if g.vmas[source + w.FROM] >= page and g.vmas[source + w.TO] <= page + pages:
            continue
        for j in range(w.VMA_WORDS):
            g.vmas[(proc * w.MAX_VMAS + kept) * w.VMA_WORDS + j] = g.vmas[source + j]
        kept += 1
    g.procs[proc_at(proc) + w.VMA_COUNT] = kept
    root = g.procs[proc_at(proc) + w.ROOT]
    if zap_range(g, vcpu, proc, root, page, page + pages):
        flush_range(g, vcpu, proc, page, pages)
    kernel_leave(g, vcpu)


@kernel
def unmap_page(g: Guest, vcpu: int, proc: int, page: int) -> None:
    """Another frame stands behind a page: what was mapped there goes."""
    root = g.procs[proc_at(proc) + w.ROOT]
    if descend(g, root, page << x86.PAGE_SHIFT) != 1:
        return
    kernel_enter(g, vcpu)
    if zap_range(g, vcpu, proc, root, page, page + 1):
        flush_range(g, vcpu, proc, page, 1)
    kernel_leave(g, vcpu)


@kernel
def yield_turn(g: Guest, vcpu: int) -> None:
    """Another thread of the same process goes on: the scheduler runs, CR3 stays."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_SCHED, 2)
    kernel_leave(g, vcpu)


@kernel
def protect(g: Guest, vcpu: int, proc: int, page: int, pages: int, writable: int) -> None:
    """Make an area read-only, or let it be written again; writes then fault page by page."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP, 3)
    for i in range(g.procs[proc_at(proc) + w.VMA_COUNT]):
        at = (proc * w.MAX_VMAS + i) * w.VMA_WORDS
        if g.vmas[at + w.FROM] >= page and g.vmas[at + w.TO] <= page + pages:
            how = g.vmas[at + w.HOW] & ~w.MAY_WRITE
            g.vmas[at + w.HOW] = how | w.MAY_WRITE if writable else how
    root = g.procs[proc_at(proc) + w.ROOT]
    changed = 0
    for i in range(pages):
        va = (page + i) << x86.PAGE_SHIFT
        if writable or descend(g, root, va) != 1:
            continue
        table, index = g.state[w.PATH + 1], index_of(g, va, 1)
        entry = entry_of(g, table, index)
        if entry & x86.PRESENT and entry & x86.WRITABLE:
            store_entry(g, vcpu, table, index, entry & ~x86.WRITABLE)
            changed += 1
    if changed:
        flush_range(g, vcpu, proc, page, pages)
    kernel_leave(g, vcpu)


@kernel
def copy_memory(g: Guest, vcpu: int, va: int, pages: int, writes: int) -> None:
    """The kernel reads or writes a program's memory, as read(2) and write(2) do."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_COPY, 2)
    for i in range(pages):
        user_access(g, vcpu, va + (i << x86.PAGE_SHIFT), WRITE if writes else READ, 3)
        kernel_touch(g, vcpu, g.state[w.DATA] + ((128 + i % 64) << x86.PAGE_SHIFT), WRITE)
    kernel_leave(g, vcpu)


@kernel
def change_size(g: Guest, vcpu: int, proc: int, va: int, grows: int) -> None:
    """Collapse small pages to a large one, or split a large one."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP + 4, 2)
    if grows:
        collapse(g, vcpu, proc, va)
    elif descend(g, g.procs[proc_at(proc) + w.ROOT], va) == 2:
        split_large(g, vcpu, proc, va)
    kernel_leave(g, vcpu)


@kernel
def vmap(g: Guest, vcpu: int, first: int, pages: int) -> None:
    """Map pages in the kernel's vmalloc area, global, and use them."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP + 6, 1)
    root = g.state[w.KERNEL_ROOT]
    for i in range(pages):
        va = g.state[w.VMALLOC] + ((first + i) << x86.PAGE_SHIFT)
        table = ensure(g, vcpu, root, va, 1)
        index = index_of(g, va, 1)
        if entry_of(g, table, index):
            continue
        entry = take_frame(g, vcpu) << x86.PAGE_SHIFT | KERNEL_PAGE | g.state[w.NX]
        store_entry(g, vcpu, table, index, entry)
        kernel_touch(g, vcpu, va, WRITE)
    kernel_leave(g, vcpu)


@kernel
def vunmap(g: Guest, vcpu: int, first: int, pages: int, by_cr4: int) -> None:
    """Unmap such pages, and flush every vCPU: the kernel's translations are global."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP + 6, 1)
    root = g.state[w.KERNEL_ROOT]
    last = -1
    for i in range(pages):
        va = g.state[w.VMALLOC] + ((first + i) << x86.PAGE_SHIFT)
        if descend(g, root, va) != 1:
            continue
        table, index = g.state[w.PATH + 1], index_of(g, va, 1)
        entry = entry_of(g, table, index)
        if not entry:
            continue
        store_entry(g, vcpu, table, index, 0)
        release(g, frame_in(entry))
        last = i
    for other in range(g.state[w.VCPU_COUNT]):
        if last < 0:
            break
        if by_cr4:
            toggle_global(g, other)
            continue
        for i in range(last + 1):
            invalidate(g, other, g.state[w.VMALLOC] + ((first + i) << x86.PAGE_SHIFT))
    kernel_leave(g, vcpu)


@kernel
def reclaim_frame(g: Guest, vcpu: int, frame: int) -> bool:
    """Take a page from its program, or drop a page of a file that no program maps."""
    owner = g.frames[field(frame, w.OWNER)]
    if g.frames[field(frame, w.REF)] != 1 or g.frames[field(frame, w.IS_FREE)] or owner == 0:
        return False
    if owner < 0:
        g.cache[-1 - owner] = 0
        free_frame(g, frame)
        return True
    proc, page = owner >> 40, (owner & ((1 << 40) - 1)) - 1
    va = page << x86.PAGE_SHIFT
    if not g.procs[proc_at(proc) + w.ALIVE]:
        return False
    if descend(g, g.procs[proc_at(proc) + w.ROOT], va) != 1:
        return False
    table, index = g.state[w.PATH + 1], index_of(g, va, 1)
    entry = entry_of(g, table, index)
    if not entry & x86.PRESENT or frame_in(entry) != frame:
        return False
    store_entry(g, vcpu, table, index, 0)
    store_entry(g, vcpu, table, index, (frame & 0x3FFFF) << x86.PAGE_SHIFT | x86.DIRTY)
    flush_range(g, vcpu, proc, page, 1)
    touch_frame(g, vcpu, frame, READ)
    free_frame(g, frame)
    return True


@kernel
def reclaim(g: Guest, vcpu: int, wanted: int) -> None:
    """kswapd: free so many frames, or as many as one round over all memory finds."""
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_MMAP + 8, 2)
    left = wanted
    for _ in range(g.state[w.FRAME_COUNT]):
        if left <= 0:
            break
        hand = g.state[w.HAND] + 1
        if hand >= g.state[w.FRAME_COUNT]:
            hand = g.state[w.FIRST_FRAME]
        g.state[w.HAND] = hand
        if reclaim_frame(g, vcpu, hand):
            left -= 1
            g.state[w.RECLAIMED] += 1
    kernel_leave(g, vcpu)


@kernel
def reclaim_now_and_then(g: Guest, vcpu: int) -> None:
    """Reclaim up to the mark; where that finds little, not again for some commands."""
    if g.state[w.PAUSE] > 0:
        g.state[w.PAUSE] -= 1
        return
    before = g.state[w.RECLAIMED]
    reclaim(g, vcpu, g.state[w.LOW_WATER])
    if g.state[w.RECLAIMED] - before < g.state[w.LOW_WATER]:
        g.state[w.PAUSE] = PAUSE_COMMANDS


@kernel
def work(g: Guest, vcpu: int, proc: int, accesses: int, within: int) -> None:
    """A program's accesses here and there: code is fetched, data read or written."""
    count = g.procs[proc_at(proc) + w.VMA_COUNT]
    if count == 0:
        return
    for _ in range(accesses):
        if g.state[w.STOPPED]:
            return
        at = (proc * w.MAX_VMAS + roll(g, count)) * w.VMA_WORDS
        first, pages = g.vmas[at + w.FROM], g.vmas[at + w.TO] - g.vmas[at + w.FROM]
        how = g.vmas[at + w.HOW]
        page = first + roll(g, min(pages, within))
        flags = USER
        if how & w.MAY_EXECUTE:
            flags |= FETCH
        elif how & w.MAY_WRITE and roll(g, 3):
            flags |= WRITE
        g.state[w.CLOCK] += 8
        user_access(g, vcpu, (page << x86.PAGE_SHIFT) + roll(g, 512) * 8, flags, 3)
