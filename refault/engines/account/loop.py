"""Executes rows on a host of the model, and sums what each operation changed.

The model's loop (:func:`refault.engines.shadow.loop.run`) over the same kernels, with a look after
each row that left the fast path: an access that finds its translation changes no counter that is
summed here. The audit calls that loop for every row; what such a call costs would be half of what
accounts cost (docs/decisions/0032), and tests hold both loops to the same bytes.
"""

from __future__ import annotations

from refault.engines.account import words as ac
from refault.engines.account.words import Account
from refault.engines.shadow.arch.quick import quick_access
from refault.engines.shadow.kvm import tracepoints as tp
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.tracepoints import events_fit
from refault.engines.shadow.kvm.zap import hash_of
from refault.engines.shadow.loop import (
    account,
    after_quick_access,
    guest_operation,
    has_room,
    host_operation,
    is_of_host,
    needs_engine,
    note_answer,
    record,
)
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import PAGES_PER_OPERATION, Machine
from refault.engines.shadow.state.steps import begin_steps
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel, shared_word

#: Bits of CR3 that name an address space, PAE's tables of 32 bytes included.
SPACE_BITS = 0x000F_FFFF_FFFF_FFE0


@kernel
def place_of(key: int, slots: int) -> int:
    """Where a hash table of that many slots, a power of two, begins to look for a key."""
    mixed = (key ^ (key >> 15)) * 0x9E37_79B1
    return (mixed ^ (mixed >> 13)) & (slots - 1)


@kernel
def space_row(a: Account, key: int) -> int:
    """The row of an address space; a new one while there is room."""
    slot = place_of(key >> 5, ac.SPACE_SLOTS)
    for _ in range(ac.SPACE_SLOTS):
        place = slot * ac.SLOT_WORDS
        row = a.space_hash[place + 1]
        if row == 0:
            if a.state[ac.SPACE_COUNT] == ac.FIRST_ROWS + ac.SPACES_MAX:
                return 1
            row = a.state[ac.SPACE_COUNT]
            a.state[ac.SPACE_COUNT] = row + 1
            a.space_hash[place], a.space_hash[place + 1] = key, row
            a.space_keys[row] = key
            return row
        if a.space_hash[place] == key:
            return row
        slot = (slot + 1) & (ac.SPACE_SLOTS - 1)
    return 1


@kernel
def table_row(a: Account, gfn: int) -> int:
    """The row of a guest table; a new one while there is room."""
    slot = place_of(gfn, ac.TABLE_SLOTS)
    for _ in range(ac.TABLE_SLOTS):
        place = slot * ac.SLOT_WORDS
        row = a.table_hash[place + 1]
        if row == 0:
            if a.state[ac.TABLE_COUNT] == ac.FIRST_ROWS + ac.TABLES_MAX:
                return 1
            row = a.state[ac.TABLE_COUNT]
            a.state[ac.TABLE_COUNT] = row + 1
            a.table_hash[place], a.table_hash[place + 1] = gfn, row
            a.tables[row * ac.TABLE_WORDS + ac.GFN] = gfn
            return row
        if a.table_hash[place] == gfn:
            return row
        slot = (slot + 1) & (ac.TABLE_SLOTS - 1)
    return 1


@kernel
def region_row(a: Account, kind: int, gva: int) -> int:
    """The row of a region: 0 for an operation without a linear address."""
    if not (op.LD <= kind <= op.ST1 or kind == op.INVLPG or kind == op.UNPROTECT):
        return 0
    row = 0
    for i in range(a.state[ac.REGION_COUNT]):
        if gva < a.begins[i]:
            break
        row = i + 1
    return row


@kernel
def follow_mark(a: Account, number: int) -> None:
    """The guest passed a mark: what follows is its."""
    row = 1
    for i in range(ac.FIRST_ROWS, a.state[ac.MARK_COUNT]):
        if a.mark_numbers[i] == number:
            row = i
    if row == 1 and a.state[ac.MARK_COUNT] < ac.FIRST_ROWS + ac.MARKS_MAX:
        row = a.state[ac.MARK_COUNT]
        a.state[ac.MARK_COUNT] = row + 1
        a.mark_numbers[row] = number
    a.state[ac.MARK] = row


