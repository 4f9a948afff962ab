"""Removes shadow pages: zap, page limit, shrinker (mmu.c: kvm_mmu_zap_page and its callers)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.kvm.parents import (
    child_of,
    first_parent,
    level_of,
    remove_parent,
    table_of,
)
from refault.engines.shadow.kvm.requests import cpu_of, flush_remote_tlbs, reload_remote_mmus
from refault.engines.shadow.kvm.rmap import eight_are, is_present, large_region, rmap_remove
from refault.engines.shadow.kvm.tracepoints import SYNC_PAGE, ZAP_PAGE, trace_page
from refault.engines.shadow.kvm.unsync import clear_parents, next_leaf, start_path, unsync_walk
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def list_push(m: Machine, sp: int) -> None:
    """Put a page at the head of the active list; reclaim takes the tail, so the list is FIFO."""
    head = m.vm[words.LIST_HEAD]
    m.page[sp + words.LIST_NEXT] = head
    m.page[sp + words.LIST_PREV] = 0
    if head:
        m.page[head + words.LIST_PREV] = sp
    else:
        m.vm[words.LIST_TAIL] = sp
    m.vm[words.LIST_HEAD] = sp


@kernel
def list_remove(m: Machine, sp: int) -> None:
    """Take a page off the active list."""
    after = m.page[sp + words.LIST_NEXT]
    before = m.page[sp + words.LIST_PREV]
    if before:
        m.page[before + words.LIST_NEXT] = after
    else:
        m.vm[words.LIST_HEAD] = after
    if after:
        m.page[after + words.LIST_PREV] = before
    else:
        m.vm[words.LIST_TAIL] = before


@kernel
def hash_of(gfn: int) -> int:
    """Place of the bucket of ``gfn`` in ``vm[]``."""
    return words.HASH + (gfn & (words.HASH_SIZE - 1))


@kernel
def hash_push(m: Machine, sp: int) -> None:
    """Put a page at the head of its bucket, so that the newest is found first."""
    bucket = hash_of(m.page[sp + words.GFN])
    head = m.vm[bucket]
    m.page[sp + words.HASH_NEXT] = head
    m.page[sp + words.HASH_PREV] = 0
    if head:
        m.page[head + words.HASH_PREV] = sp
    m.vm[bucket] = sp


@kernel
def hash_remove(m: Machine, sp: int) -> None:
    """Unlink from the bucket; ``HASH_NEXT`` stays, as it does in freed memory."""
    after = m.page[sp + words.HASH_NEXT]
    before = m.page[sp + words.HASH_PREV]
    if before:
        m.page[before + words.HASH_NEXT] = after
    else:
        m.vm[hash_of(m.page[sp + words.GFN])] = after
    if after:
        m.page[after + words.HASH_PREV] = before


@kernel
def oos_push(m: Machine, sp: int) -> None:
    """Chain a page that went out of sync (patch 6), newest first."""
    head = m.vm[words.OOS_HEAD]
    m.page[sp + words.OOS_NEXT] = head
    m.page[sp + words.OOS_PREV] = 0
    if head:
        m.page[head + words.OOS_PREV] = sp
    m.vm[words.OOS_HEAD] = sp


@kernel
def unlink_unsync_page(m: Machine, sp: int) -> None:
    """A page is in sync again, or zapped: take it off the list of unsync pages."""
    if m.vm[words.KNOB_SYNC_TRACE] == values.SYNC_TRACE_DONE:
        trace_page(m, SYNC_PAGE, sp, 0)
    m.page[sp + words.UNSYNC] = 0
    m.vm[words.UNSYNC_PAGES] -= 1
    if m.vm[words.KNOB_SYNC_TRACE] == values.SYNC_TRACE_DONE:
        m.vm[words.SYNCED] += 1
    after = m.page[sp + words.OOS_NEXT]
    before = m.page[sp + words.OOS_PREV]
    if before:
        m.page[before + words.OOS_NEXT] = after
    else:
        m.vm[words.OOS_HEAD] = after
    if after:
        m.page[after + words.OOS_PREV] = before


@kernel
def account_shadowed(m: Machine, gfn: int, change: int) -> None:
    """A table frame forbids large mappings of the regions that contain it."""
    for level in range(2, 4):
        m.frame[large_region(m, gfn, level) + words.WRITE_COUNT] += change


@kernel
def unlink_children(m: Machine, sp: int) -> None:
    """Drop every leaf and every link of a page; all entries become absent."""
    table = table_of(sp)
    for eight in range(table, table + x86.ENTRIES, 8):
        if not eight_are(m, eight, m.vm[words.TRAP]):
            unlink_eight(m, sp, eight)


@kernel
def unlink_eight(m: Machine, sp: int, first: int) -> None:
    """Drop the eight entries from ``first`` on."""
    level = level_of(m, sp)
    trap = m.vm[words.TRAP]
    for sptep in range(first, first + 8):
        spte = m.spt[sptep]
        if spte == trap:
            continue
        if is_present(m, spte):
            if level == 1:
                rmap_remove(m, sptep)
            elif spte & x86.LARGE:
                m.vm[words.LPAGES] -= 1
                rmap_remove(m, sptep)
            else:
                remove_parent(m, child_of(spte), sptep)
        m.spt[sptep] = trap


@kernel
def unlink_parents(m: Machine, sp: int) -> None:
    """Make every entry that links here absent; the parents' unsync marks stay as they are."""
    sptep = first_parent(m, sp)
    while sptep and goes_on(m, 1):
        remove_parent(m, sp, sptep)
        m.spt[sptep] = m.vm[words.TRAP]
        sptep = first_parent(m, sp)


