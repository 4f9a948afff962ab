"""Entering the kernel, page faults and what the handler does about them."""

from __future__ import annotations

from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.synth import words as w
from refault.synth.kernels.frames import field, release, take_block
from refault.synth.kernels.recording import (
    FETCH,
    READ,
    USER,
    WRITE,
    emit,
    entry_of,
    frame_in,
    index_of,
    kernel_touch,
    load_root,
    store_entry,
    touch,
    touch_frame,
)
from refault.synth.kernels.tables import (
    clear_if_tracked,
    descend,
    ensure,
    find_vma,
    flush_range,
    set_entry,
    split_large,
    take_frame,
)
from refault.synth.words import Guest
from refault.trace import EventKind

PAGE_FAULT = int(EventKind.PAGE_FAULT)
TRIES = 4
USER_PAGE = x86.PRESENT | x86.USER | x86.ACCESSED

# Pages of the kernel's text, by what runs there.
CODE_ENTRY = 0
CODE_FAULT = 4
CODE_SCHED = 12
CODE_FORK = 20
CODE_EXIT = 28
CODE_MMAP = 36
CODE_COPY = 44


@kernel
def run_code(g: Guest, vcpu: int, place: int, pages: int) -> None:
    """Fetches of some pages of the kernel's text, with its data for this vCPU and the task."""
    for i in range(pages):
        kernel_touch(g, vcpu, g.state[w.TEXT] + ((place + i) << x86.PAGE_SHIFT), FETCH)
    kernel_touch(g, vcpu, g.state[w.DATA] + (vcpu << x86.PAGE_SHIFT), READ)
    kernel_touch(g, vcpu, g.state[w.DATA] + ((64 + place) << x86.PAGE_SHIFT), WRITE)


@kernel
def kernel_enter(g: Guest, vcpu: int) -> None:
    """From a program to the kernel; with PTI the trampoline loads the kernel's root."""
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    if not g.state[cpu + w.IN_USER]:
        return
    g.state[cpu + w.IN_USER] = 0
    proc = g.state[cpu + w.PROC]
    if g.state[w.PTI]:
        kernel_touch(g, vcpu, g.state[w.TRAMPOLINE], FETCH)
        kernel_touch(g, vcpu, g.state[w.TRAMPOLINE] + ((1 + vcpu) << x86.PAGE_SHIFT), WRITE)
        load_root(g, vcpu, g.procs[proc * w.PROC_WORDS + w.ROOT])
    kernel_touch(g, vcpu, g.state[w.TEXT] + (CODE_ENTRY << x86.PAGE_SHIFT), FETCH)
    touch_frame(g, vcpu, g.procs[proc * w.PROC_WORDS + w.STACK], WRITE)


@kernel
def kernel_leave(g: Guest, vcpu: int) -> None:
    """Back to the program of this vCPU; a vCPU without one stays in the kernel."""
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    proc = g.state[cpu + w.PROC]
    if proc == 0:
        return
    g.state[cpu + w.IN_USER] = 1
    if g.state[w.PTI]:
        kernel_touch(g, vcpu, g.state[w.TRAMPOLINE], FETCH)
        load_root(g, vcpu, g.procs[proc * w.PROC_WORDS + w.USER_ROOT])


@kernel
def switch_to(g: Guest, vcpu: int, proc: int) -> None:
    """The scheduler gives this vCPU to another process; it returns to its program."""
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    if g.state[cpu + w.PROC] == proc:
        return
    if not g.procs[proc * w.PROC_WORDS + w.ALIVE]:
        g.state[w.STOPPED] = w.BAD_PROCESS
        return
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_SCHED, 2)
    load_root(g, vcpu, g.procs[proc * w.PROC_WORDS + w.ROOT])
    g.state[cpu + w.PROC] = proc
    touch_frame(g, vcpu, g.procs[proc * w.PROC_WORDS + w.STACK], WRITE)
    kernel_touch(g, vcpu, g.state[w.TEXT] + (CODE_SCHED << x86.PAGE_SHIFT), FETCH)
    kernel_leave(g, vcpu)


@kernel
def cached_page(g: Guest, vcpu: int, file: int, page: int) -> int:
    """The frame of a page of a file; read in if it is not in memory."""
    at = file * g.state[w.FILE_PAGES] + page % g.state[w.FILE_PAGES]
    frame = g.cache[at] - 1
    if frame < 0:
        frame = take_frame(g, vcpu)
        g.cache[at] = frame + 1
        g.frames[field(frame, w.OWNER)] = -1 - at
        g.state[w.CLOCK] += 2000
    return frame


