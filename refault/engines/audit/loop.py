"""Executes rows on a host and checks it between them.

The host executes each row by its own loop, unchanged (:func:`refault.engines.shadow.loop.run`), so
an audited run is the run. Around it::

    before   what a store is about to overwrite; what was loaded
    run      one row
    after    how it came out ─► the history of table words ─► outcome ─► registers, host ─► sweep
"""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.dirty import answer_is_the_log, log_holds_what_was_written
from refault.engines.audit.found import watched
from refault.engines.audit.hostside import (
    frames_are_gone,
    frames_are_read_only,
    has_young_leaf,
    note_touch,
    shrinker_counts_pages,
    touched_is_young,
)
from refault.engines.audit.marks import marks_cover_unsync_pages, new_unsync_page_is_marked
from refault.engines.audit.memory import (
    after_store,
    before_store,
    follow_all_memory,
    follow_memory,
    forget_pokes,
    has_page,
    note_poke,
    old_word,
)
from refault.engines.audit.outcome import (
    access_is_allowed,
    address_of,
    code_of,
    is_as_witnessed,
    note_flush,
    note_invlpg,
    write_flushes,
)
from refault.engines.audit.paging import find_leaf
from refault.engines.audit.registers import (
    adopt_registers,
    invlpg_rereads_its_own_entry,
    register_write_is_the_architectures,
    reread_entry,
    store_drops_no_table,
)
from refault.engines.audit.rows import end_of_plain_rows, next_poke
from refault.engines.audit.shadow import (
    LOW_BITS,
    shadow_leaf,
    uses_tables,
)
from refault.engines.audit.sweep import sweep
from refault.engines.audit.translation import invalidated_leaf_is_right
from refault.engines.audit.watching import (
    COUNT,
    FRAME_WORDS,
    PAGE_WORDS,
    SPT_WORDS,
    Watches,
    note_changes,
)
from refault.engines.audit.words import Audit
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.loop import is_of_host, run, store_size
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.walk import words as arch
from refault.engines.walk.loop import operation
from refault.engines.walk.paging import cpu_of as guest_cpu
from refault.engines.walk.paging import levels_of
from refault.engines.walk.words import Machine as Guest
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel


@kernel
def name_operation(a: Audit, ops: op.Operations, i: int, shift: int) -> None:
    """Say which operation it is of which something may be found."""
    s = a.state
    s[au.NOW], s[au.EVENT] = i + shift + 1, ops.event[i]
    s[au.NOW_KIND], s[au.NOW_VCPU] = ops.kind[i], ops.vcpu[i] | ops.user[i] << 8
    s[au.NOW_A], s[au.NOW_B] = ops.a[i], ops.b[i]


@kernel
def begin_operation(a: Audit, m: Machine, g: Guest, ops: op.Operations, i: int, shift: int) -> None:
    """Say which operation it is, and keep what it is about to change."""
    name_operation(a, ops, i, shift)
    a.state[au.CREDIT] += au.EARNED
    before(a, m, g, ops.kind[i], ops.vcpu[i], ops.a[i])
    if ops.kind[i] == op.AGE:
        a.state[au.WAS_YOUNG] = has_young_leaf(m, ops.a[i])
    if ops.kind[i] == op.GET_DIRTY_LOG:
        log_holds_what_was_written(a, m, ops.aux[i])


@kernel
def before(a: Audit, m: Machine, g: Guest, kind: int, vcpu: int, address: int) -> None:
    """Keep what the operation is about to change."""
    s = a.state
    vm = m.vm
    s[au.WAS_EXITS], s[au.WAS_INTERCEPTS] = vm[words.EXITS], vm[words.INTERCEPTS]
    s[au.WAS_FLOODED], s[au.WAS_UNSYNC] = vm[words.FLOODED], vm[words.UNSYNC_PAGES]
    s[au.STORE_AT], s[au.OTHER_AT], s[au.REREAD], s[au.HAD_TABLE] = -1, -1, -1, 0
    if op.BOOT <= kind <= op.INVLPG or kind == op.SREGS:
        s[au.WAS_LOADED] = vcpu < vm[words.VCPU_COUNT] and uses_tables(m, cpu_of(vcpu))
    if op.ST <= kind <= op.ST1:
        before_store(a, m, g, vcpu, address)
    elif kind == op.POKE or kind == op.TABLE_WRITE:
        s[au.STORE_AT], s[au.STORE_OLD] = address & ~7, old_word(g, address)
        s[au.HAD_TABLE] = has_page(m, address >> x86.PAGE_SHIFT)
    elif kind == op.INVLPG and vcpu < vm[words.VCPU_COUNT]:
        s[au.REREAD] = reread_entry(m, vcpu, address & LOW_BITS)