@kernel
def free_page(m: Machine, sp: int) -> None:
    """Free a page that is off the active list; its header stays readable, as freed memory does."""
    hash_remove(m, sp)
    m.page[sp + words.FREED] = 1
    m.page[sp + words.LIST_NEXT] = m.vm[words.PAGE_FREE]
    m.vm[words.PAGE_FREE] = sp
    m.vm[words.PAGE_FREE_COUNT] += 1
    m.vm[words.N_FREE] = (m.vm[words.N_FREE] + 1) & x86.U32


@kernel
def commit_zap(m: Machine) -> None:
    """Free what was zapped since the last call, after one flush for all (kvm_mmu_commit_zap_page).

    Until then the pages stay in their hash buckets, invalid. With ZAP_COMMIT_EACH there are none.
    """
    sp = m.vm[words.INVALID_HEAD]
    if sp == 0:
        return
    m.vm[words.INVALID_HEAD] = 0
    flush_remote_tlbs(m)
    while sp and goes_on(m, 1):
        after = m.page[sp + words.LIST_NEXT]
        free_page(m, sp)
        sp = after


@kernel
def drop_page(m: Machine, sp: int) -> None:
    """Zap a page without its unsync children: unlink it, and free it unless it is a loaded root."""
    m.vm[words.SHADOW_ZAPPED] += 1
    goes_on(m, x86.ENTRIES // 8)  # so that a loop of zaps takes steps
    unlink_children(m, sp)
    unlink_parents(m, sp)
    if m.vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_EACH:
        flush_remote_tlbs(m)
    role = m.page[sp + words.ROLE]
    if not role & (words.ROLE_INVALID | words.ROLE_DIRECT):
        account_shadowed(m, m.page[sp + words.GFN], -1)
    if m.page[sp + words.UNSYNC]:
        unlink_unsync_page(m, sp)
    list_remove(m, sp)
    if m.page[sp + words.ROOT_COUNT] == 0:
        m.vm[words.ACTIVE] -= 1
        if m.vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_BATCH:
            m.page[sp + words.ROLE] = role | words.ROLE_INVALID
            m.page[sp + words.LIST_NEXT] = m.vm[words.INVALID_HEAD]
            m.vm[words.INVALID_HEAD] = sp
        else:
            free_page(m, sp)
    else:
        m.page[sp + words.ROLE] = role | words.ROLE_INVALID
        list_push(m, sp)
        reload_remote_mmus(m)
    for vcpu in range(m.vm[words.VCPU_COUNT]):
        m.vm[cpu_of(vcpu) + words.LAST_PTE_UPDATED] = 0


@kernel
def set_aside(m: Machine, sp: int) -> None:
    """Leave an unsync page in list and hash, invalid and unlinked, until it is reclaimed."""
    unlink_parents(m, sp)
    account_shadowed(m, m.page[sp + words.GFN], -1)
    unlink_unsync_page(m, sp)
    m.page[sp + words.ROLE] |= words.ROLE_INVALID


@kernel
def zap_unsync_children(m: Machine, parent: int) -> int:
    """Zap every unsync page below ``parent``. Patch 2 is about what it answers.

    ZAP_RETURN_PATH: the length of the walk's vector, pages of paths included; else the leaves.
    With ZAP_CHILDREN_SET_ASIDE none is zapped, and the answer is 0.
    """
    vm = m.vm
    keep = vm[words.KNOB_ZAP_CHILDREN] == values.ZAP_CHILDREN_SET_ASIDE
    if level_of(m, parent) == 1:
        return 0
    zapped = 0
    start_path(m, parent)
    while unsync_walk(m, parent) and goes_on(m, 1):
        leaves = 0
        i = next_leaf(m, -1)
        while i < vm[words.VEC_COUNT] and goes_on(m, 1):
            if keep:
                set_aside(m, vm[words.VEC_SP + i])
            else:
                trace_page(m, ZAP_PAGE, vm[words.VEC_SP + i], 0)
                drop_page(m, vm[words.VEC_SP + i])
            clear_parents(m)
            leaves += 1
            i = next_leaf(m, i)
        by_path = vm[words.KNOB_ZAP_RETURN] == values.ZAP_RETURN_PATH
        zapped += vm[words.VEC_COUNT] if by_path else leaves
        start_path(m, parent)
    return 0 if keep else zapped


@kernel
def zap_page(m: Machine, sp: int) -> int:
    """Zap a page and the unsync pages below it; not 0 if others were zapped too.

    With ZAP_RETURN_FREED the page itself counts, unless it is a loaded root and stays.
    """
    trace_page(m, ZAP_PAGE, sp, 0)
    zapped = zap_unsync_children(m, sp)
    if (
        m.vm[words.KNOB_ZAP_RETURN] == values.ZAP_RETURN_FREED
        and m.page[sp + words.ROOT_COUNT] == 0
    ):
        zapped += 1
    drop_page(m, sp)
    return zapped


@kernel
def zap_tail(m: Machine) -> int:
    """Zap the oldest page. On an empty list KVM takes the head for a page, and crashes."""
    tail = m.vm[words.LIST_TAIL]
    if tail == 0:
        m.vm[words.BUG] = words.BUG_EMPTY_LIST
        return 0
    return zap_page(m, tail)


@kernel
def reclaim_pages(m: Machine) -> None:
    """Free old pages until REFILL_PAGES are free (mmu.c: __kvm_mmu_free_some_pages).

    If only pinned roots are left, each zap frees nothing and moves the root to the head, so
    after one whole round nothing has changed, and the loop is endless.
    """
    vm = m.vm
    idle = 0
    coming = 0
    while vm[words.N_FREE] + coming < words.REFILL_PAGES and vm[words.LIST_TAIL] and goes_on(m, 1):
        before = m.vm[words.ACTIVE]
        zapped = zap_tail(m)
        if m.vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_BATCH:
            coming += zapped
        m.vm[words.RECYCLED] += 1
        idle = idle + 1 if m.vm[words.ACTIVE] == before else 0
        if idle > m.vm[words.ACTIVE] and not m.vm[words.BUG]:
            m.vm[words.BUG] = words.BUG_ENDLESS_ZAP
        if m.vm[words.BUG]:
            return
    commit_zap(m)


@kernel
def free_some_pages(m: Machine) -> None:
    """Reclaim when fewer than MIN_FREE_PAGES are free (mmu.h: kvm_mmu_free_some_pages)."""
    if m.vm[words.N_FREE] < words.MIN_FREE_PAGES:
        reclaim_pages(m)


@kernel
def change_limit(m: Machine, limit: int) -> None:
    """Set the page limit (mmu.c: kvm_mmu_change_mmu_pages), with ``limit_loop``'s accounting.

    ``used`` is a C int compared with an unsigned limit: once negative it counts as huge, and
    the loop runs to the end of the list, or endlessly over pinned roots. With ZAP_RETURN_FREED a
    pinned root counts as nothing freed, so the loop never ends with more roots than the limit.
    """
    vm = m.vm
    loop = vm[words.KNOB_LIMIT_LOOP]
    exact = loop == values.LIMIT_LOOP_CHILDREN_UNTIL_EMPTY
    counts_children = exact or loop == values.LIMIT_LOOP_CHILDREN
    until_empty = exact or loop == values.LIMIT_LOOP_UNTIL_EMPTY
    self_counted = vm[words.KNOB_ZAP_RETURN] == values.ZAP_RETURN_FREED
    used = vm[words.N_ALLOC] - vm[words.N_FREE]
    used = max(used, 0)
    if used <= limit:
        vm[words.N_FREE] = (vm[words.N_FREE] + limit - vm[words.N_ALLOC]) & x86.U32
        vm[words.N_ALLOC] = limit
        return
    idle = 0
    while (used & x86.U32) > limit and goes_on(m, 1):
        if until_empty and vm[words.LIST_TAIL] == 0:
            break
        before = vm[words.ACTIVE]
        zapped = zap_tail(m)
        if counts_children:
            used -= zapped
        if not self_counted:
            used -= 1
        idle = idle + 1 if vm[words.ACTIVE] == before else 0
        if (used < 0 or self_counted) and idle > vm[words.ACTIVE] and not vm[words.BUG]:
            vm[words.BUG] = words.BUG_ENDLESS_ZAP
        if vm[words.BUG]:
            return
    commit_zap(m)
    vm[words.N_FREE] = 0
    vm[words.N_ALLOC] = used & x86.U32 if exact else limit


@kernel
def zap_all(m: Machine) -> None:
    """Zap every page from the newest on, restarting whenever a zap has zapped others too."""
    sp = m.vm[words.LIST_HEAD]
    # A pinned root moves to the head: without a bound, restarts over it never end.
    bound = 4 * m.vm[words.ACTIVE] * (m.vm[words.ACTIVE] + 1) + 4
    while sp and bound and goes_on(m, 1):
        bound -= 1
        after = m.page[sp + words.LIST_NEXT]
        if zap_page(m, sp):
            after = m.vm[words.LIST_HEAD]
        sp = after
    if bound == 0 and not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_ENDLESS_ZAP
    if m.vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_BATCH:
        commit_zap(m)
    else:
        flush_remote_tlbs(m)


@kernel
def shrink(m: Machine, scan: int) -> int:
    """Memory pressure on a host with only this guest (mmu.c: mmu_shrink); answers pages in use."""
    used = m.vm[words.N_ALLOC] - m.vm[words.N_FREE]
    if scan > 0 and used > 0:
        zapped = zap_tail(m)
        commit_zap(m)
        if m.vm[words.KNOB_ZAP_RETURN] != values.ZAP_RETURN_FREED:
            used -= 1
        if m.vm[words.KNOB_SHRINK_COUNT] == values.SHRINK_COUNT_CHILDREN:
            used -= zapped
    return used