@kernel
def shared_frame(g: Guest, proc: int, page: int) -> int:
    """Where ``alias`` keeps what an address stream told of this page, or -1."""
    slots = g.state[w.ALIAS_SLOTS]
    if slots == 0:
        return -1
    name = proc << 40 | page + 1
    at = (name * 0x9E37 ^ name >> 20) & (slots - 1)
    for i in range(slots):
        place = ((at + i) & (slots - 1)) * 3
        if g.alias[place] == 0:
            return -1
        if g.alias[place] == name:
            return place
    return -1


@kernel
def frame_for(g: Guest, vcpu: int, proc: int, vma: int, page: int, writes: int) -> int:
    """The entry without NX that a not-present page gets: a frame and the rights it starts with."""
    how = g.vmas[vma + w.HOW]
    writable = x86.WRITABLE | x86.DIRTY if writes else 0
    alias = shared_frame(g, proc, page)
    if alias >= 0:
        key = g.alias[alias + 1] * 3 + 2
        frame = g.alias[key] - 1
        if frame < 0:
            frame = take_frame(g, vcpu)
            g.alias[key] = frame + 1
        g.frames[field(frame, w.REF)] += 1  # the address stream itself keeps it
        return frame << x86.PAGE_SHIFT | USER_PAGE | x86.WRITABLE | x86.DIRTY
    if how & w.OF_FILE:
        offset = g.vmas[vma + w.OFFSET] + page - g.vmas[vma + w.FROM]
        frame = cached_page(g, vcpu, g.vmas[vma + w.FILE], offset)
        if writes and not how & w.SHARED:
            g.vmas[vma + w.HOW] = how | w.CHANGED
            g.frames[field(frame, w.REF)] += 1  # while it is copied
            fresh = take_frame(g, vcpu)
            touch_frame(g, vcpu, frame, READ)
            touch_frame(g, vcpu, fresh, WRITE)
            release(g, frame)
            g.frames[field(fresh, w.OWNER)] = proc << 40 | page + 1
            return fresh << x86.PAGE_SHIFT | USER_PAGE | writable
        g.frames[field(frame, w.REF)] += 1
        return frame << x86.PAGE_SHIFT | USER_PAGE | writable
    if not writes:
        g.frames[field(g.state[w.ZERO_FRAME], w.REF)] += 1
        return g.state[w.ZERO_FRAME] << x86.PAGE_SHIFT | USER_PAGE
    frame = take_frame(g, vcpu)
    g.frames[field(frame, w.OWNER)] = proc << 40 | page + 1
    return frame << x86.PAGE_SHIFT | USER_PAGE | writable


@kernel
def map_large(g: Guest, vcpu: int, vma: int, root: int, page: int) -> bool:
    """Map a large page where area, tables and memory allow one."""
    size = g.state[w.HUGE_FRAMES]
    first = page & ~(size - 1)
    if first < g.vmas[vma + w.FROM] or first + size > g.vmas[vma + w.TO]:
        return False
    if descend(g, root, page << x86.PAGE_SHIFT) == 1 or g.state[w.HUGE_COUNT] == 0:
        return False
    table = ensure(g, vcpu, root, first << x86.PAGE_SHIFT, 2)
    block = take_block(g)
    for i in range(size):
        clear_if_tracked(g, vcpu, block + i)
        touch_frame(g, vcpu, block + i, WRITE)
        g.frames[field(block + i, w.REF)] = 1
        g.frames[field(block + i, w.OWNER)] = 0
    bits = USER_PAGE | x86.WRITABLE | x86.DIRTY | x86.LARGE | no_fetch(g, vma)
    index = index_of(g, page << x86.PAGE_SHIFT, 2)
    set_entry(g, vcpu, table, index, block << x86.PAGE_SHIFT | bits)
    return True


@kernel
def no_fetch(g: Guest, vma: int) -> int:
    """NX for pages of an area that holds no code."""
    return 0 if g.vmas[vma + w.HOW] & w.MAY_EXECUTE else g.state[w.NX]