@kernel
def check_access(
    a: Audit, m: Machine, g: Guest, ops: op.Operations, i: int, code: int, address: int
) -> None:
    """F-T5 and F-T7, with the leaf and the guest's entry to look at."""
    found = access_is_allowed(a, g, ops, i, code, address)
    if found >= 0:
        vcpu, gva = ops.vcpu[i], ops.a[i]
        watched_leaf(a, m, found, vcpu, gva)
        find_leaf(a, g, vcpu, gva)
        if a.state[au.LEAF_ENTRY] >= 0:
            watched(a, found, au.WATCH_GUEST, a.state[au.LEAF_ENTRY] & ~7)


@kernel
def watched_leaf(a: Audit, m: Machine, found: int, vcpu: int, gva: int) -> None:
    """Name the shadow leaf of ``gva``."""
    sptep = shadow_leaf(m, cpu_of(vcpu), gva & LOW_BITS)
    if sptep:
        watched(a, found, au.WATCH_SPT, sptep)


@kernel
def after_access(
    a: Audit, m: Machine, g: Guest, ops: op.Operations, i: int, code: int, address: int
) -> None:
    """All that follows from an access."""
    s = a.state
    kind, vcpu, gva, cls = ops.kind[i], ops.vcpu[i], ops.a[i], ops.cls[i]
    if code == out.OK:
        follow_memory(m, g, address)
        left = m.vm[words.EXITS] != s[au.WAS_EXITS]
        emulated = left and m.vm[words.OUT_EMULATED]
        if kind >= op.ST:
            after_store(a, g, address, 0)
            if emulated and m.vm[words.FLOODED] != s[au.WAS_FLOODED]:
                store_drops_no_table(a, m, g, vcpu, address, store_size(kind))
        if not emulated and (s[au.HAS_AGED] or s[au.LEVEL] == au.EVERY):
            note_touch(a, m, address, shadow_leaf(m, cpu_of(vcpu), gva & LOW_BITS))
    # What the real guest saw there is what its hardware did.
    is_known = cls != op.WITNESS_NONE and cls != op.WITNESS_UNSEEN
    if s[au.LEVEL] == au.EVERY or not is_known or not is_as_witnessed(ops, i, code, address):
        check_access(a, m, g, ops, i, code, address)


@kernel
def after_host(a: Audit, m: Machine, kind: int, aux: int, x: int, y: int, answer: int) -> None:
    """F-H, F-T8 and F-D3: the host did something."""
    slot = words.SLOTS + aux * words.SLOT_WORDS
    if kind == op.GET_DIRTY_LOG:
        answer_is_the_log(a, m, answer)
    if kind == op.UNMAP:
        frames_are_gone(a, m, x, x + 1)
    elif kind == op.UNMAP_RANGE:
        frames_are_gone(a, m, x, x + y)
    elif kind == op.CHANGE_PTE:
        if y & 1:
            frames_are_gone(a, m, x, x + 1)
        else:
            frames_are_read_only(a, m, au.H1, x, x + 1)
    elif kind == op.MEM_DELETE:
        base = m.vm[slot + words.SLOT_BASE]
        frames_are_gone(a, m, base, base + m.vm[slot + words.SLOT_PAGES])
    elif kind == op.DIRTYLOG or kind == op.LOG or (kind == op.GET_DIRTY_LOG and answer):
        base = m.vm[slot + words.SLOT_BASE]
        frames_are_read_only(a, m, au.T8, base, base + m.vm[slot + words.SLOT_PAGES])
    elif kind == op.AGE:
        a.state[au.HAS_AGED] = 1
        touched_is_young(a, m, x, answer)
    elif kind == op.SHRINK:
        shrinker_counts_pages(a, m, answer)