@kernel
def is_unsync(m: Machine, gfn: int, role: int) -> bool:
    """Is a table's shadow page of this role out of sync?"""
    sp = m.vm[hash_of(gfn)]
    for _ in range(m.vm[words.ACTIVE] + PAGES_PER_OPERATION):
        if sp == 0:
            break
        if m.page[sp + words.GFN] == gfn and m.page[sp + words.ROLE] == role:
            return m.page[sp + words.UNSYNC] != 0
        sp = m.page[sp + words.HASH_NEXT]
    return False


@kernel
def follow_pages(m: Machine, a: Account) -> int:
    """Follow the lives of the tables in the tracepoints, and empty them; 1: one left sync."""
    vm, last = m.vm, a.last
    unsynced = 0
    # Whatever happens to a page shows in one of these, so most rows need no scan.
    if (
        vm[words.CACHE_MISS] == last[words.CACHE_MISS]
        and vm[words.SHADOW_ZAPPED] == last[words.SHADOW_ZAPPED]
        and vm[words.SYNCED] == last[words.SYNCED]
        and vm[words.UNSYNC_PAGES] == last[words.UNSYNC_PAGES]
        and not vm[words.EVENTS_LOST]
    ):
        vm[words.EVENT_NEXT] = words.VM_WORDS
        return 0
    for row in range(words.VM_WORDS, vm[words.EVENT_NEXT], words.EVENT_WORDS):
        event = vm[row + tp.EVENT]
        if event < tp.GET_PAGE or event > tp.ZAP_PAGE:
            continue
        created = vm[row + tp.ARGUMENTS + 4]
        if event == tp.GET_PAGE and not created:
            continue
        role = vm[row + tp.ARGUMENTS + 1]
        table = 0
        if not role & words.ROLE_DIRECT:
            table = table_row(a, vm[row + tp.ARGUMENTS])
        place = table * ac.TABLE_WORDS
        if event == tp.GET_PAGE:
            a.tables[place + ac.LEVEL] = (role & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT
            a.tables[place + ac.CREATED] += 1
            if a.tables[place + ac.ZAPPED] and table != 1:
                a.tables[place + ac.REFAULTED] += 1
        elif event == tp.UNSYNC_PAGE:
            # Before 2.6.35 the tracepoint tells of tries, and a table with two roles stays in sync.
            if is_unsync(m, vm[row + tp.ARGUMENTS], role):
                a.tables[place + ac.MARKED] += 1
                unsynced = 1
        elif event == tp.SYNC_PAGE:
            a.tables[place + ac.SYNCED] += 1
        else:
            a.tables[place + ac.ZAPPED] += 1
    vm[words.EVENT_NEXT] = words.VM_WORDS
    a.state[ac.ROWS_LOST] += vm[words.EVENTS_LOST]
    vm[words.EVENTS_LOST] = 0
    return unsynced


@kernel
def cause_of_access(m: Machine, a: Account, unsynced: int) -> int:
    """Why an access left the guest: the first of these that it did."""
    vm, last = m.vm, a.last
    if vm[words.PTE_WRITE] != last[words.PTE_WRITE]:
        return ac.EMULATED_WRITE
    if unsynced:
        return ac.UNSYNC_WRITE
    if vm[words.MMIO_EXITS] != last[words.MMIO_EXITS]:
        return ac.DEVICE
    if vm[words.PF_GUEST] != last[words.PF_GUEST]:
        return ac.GUEST_FAULT
    if vm[words.PF_FIXED] != last[words.PF_FIXED]:
        return ac.MAPPED if vm[words.CACHE_MISS] == last[words.CACHE_MISS] else ac.NEW_PAGE
    return ac.ENTRY if vm[words.EXITS] == last[words.EXITS] else ac.OTHER_EXIT


@kernel
def cause_of_guest(kind: int) -> int:
    """The cause of any other operation of a vCPU."""
    if kind == op.SET_CR3:
        return ac.CR3_WRITE
    if kind == op.INVLPG:
        return ac.INVLPG
    if kind == op.TABLE_WRITE:
        return ac.TABLE_WRITE
    if kind == op.BOOT:
        return ac.BOOTED
    if kind == op.SET_CR0:
        return ac.CR0_WRITE
    if kind == op.SET_CR4:
        return ac.CR4_WRITE
    if kind == op.SET_EFER:
        return ac.EFER_WRITE
    if kind == op.UNSHADOW:
        return ac.HYPERCALL
    return ac.UNPROTECT if kind == op.UNPROTECT else ac.OTHER


@kernel
def cause_of_host(kind: int) -> int:
    """The cause of an operation of the host."""
    if kind == op.UNMAP:
        return ac.UNMAPPED
    if kind == op.AGE:
        return ac.AGED
    if kind == op.CHANGE_PTE:
        return ac.CHANGED
    if kind == op.SHRINK:
        return ac.SHRINKER
    if kind == op.ZAPALL:
        return ac.ZAP_ALL
    if kind == op.LOG or kind == op.DIRTYLOG:
        return ac.DIRTY_LOG
    if kind == op.MEM or kind == op.MEM_DELETE:
        return ac.SLOT
    return ac.LIMIT if kind == op.NR_PAGES else ac.OTHER


@kernel
def add(m: Machine, a: Account, cause: int, region: int, space: int) -> None:
    """Add what changed since the latest look to a row of each table."""
    vm, mark = m.vm, a.state[ac.MARK]
    for c in range(ac.COUNTED):
        change = vm[c] - a.last[c]
        if change:
            a.causes[cause * ac.COUNTED + c] += change
            a.regions[region * ac.COUNTED + c] += change
            a.marks[mark * ac.COUNTED + c] += change
            a.spaces[space * ac.COUNTED + c] += change
            a.last[c] = vm[c]


@kernel
def note_peaks(m: Machine, a: Account, event: int) -> None:
    """Keep the most pages, out-of-sync pages and list nodes in use between two operations."""
    vm, state = m.vm, a.state
    if vm[words.ACTIVE] > state[ac.PAGES_MAX]:
        state[ac.PAGES_MAX], state[ac.PAGES_MAX_EVENT] = vm[words.ACTIVE], event
    state[ac.UNSYNC_MAX] = max(state[ac.UNSYNC_MAX], vm[words.UNSYNC_PAGES])
    state[ac.LINKS_MAX] = max(state[ac.LINKS_MAX], state[ac.LINK_NODES] - vm[words.LINK_FREE_COUNT])


@kernel
def look(m: Machine, a: Account, ops: op.Operations, i: int) -> None:
    """Sum what the row just executed changed."""
    kind, vcpu = ops.kind[i], ops.vcpu[i]
    vm = m.vm
    if kind == op.NOTE:
        follow_mark(a, ops.a[i])
    unsynced = follow_pages(m, a)
    space = 0
    if is_of_host(kind):
        cause = cause_of_host(kind)
    else:
        is_access = op.LD <= kind <= op.ST1
        cause = cause_of_access(m, a, unsynced) if is_access else cause_of_guest(kind)
        cpu = cpu_of(vcpu)
        if vcpu < vm[words.VCPU_COUNT] and vm[cpu + words.ROOT_LEVEL]:
            space = space_row(a, vm[cpu + words.CR3] & SPACE_BITS)
    writes = vm[words.PTE_WRITE] - a.last[words.PTE_WRITE]
    if writes:
        gpa = ops.a[i] if kind == op.TABLE_WRITE else vm[words.OUT_ADDRESS]
        a.tables[table_row(a, gpa >> x86.PAGE_SHIFT) * ac.TABLE_WORDS + ac.WRITTEN] += writes
    add(m, a, cause, region_row(a, kind, ops.a[i]), space)
    note_peaks(m, a, ops.event[i])


@kernel
def count_chains(m: Machine, a: Account) -> int:
    """Nodes of the host's link[] that chain parents of the pages in use; the rest are maps."""
    count = 0
    sp = m.vm[words.LIST_HEAD]
    for _ in range(m.vm[words.ACTIVE]):
        if sp == 0:
            break
        node = -m.page[sp + words.PARENTS]
        for _node in range(a.state[ac.LINK_NODES]):
            if node <= 0:
                break
            count += 1
            node = m.link[node + words.LINK_NEXT]
        sp = m.page[sp + words.LIST_NEXT]
    return count


@kernel
def sample(m: Machine, a: Account, operation_count: int) -> None:
    """Keep the numbers as they are now."""
    vm, state = m.vm, a.state
    place = state[ac.DUE_NEXT] * ac.SAMPLE_WORDS
    state[ac.DUE_NEXT] += 1
    for c in range(ac.COUNTED):
        a.samples[place + c] = vm[c]
    a.samples[place + ac.TLB_HITS] = vm[words.TLB_HITS]
    a.samples[place + ac.WALKS] = vm[words.WALKS]
    a.samples[place + ac.NODES] = state[ac.LINK_NODES] - vm[words.LINK_FREE_COUNT]
    a.samples[place + ac.CHAINS] = count_chains(m, a)
    a.samples[place + ac.OPERATION] = operation_count


@kernel
def execute(m: Machine, ops: op.Operations, i: int, index: int, log: rec.Log) -> None:
    """One row by the slow path, as the model's own loop does it."""
    vm = m.vm
    begin_steps(m)
    vm[words.OUT_ADDRESS] = 0
    vm[words.OUT_VALUE] = 0
    vm[words.OUT_EMULATED] = 0
    kind, vcpu, aux = ops.kind[i], ops.vcpu[i], ops.aux[i]
    if is_of_host(kind):
        code = host_operation(m, kind, aux, ops.a[i], ops.b[i])
    elif vcpu < vm[words.VCPU_COUNT]:
        user, want = ops.user[i], ops.want[i]
        code = guest_operation(m, kind, vcpu, user, aux, ops.a[i], ops.b[i], want)
    else:
        code = -1 - rec.SKIP_NOT_BOOTED
    if vm[words.BUG]:
        return
    if code < 0:
        log.state[rec.SKIPPED - 1 - code] += 1
    elif op.LD <= kind <= op.ST1:
        account(m, ops, i, index, code, log)
    elif code != out.NONE:
        note_answer(m, log, kind, code)
        record(m, log, i, code, 0, 0)


@door
def run_accounted(
    m: Machine, a: Account, ops: op.Operations, start: int, end: int, shift: int, log: rec.Log
) -> int:
    """Execute rows ``start`` to ``end`` - 1 and sum; answers the first not done.

    It ends where the host's own loop does. A sample is taken before each row that is due. An empty
    range is a request for a sample now.
    """
    memory_words = len(m.mem)
    m, a, ops, log = bare(m), bare(a), bare(ops), bare(log)
    vm, state = m.vm, a.state
    log.state[rec.SHIFT] = shift
    if start == end:
        sample(m, a, start + shift)
    next_due = end
    if state[ac.DUE_NEXT] < state[ac.DUE_COUNT]:
        next_due = a.due[state[ac.DUE_NEXT]]
    for i in range(start, end):
        if i == next_due:
            sample(m, a, i + shift)
            next_due = end
            if state[ac.DUE_NEXT] < state[ac.DUE_COUNT]:
                next_due = a.due[state[ac.DUE_NEXT]]
        kind, vcpu = ops.kind[i], ops.vcpu[i]
        if op.LD <= kind <= op.ST1 and vcpu < vm[words.VCPU_COUNT]:
            gpa = quick_access(m, cpu_of(vcpu), kind, ops.user[i], ops.a[i], ops.b[i])
            if gpa >= 0:
                if gpa == ops.want[i] and ops.cls[i] == op.WITNESS_ACCESS:
                    log.state[rec.TALLY + op.WITNESS_ACCESS * rec.TALLY_WORDS] += 1
                else:
                    after_quick_access(m, ops, i, i + shift, gpa, log)
                continue
        if not has_room(m, memory_words) or needs_engine(m, kind, ops.aux[i]):
            return i
        if not events_fit(m, i + shift) or shared_word(vm, words.ABORTED):
            return i
        execute(m, ops, i, i + shift, log)
        look(m, a, ops, i)
        if vm[words.BUG]:
            return i
    return end
