"""Allowed outcomes (F-T3, F-T5, F-T6): may this access have come out so?

A processor may use entries it read at different times since its last flush, but never one that was
absent, and a lower entry never from before the upper one that led to it (SDM 4.10.2 to 4.10.4).
So the words of the tables are remembered with the times at which they changed, and an outcome that
the tables do not give now is looked for among the mixes of what they held::

    CR3 ─► level 4: now, or before t=40 ─► level 3: … ─► leaf: now, or before t=52

A not-present fault, and one for a reserved bit, must be of what the tables hold now.

A load of CR3 leaves global translations where they are while CR4.PGE is set (SDM 4.10.4.1). So
there are two searches: of all entries since the last flush of any kind, and of global leaves since
the last flush of everything. A global leaf may have been read through the tables of another CR3
loaded since, whose top entry is not known; so the time of the top entry binds nothing below it.
"""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.found import report
from refault.engines.audit.paging import (
    entry_at,
    entry_bytes,
    error_code,
    find_leaf,
    frame_mask,
    leaf_address,
    place_of,
    refuses,
    top_level,
    top_table,
)
from refault.engines.audit.words import Audit
from refault.engines.walk import words as arch
from refault.engines.walk.paging import cpu_of, frame_of, is_leaf, levels_of, reserved_of
from refault.engines.walk.words import Machine as Guest
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay import x86
from refault.replay.compile.jit import kernel

#: Steps of a search among old entries; one that takes more is taken for allowed.
SEARCH_STEPS = 1 << 12

# What a write to a register flushes
NOTHING = 0
ALL_BUT_GLOBAL = 1
EVERYTHING = 2


@kernel
def remember(a: Audit, gpa: int, value: int, behind: int) -> None:
    """A word of guest memory held ``value`` until now; ``behind``: the MMU was not told."""
    past = a.past
    node = a.state[au.PAST_NEXT]
    a.state[au.PAST_NEXT] = node + au.PAST_WORDS
    head = (gpa >> 3 ^ gpa >> 17) & (au.HEADS - 1)
    past[node + au.PAST_AT] = gpa
    past[node + au.PAST_END] = a.state[au.NOW] | (au.BEHIND if behind else 0)
    if behind:
        a.state[au.HAS_BEHIND] = 1
    past[node + au.PAST_VALUE] = value
    past[node + au.PAST_BEFORE] = a.heads[head]
    a.heads[head] = node


@kernel
def older(a: Audit, gpa: int, node: int, since: int) -> int:
    """The next older value of a word that still stood after ``since``: its node, or 0.

    ``node`` 0 begins with the value before the present one.
    """
    past = a.past
    at = (
        a.heads[(gpa >> 3 ^ gpa >> 17) & (au.HEADS - 1)]
        if node == 0
        else past[node + au.PAST_BEFORE]
    )
    while at:  # one iteration per older node of the bucket; their times only decrease
        end = past[at + au.PAST_END]
        if end <= since and not a.state[au.HAS_BEHIND]:
            return 0
        if past[at + au.PAST_AT] == gpa and end > since:  # BEHIND is later than any time
            return at
        at = past[at + au.PAST_BEFORE]
    return 0


@kernel
def flushed_at(a: Audit, vcpu: int, gva: int, is_global: int) -> int:
    """The time since when a vCPU may use what it read for the page of ``gva``."""
    cpu = au.CPUS + vcpu * au.CPU_WORDS
    since = a.state[cpu + (au.CPU_ALL_FLUSHED if is_global else au.CPU_FLUSHED)]
    page = gva >> x86.PAGE_SHIFT
    place = cpu + au.CPU_PAGES + 2 * (page & (au.CPU_PAGES_MAX - 1))
    if a.state[place] == page and a.state[place + 1] > since:
        return a.state[place + 1]
    return since


@kernel
def write_flushes(g: Guest, kind: int, vcpu: int, value: int, b: int, want: int) -> int:
    """What a register write, not made yet, drops of what the processor has cached (SDM 4.10.4.1).

    A write to CR3 drops all but global translations, and these too without CR4.PGE; one to CR4 that
    changes PGE or PAE everything, and so does one to CR0 that changes PG. ``b`` and ``want`` are
    the other values of registers set all at once.
    """
    cpu = cpu_of(vcpu)
    flushes = kind == op.BOOT
    if kind == op.SET_CR3:
        if g.state[cpu + arch.CR4] & x86.CR4_PGE:
            return ALL_BUT_GLOBAL
        flushes = True
    elif kind == op.SET_CR4:
        flushes = (value ^ g.state[cpu + arch.CR4]) & (x86.CR4_PGE | x86.CR4_PAE) != 0
    elif kind == op.SET_CR0:
        flushes = (value ^ g.state[cpu + arch.CR0]) & x86.CR0_PG != 0
    elif kind == op.SREGS:
        flushes = sets_anything(g, cpu, value, b, want)
    return EVERYTHING if flushes else NOTHING