@kernel
def is_due(a: Audit, m: Machine, kind: int, vcpu: int) -> bool:
    """Is the host to be checked after this operation?"""
    s = a.state
    vm = m.vm
    if kind == op.POKE or kind == op.NOTE or kind == op.VM or kind == op.BOOT_CR:
        return False
    if s[au.LEVEL] == au.EVERY:
        left = vm[words.EXITS] != s[au.WAS_EXITS] or vm[words.INTERCEPTS] != s[au.WAS_INTERCEPTS]
        if left or is_of_host(kind) or not op.LD <= kind <= op.ST1:
            return True
        return vm[words.TLB] != 0 or not s[au.WAS_LOADED]
    if s[au.CREDIT] <= 0:
        return False
    if is_of_host(kind) or not op.LD <= kind <= op.ST1:
        return True
    return not s[au.WAS_LOADED] and uses_tables(m, cpu_of(vcpu))


@kernel
def after(
    a: Audit, m: Machine, g: Guest, ops: op.Operations, i: int, code: int, address: int
) -> None:
    """Check what one operation did."""
    s = a.state
    kind, vcpu = ops.kind[i], ops.vcpu[i]
    synced = -1
    if op.LD <= kind <= op.ST1:
        after_access(a, m, g, ops, i, code, address)
    elif kind == op.POKE or kind == op.TABLE_WRITE:
        follow_memory(m, g, ops.a[i])
        behind = int(kind == op.POKE and s[au.HAD_TABLE] != 0)
        after_store(a, g, ops.a[i], behind)
        if behind:
            note_poke(a, ops.a[i] >> x86.PAGE_SHIFT)
    elif op.BOOT <= kind <= op.SET_EFER or kind == op.SREGS:
        flushes = write_flushes(g, kind, vcpu, ops.a[i], ops.b[i], ops.want[i])
        register_write_is_the_architectures(
            a, m, g, kind, vcpu, ops.a[i], ops.b[i], ops.want[i], code
        )
        if flushes and code != out.GP:
            note_flush(a, vcpu, flushes)
        cr0 = m.vm[cpu_of(vcpu) + words.CR0]
        if cr0 & x86.CR0_PG and not cr0 & x86.CR0_WP:
            s[au.HAS_FORCED] = 1
        has_paging = levels_of(g, guest_cpu(vcpu)) != x86.NONPAGING
        if kind == op.SET_CR3 and code != out.GP and has_paging and s[au.WAS_LOADED]:
            synced = vcpu  # if its roots are still loaded
    elif kind == op.INVLPG:
        note_invlpg(a, vcpu, ops.a[i])
        invalidated_leaf_is_right(a, m, g, vcpu, ops.a[i])
        invlpg_rereads_its_own_entry(a, g, vcpu, ops.a[i], s[au.REREAD])
    else:
        if kind == op.MEM or kind == op.MEM_DELETE:
            operation(g, kind, 0, 0, ops.aux[i], ops.a[i], ops.b[i], 0)
        after_host(a, m, kind, ops.aux[i], ops.a[i], ops.b[i], address)
    if s[au.POKED_COUNT]:
        forget_pokes(a, m)
    new_unsync_page_is_marked(a, m)
    if is_due(a, m, kind, vcpu):
        sweep(a, m, g, synced)
    elif synced >= 0:
        s[au.STEPS_END] = s[au.STEPS] + au.SWEEP_STEPS
        marks_cover_unsync_pages(a, m, synced, 1)


@kernel
def skipped_count(log: rec.Log) -> int:
    """How many rows could not be executed so far."""
    total = 0
    for i in range(3):
        total += log.state[rec.SKIPPED + i]
    return total


@kernel
def after_plain_rows(
    a: Audit,
    m: Machine,
    g: Guest,
    ops: op.Operations,
    log: rec.Log,
    start: int,
    end: int,
    shift: int,
    written: int,
) -> None:
    """Check those of some plain rows that came out otherwise than for the real guest."""
    s = a.state
    s[au.CREDIT] += au.EARNED * (end - start)
    if m.vm[words.MEM_NEXT] != g.state[arch.MEM_NEXT]:
        for i in range(start, end):
            if ops.kind[i] >= op.ST:
                follow_memory(m, g, ops.want[i])
    for number in range(written, log.state[rec.NEXT]):
        place = number * rec.PACKED_WORDS
        i = log.records[place] >> rec.ROW_SHIFT
        name_operation(a, ops, i, shift)
        code = log.records[place] >> rec.CODE_SHIFT & 15
        check_access(a, m, g, ops, i, code, log.records[place + 1])
    if end > start:
        name_operation(a, ops, end - 1, shift)
        new_unsync_page_is_marked(a, m)


