"""Executes rows of commands until they end or the columns for events are nearly full."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel
from refault.synth import commands as c
from refault.synth import words as w
from refault.synth.kernels import calls
from refault.synth.kernels.faults import (
    CODE_SCHED,
    kernel_enter,
    run_code,
    switch_to,
    user_access,
)
from refault.synth.kernels.frames import free_frames
from refault.synth.kernels.recording import emit, frame_in, index_of, load_root, snapshot, touch
from refault.synth.kernels.recording import entry_of as entry
from refault.synth.kernels.tables import descend
from refault.synth.words import Guest
from refault.trace import EventKind

CR = int(EventKind.CR)
MSR = int(EventKind.MSR)
MARK = int(EventKind.MARK)
AT_START = 32  # Flag.INIT
MSR_EFER = 0xC000_0080
SECOND_PAGE = 0x80  # of an access's aux


@kernel
def begin(g: Guest) -> None:
    """The state at the start: every vCPU's registers, and the kernel's tables."""
    for vcpu in range(g.state[w.VCPU_COUNT]):
        cpu = w.VCPUS + vcpu * w.VCPU_WORDS
        emit(g, MSR, vcpu, AT_START, 0, MSR_EFER, g.state[cpu + w.EFER])
        emit(g, CR, vcpu, AT_START, 4, g.state[cpu + w.CR4], 0)
        emit(g, CR, vcpu, AT_START, 0, g.state[cpu + w.CR0], 0)
        if vcpu == 0:
            snapshot(g, 0, g.state[cpu + w.CR3])
        emit(g, CR, vcpu, AT_START, 3, g.state[cpu + w.CR3] << x86.PAGE_SHIFT, 0)


@kernel
def reference(g: Guest, vcpu: int, va: int, flags: int, size: int) -> None:
    """One access of an address stream; one that crosses into the next page is two."""
    g.state[w.CLOCK] += (flags & c.FETCH) >> 1
    if touch(g, vcpu, va, flags | c.USER, 3) < 0:
        user_access(g, vcpu, va, flags | c.USER, 3)
    if (va & 0xFFF) + size > 4096:
        over = ((va >> x86.PAGE_SHIFT) + 1) << x86.PAGE_SHIFT
        if over >> x86.PAGE_SHIFT < g.state[w.USER_END]:
            user_access(g, vcpu, over, flags | c.USER, 3 | SECOND_PAGE)


@kernel
def learn_alias(g: Guest, vcpu: int, proc: int, page: int, key: int) -> None:
    """From now on this page of the process shows the shared frame of that number."""
    slots = g.state[w.ALIAS_SLOTS]
    name = proc << 40 | page + 1
    at = (name * 0x9E37 ^ name >> 20) & (slots - 1)
    for i in range(slots):
        place = ((at + i) & (slots - 1)) * 3
        if g.alias[place] == name and g.alias[place + 1] == key:
            return
        if g.alias[place] == 0 or g.alias[place] == name:
            g.alias[place] = name
            g.alias[place + 1] = key
            calls.unmap_page(g, vcpu, proc, page)
            return
    g.state[w.STOPPED] = w.ALIASES_FULL


@kernel
def act_of_host(g: Guest, kind: int, aux: int, a: int, b: int) -> None:
    """An action of the host, which the guest does not see."""
    emit(g, kind, 0, 0, aux, a, b)


@kernel
def act_on_page(g: Guest, proc: int, kind: int, va: int, b: int) -> None:
    """An action of the host on the frame behind a page."""
    found = descend(g, g.procs[proc * w.PROC_WORDS + w.ROOT], va)
    if found < 1:
        return
    leaf = entry(g, g.state[w.PATH + found], index_of(g, va, found))
    if leaf & x86.PRESENT:
        inside = va >> x86.PAGE_SHIFT & ((1 << g.state[w.INDEX_BITS] * (found - 1)) - 1)
        act_of_host(g, kind, 0, frame_in(leaf) + inside, b)


@kernel
def keep_some_free(g: Guest, vcpu: int) -> None:
    """Reclaim pages where few frames are left."""
    if free_frames(g) < g.state[w.LOW_WATER]:
        calls.reclaim_now_and_then(g, vcpu)


@kernel
def memory_call(g: Guest, op: int, vcpu: int, proc: int, a: int, b: int, more: int) -> None:
    """A command that changes an address space."""
    if op == c.MMAP:
        calls.mmap(g, vcpu, proc, a, b, more)
    elif op == c.MUNMAP:
        calls.munmap(g, vcpu, proc, a, b)
    elif op == c.PROTECT:
        calls.protect(g, vcpu, proc, a, b, more)
    elif op == c.COLLAPSE:
        calls.change_size(g, vcpu, proc, a, 1)
    elif op == c.SPLIT:
        calls.change_size(g, vcpu, proc, a, 0)
    elif op == c.VMAP:
        calls.vmap(g, vcpu, a, b)
    elif op == c.VUNMAP:
        calls.vunmap(g, vcpu, a, b, more)
    elif op == c.RECLAIM:
        calls.reclaim(g, vcpu, a)
    elif op == c.YIELD:
        calls.yield_turn(g, vcpu)


@kernel
def process_call(g: Guest, op: int, vcpu: int, proc: int, a: int, b: int, more: int) -> None:
    """A command of a program, or about processes."""
    if op == c.WORK:
        calls.work(g, vcpu, proc, a, b)
    elif op == c.TOUCH:
        for i in range(more):
            g.state[w.CLOCK] += 12
            keep_some_free(g, vcpu)
            user_access(g, vcpu, a + (i << x86.PAGE_SHIFT), b, 3)
    elif op == c.FORK:
        calls.fork(g, vcpu, proc, a)
    elif op == c.SPAWN:
        kernel_enter(g, vcpu)
        calls.new_process(g, vcpu, a)
    elif op == c.EXEC:
        calls.execute(g, vcpu, proc)
    elif op == c.EXIT:
        calls.leave(g, vcpu, proc)
    elif op == c.COPY:
        calls.copy_memory(g, vcpu, a, b, more)


@kernel
def command(g: Guest, op: int, vcpu: int, proc: int, a: int, b: int, more: int) -> None:
    """One row."""
    if op == c.MARK:
        cr3 = g.state[w.VCPUS + w.CR3] << x86.PAGE_SHIFT
        emit(g, MARK, 0, 0, 0, a, cr3)
        return
    if op == c.HOST:
        act_of_host(g, a, proc, b, more)
        return
    if op == c.HOST_PAGE:
        act_on_page(g, proc, a, b, more)
        return
    if g.state[w.VCPUS + vcpu * w.VCPU_WORDS + w.PROC] != proc:
        idle_or_switch(g, vcpu, proc)
        if g.state[w.STOPPED]:
            return
    if op == c.ALIAS:
        learn_alias(g, vcpu, proc, a, b)
    elif op <= c.EXIT or op == c.COPY or op == c.SPAWN:
        process_call(g, op, vcpu, proc, a, b, more)
    else:
        memory_call(g, op, vcpu, proc, a, b, more)


@kernel
def idle_or_switch(g: Guest, vcpu: int, proc: int) -> None:
    """Give the vCPU to the process of the row; 0 is the idle one."""
    if proc:
        switch_to(g, vcpu, proc)
        return
    kernel_enter(g, vcpu)
    run_code(g, vcpu, CODE_SCHED, 1)
    load_root(g, vcpu, g.state[w.KERNEL_ROOT])
    g.state[w.VCPUS + vcpu * w.VCPU_WORDS + w.PROC] = 0


@functools.cache
def machine() -> Callable[..., int]:
    """The door, compiled for the source as it is.

    numba's cache does not notice that a callee in another file changed; a number that the function
    closes over is part of its key.
    """
    source = _source_number()

    def run(
        g: Guest,
        rows: Any,
        address: Any,
        flags: Any,
        size: Any,
        start: int,
        end: int,
        room: int,
    ) -> int:
        """Execute rows ``start`` to ``end`` - 1; answers the first one not done.

        With addresses it is the references of that number, by the process of the one row; with a
        negative ``start`` the state at the start. It ends early when less than ``room`` is left in
        the columns, or the guest stopped.
        """
        g = bare(g)
        state = g.state
        state[w.SOURCE] = source
        if start < 0:
            begin(g)
            return 0
        if len(address):
            switch_to(g, rows[0, 1], rows[0, 2])
        for i in range(start, end):
            if state[w.STOPPED] or state[w.CAPACITY] - state[w.EVENTS] < room:
                return i
            keep_some_free(g, rows[0, 1])
            if len(address):
                reference(g, rows[0, 1], address[i], flags[i], size[i])
                continue
            command(g, rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4], rows[i, 5])
        return end

    return door(run)


def _source_number() -> int:
    """A number that changes with any module that the door is compiled from."""
    folder = Path(__file__).parent
    total = hashlib.sha256()
    others = [folder.parent / "commands.py", folder.parent / "words.py"]
    for path in sorted(folder.glob("*.py")) + others:
        total.update(path.read_bytes())
    return int.from_bytes(total.digest()[:7], "big")