@kernel
def sets_anything(g: Guest, cpu: int, registers: int, cr3: int, efer: int) -> bool:
    """Do registers set from outside change anything, or load the PDPTEs anew?

    Then nothing that was cached under the old ones may be used; otherwise nothing happened.
    """
    cr0, cr4 = registers & x86.U32 | x86.CR0_ET, registers >> 32 & x86.U32
    if cr4 & x86.CR4_PAE and not efer & x86.EFER_LMA:
        return True
    same = g.state[cpu + arch.CR0] == cr0 and g.state[cpu + arch.CR3] == cr3
    return not (same and g.state[cpu + arch.CR4] == cr4 and g.state[cpu + arch.EFER] == efer)


@kernel
def note_flush(a: Audit, vcpu: int, what: int) -> None:
    """The vCPU flushed everything, or all but global translations."""
    cpu = au.CPUS + vcpu * au.CPU_WORDS
    a.state[cpu + au.CPU_FLUSHED] = a.state[au.NOW]
    if what == EVERYTHING:
        a.state[cpu + au.CPU_ALL_FLUSHED] = a.state[au.NOW]


@kernel
def note_invlpg(a: Audit, vcpu: int, gva: int) -> None:
    """The vCPU flushed one page; of several that share a place the latest is remembered."""
    page = gva >> x86.PAGE_SHIFT
    place = au.CPUS + vcpu * au.CPU_WORDS + au.CPU_PAGES + 2 * (page & (au.CPU_PAGES_MAX - 1))
    a.state[place] = page
    a.state[place + 1] = a.state[au.NOW]


@kernel
def now_gives(a: Audit, g: Guest, vcpu: int, gva: int, write: int, user: int, fetch: int) -> int:
    """What the tables give now: a gpa, or -1 - the code of a #PF."""
    cpu = cpu_of(vcpu)
    if not find_leaf(a, g, vcpu, gva):
        return -1 - error_code(g, cpu, a.state[au.LEAF_CODE], write, user, fetch)
    if levels_of(g, cpu) != x86.NONPAGING and refuses(
        g, cpu, a.state[au.LEAF_GRANTS], a.state[au.LEAF_EXEC], write, user, fetch
    ):
        return -1 - error_code(g, cpu, x86.PF_PRESENT, write, user, fetch)
    return a.state[au.LEAF_ADDRESS]


@kernel
def is_outside(g: Guest, gpa: int) -> bool:
    """Is it the address of a device?"""
    return frame_of(g, gpa >> x86.PAGE_SHIFT) == 0


@kernel
def matches(g: Guest, gives: int, code: int, address: int, fetch: int) -> bool:
    """Is ``gives`` (a gpa, or -1 - #PF code) what an access with that outcome did?"""
    if code == out.PF or code == out.PF_DIRECT:
        return gives == -1 - address
    if gives < 0:
        return False
    if is_outside(g, gives):
        return code == out.FAIL if fetch else code == out.MMIO
    return code == out.OK and gives == address


@kernel
def begin_level(a: Audit, depth: int, table: int, since: int, grants: int, may_fetch: int) -> None:
    """Put a table on the search's stack, at its present entry."""
    s = a.state
    s[au.SEEK_TABLE + depth] = table
    s[au.SEEK_SINCE + depth] = since
    s[au.SEEK_RIGHTS + depth] = grants
    s[au.SEEK_EXEC + depth] = may_fetch
    s[au.SEEK_NODE + depth] = -1


@kernel
def next_value(a: Audit, g: Guest, levels: int, gpa: int, depth: int) -> bool:
    """The next older value of an entry on the stack, the present one first, in ``SEEK_ENTRY``.

    ``SEEK_FROM`` is the time from which it may be used: when it began to stand, or that of the
    entry above it. False after the last.
    """
    s = a.state
    word, since = gpa & ~7, s[au.SEEK_SINCE + depth]
    node = s[au.SEEK_NODE + depth]
    if node < 0:
        node = 0
        entry = entry_at(g, levels, gpa)
    else:
        node = older(a, word, node, since)
        if node == 0:
            return False
        entry = a.past[node + au.PAST_VALUE]
        if entry_bytes(levels) == 4:
            entry = entry >> ((gpa & 4) << 3) & x86.U32
    s[au.SEEK_NODE + depth] = node
    # The top entry of another CR3 is not known: see above.
    is_free = s[au.SEEK_GLOBAL] and depth == 0
    before = 0 if is_free else older(a, word, node, since)
    if before and not a.past[before + au.PAST_END] & au.BEHIND:
        since = max(since, a.past[before + au.PAST_END])
    s[au.SEEK_ENTRY], s[au.SEEK_FROM] = entry, since
    return True


@kernel
def was_allowed(
    a: Audit,
    g: Guest,
    vcpu: int,
    gva: int,
    write: int,
    user: int,
    fetch: int,
    code: int,
    address: int,
) -> bool:
    """Is there a mix of entries since the last flush that gives this outcome?"""
    since = flushed_at(a, vcpu, gva, 0)
    if seek(a, g, vcpu, gva, write, user, fetch, code, address, since, 0):
        return True
    if not g.state[cpu_of(vcpu) + arch.CR4] & x86.CR4_PGE:
        return False
    since = flushed_at(a, vcpu, gva, 1)
    return seek(a, g, vcpu, gva, write, user, fetch, code, address, since, 1)


