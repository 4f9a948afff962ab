"""Executes rows on a host of the model, and sums what each operation changed.

As the model's own loop (:func:`refault.engines.shadow.loop.run`), with a look after each row that
left the fast path: an access that finds its translation changes no counter that is summed here.
"""

from __future__ import annotations

from typing import Any

from refault.engines.account import words as ac
from refault.engines.account.words import Account
from refault.engines.shadow.kvm import tracepoints as tp
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.slots import is_of_log
from refault.engines.shadow.kvm.zap import hash_of
from refault.engines.shadow.loop import can_execute, execute, execute_quick, is_of_host
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import PAGES_PER_OPERATION, Machine
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel
from refault.replay.records import SHIFT, Log

#: Bits of CR3 that name an address space, PAE's tables of 32 bytes included.
SPACE_BITS = 0x000F_FFFF_FFFF_FFE0


@kernel
def place_of(key: int, slots: int) -> int:
    """Where a hash table of that many slots, a power of two, begins to look for a key."""
    mixed = (key ^ (key >> 15)) * 0x9E37_79B1
    return (mixed ^ (mixed >> 13)) & (slots - 1)


@kernel
def row_of(a: Account, slots: Any, slot_count: int, key: int, count: int, rows_max: int) -> int:
    """The row of a key in a hash table; a new one while fewer than ``rows_max`` are in use, else 1.

    ``state[count]`` counts the rows, those that no key has included.
    """
    slot = place_of(key, slot_count)
    for _ in range(slot_count):
        place = slot * ac.SLOT_WORDS
        row = slots[place + 1]
        if row == 0:
            if a.state[count] == ac.FIRST_ROWS + rows_max:
                return 1
            row = a.state[count]
            a.state[count] = row + 1
            slots[place], slots[place + 1] = key, row
            return row
        if slots[place] == key:
            return row
        slot = (slot + 1) & (slot_count - 1)
    return 1


@kernel
def space_row(a: Account, cr3: int) -> int:
    """The row of an address space."""
    key = cr3 & SPACE_BITS
    row = row_of(a, a.space_hash, ac.SPACE_SLOTS, key >> 5, ac.SPACE_COUNT, ac.SPACES_MAX)
    if row >= ac.FIRST_ROWS:
        a.space_keys[row] = key
    return row


@kernel
def table_row(a: Account, gfn: int) -> int:
    """The row of a guest table."""
    row = row_of(a, a.table_hash, ac.TABLE_SLOTS, gfn, ac.TABLE_COUNT, ac.TABLES_MAX)
    if row >= ac.FIRST_ROWS:
        a.tables[row * ac.TABLE_WORDS + ac.GFN] = gfn
    return row


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
    if kind == op.SREGS:
        return ac.SET_REGISTERS
    return ac.UNPROTECT if kind == op.UNPROTECT else ac.OTHER


@kernel
def cause_of_host(kind: int) -> int:
    """The cause of an operation of the host."""
    if kind == op.UNMAP or kind == op.UNMAP_RANGE:
        return ac.UNMAPPED
    if kind == op.AGE:
        return ac.AGED
    if kind == op.CHANGE_PTE:
        return ac.CHANGED
    if kind == op.SHRINK:
        return ac.SHRINKER
    if kind == op.ZAPALL:
        return ac.ZAP_ALL
    if is_of_log(kind):
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
            space = space_row(a, vm[cpu + words.CR3])
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
def next_due(a: Account, end: int) -> int:
    """The next row before which a sample is due, or ``end``."""
    if a.state[ac.DUE_NEXT] < a.state[ac.DUE_COUNT]:
        return min(end, a.due[a.state[ac.DUE_NEXT]])
    return end


@door
def run_accounted(
    m: Machine, a: Account, ops: op.Operations, start: int, end: int, shift: int, log: Log
) -> int:
    """Execute rows ``start`` to ``end`` - 1 and sum; answers the first not done.

    It ends where the host's own loop does. A sample is taken before each row that is due. An empty
    range is a request for a sample now.
    """
    memory_words = len(m.mem)
    m, a, ops, log = bare(m), bare(a), bare(ops), bare(log)
    log.state[SHIFT] = shift
    if start == end:
        sample(m, a, start + shift)
        return end
    i = start
    while True:  # one iteration per row that leaves the guest, and per sample
        due = next_due(a, end)
        if i == due < end:
            sample(m, a, i + shift)
            due = next_due(a, end)
        i = execute_quick(m, ops, i, due, shift, log)
        if i == end:
            return i
        if i == due:
            continue
        if not can_execute(m, ops, i, i + shift, memory_words):
            return i
        execute(m, ops, i, i + shift, log)
        look(m, a, ops, i)
        if m.vm[words.BUG]:
            return i
        i += 1