@kernel
def check_now(m: Machine, g: Guest, a: Audit) -> None:
    """One sweep between two operations.

    Sampled rows were not followed, so registers and memory are taken from the host first.
    """
    if a.state[au.LEVEL] == au.SAMPLED:
        follow_all_memory(m, g)
        for vcpu in range(m.vm[words.VCPU_COUNT]):
            adopt_registers(m, g, vcpu)
        forget_pokes(a, m)
    sweep(a, m, g, -1)


@kernel
def end_of_sample(a: Audit, m: Machine, ops: op.Operations, i: int, end: int, shift: int) -> int:
    """The first row from ``i`` + 1 on before which a sampled audit looks, after its look at ``i``.

    It looks at what changes a table behind the MMU, and at logs: nothing tells of these later.
    """
    if ops.kind[i] == op.GET_DIRTY_LOG:
        name_operation(a, ops, i, shift)
        log_holds_what_was_written(a, m, ops.aux[i])
        return i + 1
    return max(i + 1, next_poke(ops, i, end))


@door
def run_checked(
    m: Machine,
    g: Guest,
    a: Audit,
    w: Watches,
    ops: op.Operations,
    start: int,
    end: int,
    shift: int,
    log: rec.Log,
) -> int:
    """Execute rows ``start`` to ``end`` - 1 and check after each; answers the first not done.

    It ends where the host's own loop does, and where the audit needs longer arrays. With level OFF
    nothing is checked; changes of watched words are noted at any level. An empty range is a
    request to check the host as it is now.
    """
    machine, rows, notes = m, ops, log
    past_words = len(a.past)
    w.state[PAGE_WORDS], w.state[SPT_WORDS] = len(m.page), len(m.spt)
    w.state[FRAME_WORDS] = len(m.frame)
    m, g, a, w, ops, log = bare(m), bare(g), bare(a), bare(w), bare(ops), bare(log)
    s = a.state
    checks = s[au.LEVEL] != au.OFF
    if start == end and checks:
        check_now(m, g, a)
    plain = s[au.LEVEL] == au.FLUSH and not m.vm[words.TLB]
    i = start - 1
    while i + 1 < end:  # one iteration per row, or per stretch of plain ones
        i += 1
        if checks:
            if past_words - s[au.PAST_NEXT] < 2 * au.PAST_WORDS:
                return i
            if s[au.LEVEL] == au.SAMPLED:
                stop = end_of_sample(a, m, ops, i, end, shift)
                is_poke = ops.kind[i] == op.POKE
                behind = is_poke and has_page(m, ops.a[i] >> x86.PAGE_SHIFT)
                done = run(machine, rows, i, stop, shift, notes)
                if done < stop:
                    return done
                if behind:
                    note_poke(a, ops.a[i] >> x86.PAGE_SHIFT)
                i = stop - 1
                continue
            # Once the host asks what is young, each access has to be noted.
            stop = end_of_plain_rows(m, ops, i, end) if plain and not s[au.HAS_AGED] else i
            if stop > i:
                written, s[au.WAS_UNSYNC] = log.state[rec.NEXT], m.vm[words.UNSYNC_PAGES]
                done = run(machine, rows, i, stop, shift, notes)
                after_plain_rows(a, m, g, ops, log, i, done, shift, written)
                if done < stop:
                    return done
                i = stop - 1
                continue
            begin_operation(a, m, g, ops, i, shift)
        written, skipped = log.state[rec.NEXT], skipped_count(log)
        done = run(machine, rows, i, i + 1, shift, notes)
        if w.state[COUNT] and (done > i or m.vm[words.BUG]):
            note_changes(m, w, ops, i, i + shift + 1)
        if done == i:
            return i
        if not checks or skipped_count(log) != skipped:
            continue
        code, address = code_of(ops, log, i, written), address_of(ops, log, i, written)
        after(a, m, g, ops, i, code, address)
    return end