@kernel
def seek(
    a: Audit,
    g: Guest,
    vcpu: int,
    gva: int,
    write: int,
    user: int,
    fetch: int,
    code: int,
    address: int,
    since: int,
    is_global: int,
) -> bool:
    """Is there a mix of entries after ``since`` that gives this outcome, by a global leaf if asked?

    A depth-first search: at each level the present entry, then the older ones.
    """
    s = a.state
    cpu = cpu_of(vcpu)
    s[au.SEEK_GLOBAL] = is_global
    levels = levels_of(g, cpu)
    if levels == x86.NONPAGING:
        return False
    table = top_table(g, cpu, levels, gva)
    if table < 0:
        return False
    top = top_level(levels)
    begin_level(a, 0, table, since, x86.PERMISSIONS, 1)
    depth = 0
    for _ in range(SEARCH_STEPS):
        level = top - depth
        gpa = place_of(levels, level, s[au.SEEK_TABLE + depth], gva)
        is_now = s[au.SEEK_NODE + depth] < 0
        if not next_value(a, g, levels, gpa, depth):
            depth -= 1
            if depth < 0:
                return False
            continue
        entry, below = s[au.SEEK_ENTRY], s[au.SEEK_FROM]
        leaf = is_leaf(g, cpu, levels, level, entry)
        reserved = entry & reserved_of(g, cpu, levels, level, leaf)
        if not entry & x86.PRESENT or reserved:
            bits = x86.PF_PRESENT | x86.PF_RSVD if entry & x86.PRESENT else 0
            gives = -1 - error_code(g, cpu, bits, write, user, fetch)
            if is_now and matches(g, gives, code, address, fetch):
                return True
            continue
        grants = s[au.SEEK_RIGHTS + depth] & entry
        may_fetch = s[au.SEEK_EXEC + depth] and not (levels != x86.LEGACY_LEVELS and entry < 0)
        if not leaf:
            depth += 1
            begin_level(a, depth, entry & frame_mask(levels), below, grants, may_fetch)
            continue
        if is_global and not entry & x86.GLOBAL:
            continue
        if refuses(g, cpu, grants, may_fetch, write, user, fetch):
            gives = -1 - error_code(g, cpu, x86.PF_PRESENT, write, user, fetch)
        else:
            gives = leaf_address(levels, level, entry, gva)
        if matches(g, gives, code, address, fetch):
            return True
    return True


@kernel
def code_of(ops: op.Operations, log: rec.Log, i: int, written: int) -> int:
    """How a row came out: its record, the first after ``written``, or as the real guest saw it."""
    if log.state[rec.NEXT] != written:
        return log.records[written * rec.PACKED_WORDS] >> rec.CODE_SHIFT & 15
    if op.LD <= ops.kind[i] <= op.ST1:
        return out.PF if ops.cls[i] == op.WITNESS_FAULT else out.OK
    return out.NONE


@kernel
def address_of(ops: op.Operations, log: rec.Log, i: int, written: int) -> int:
    """The address, #PF code or answer of that row."""
    if log.state[rec.NEXT] != written:
        return log.records[written * rec.PACKED_WORDS + 1]
    return ops.want[i] if op.LD <= ops.kind[i] <= op.ST1 else 0


@kernel
def is_as_witnessed(ops: op.Operations, i: int, code: int, address: int) -> bool:
    """Did a witnessed access come out as for the real guest?"""
    if ops.cls[i] == op.WITNESS_FAULT:
        return (code == out.PF or code == out.PF_DIRECT) and address == ops.want[i]
    return code == out.OK and address == ops.want[i]


@kernel
def access_is_allowed(
    a: Audit, g: Guest, ops: op.Operations, i: int, code: int, address: int
) -> int:
    """F-T5 and F-T7: the outcome of an access; answers where a finding is kept, or -1."""
    s = a.state
    kind, vcpu, user, gva = ops.kind[i], ops.vcpu[i], ops.user[i], ops.a[i]
    s[au.ACCESSES] += 1
    if code == out.LIVELOCK:
        return report(a, au.T7, vcpu, gva, address, 0, kind)
    if code == out.TRIPLE or code == out.GP or code == out.NONE:
        return -1
    if levels_of(g, cpu_of(vcpu)) == x86.LONG_LEVELS and gva >> 47 != 0 and gva >> 47 != -1:
        return -1  # not canonical: the trace should have a #GP
    write, fetch = int(kind >= op.ST), int(kind == op.EX)
    gives = now_gives(a, g, vcpu, gva, write, user, fetch)
    if matches(g, gives, code, address, fetch):
        return -1
    if was_allowed(a, g, vcpu, gva, write, user, fetch, code, address):
        return -1
    return report(a, au.T5, vcpu, gva, address, gives, kind | user << 8 | code << 16)