@kernel
def break_sharing(g: Guest, vcpu: int, proc: int, vma: int, va: int) -> None:
    """A write to a page that is present and read-only: reuse it, or copy it."""
    root = g.procs[proc * w.PROC_WORDS + w.ROOT]
    found = descend(g, root, va)
    if found == 2:
        table, index = g.state[w.PATH + 2], index_of(g, va, 2)
        entry = entry_of(g, table, index)
        if g.frames[field(frame_in(entry), w.REF)] == 1:
            set_entry(g, vcpu, table, index, entry | x86.WRITABLE | x86.DIRTY)
            return
        split_large(g, vcpu, proc, va)
        found = descend(g, root, va)
    if found != 1:
        g.state[w.STOPPED] = w.REFUSED_ACCESS
        return
    table, index = g.state[w.PATH + 1], index_of(g, va, 1)
    entry = entry_of(g, table, index)
    old = frame_in(entry)
    how = g.vmas[vma + w.HOW]
    is_its_own = g.frames[field(old, w.REF)] == 1 and g.frames[field(old, w.OWNER)] >= 0
    if how & w.SHARED or is_its_own:
        store_entry(g, vcpu, table, index, entry | x86.WRITABLE | x86.DIRTY)
        return
    g.vmas[vma + w.HOW] = how | w.CHANGED
    fresh = take_frame(g, vcpu)
    touch_frame(g, vcpu, old, READ)
    touch_frame(g, vcpu, fresh, WRITE)
    g.frames[field(fresh, w.OWNER)] = proc << 40 | (va >> x86.PAGE_SHIFT) + 1
    store_entry(g, vcpu, table, index, 0)
    flush_range(g, vcpu, proc, va >> x86.PAGE_SHIFT, 1)
    bits = entry & (0xFFF | g.state[w.NX]) | x86.WRITABLE | x86.DIRTY | x86.ACCESSED
    store_entry(g, vcpu, table, index, fresh << x86.PAGE_SHIFT | bits)
    release(g, old)


@kernel
def resolve(g: Guest, vcpu: int, proc: int, vma: int, va: int, code: int) -> None:
    """Make the access possible that took a fault of this code."""
    writes = code & x86.PF_WRITE
    if code & x86.PF_PRESENT:
        if not writes or not g.vmas[vma + w.HOW] & w.MAY_WRITE:
            g.state[w.STOPPED] = w.REFUSED_ACCESS
            return
        break_sharing(g, vcpu, proc, vma, va)
        return
    root = g.procs[proc * w.PROC_WORDS + w.ROOT]
    page = va >> x86.PAGE_SHIFT
    if g.vmas[vma + w.HOW] & w.HUGE and map_large(g, vcpu, vma, root, page):
        return
    if writes and not g.vmas[vma + w.HOW] & w.MAY_WRITE:
        g.state[w.STOPPED] = w.REFUSED_ACCESS
        return
    table = ensure(g, vcpu, root, va, 1)
    entry = frame_for(g, vcpu, proc, vma, page, writes) | no_fetch(g, vma)
    store_entry(g, vcpu, table, index_of(g, va, 1), entry)


@kernel
def handle_fault(g: Guest, vcpu: int, va: int, code: int) -> None:
    """The kernel's page-fault handler, for the process of this vCPU."""
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    proc = g.state[cpu + w.PROC]
    was_user = g.state[cpu + w.IN_USER]
    kernel_enter(g, vcpu)
    g.state[w.CLOCK] += 300
    g.state[w.FAULTS] += 1
    run_code(g, vcpu, CODE_FAULT, 2)
    vma = find_vma(g, proc, va >> x86.PAGE_SHIFT)
    if vma < 0:
        g.state[w.STOPPED] = w.NO_AREA
    else:
        resolve(g, vcpu, proc, vma, va, code)
    if was_user:
        kernel_leave(g, vcpu)


@kernel
def user_access(g: Guest, vcpu: int, va: int, flags: int, aux: int) -> None:
    """An access to a program's memory, with the faults it takes."""
    for _ in range(TRIES):
        answer = touch(g, vcpu, va, flags, aux)
        if answer >= 0 or g.state[w.STOPPED]:
            return
        code = -1 - answer
        said = (code >> 1 & 1) | (code >> 4 & 1) << 1 | (code & USER)
        emit(g, PAGE_FAULT, vcpu, said, code & 0xFF, va, code)
        handle_fault(g, vcpu, va, code)
    if touch(g, vcpu, va, flags, aux) < 0:
        g.state[w.STOPPED] = w.ENDLESS_FAULTS
