"""F-S: the structures of shadow pages (specification, part F, "Structure")."""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.shadow import has_steps, is_leaf
from refault.engines.audit.words import Audit
from refault.engines.shadow.kvm.parents import child_of, count_parents, level_of, table_of
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.rmap import is_present
from refault.engines.shadow.kvm.zap import hash_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def list_holds_live_pages(a: Audit, m: Machine) -> int:
    """F-S1, the list: so many pages as are active, none freed. Answers how many there are."""
    count = 0
    sp = m.vm[words.LIST_HEAD]
    while sp and count <= m.vm[words.ACTIVE]:  # the pages in use, and one
        if m.page[sp + words.FREED]:
            report(a, au.S1, -1, m.page[sp + words.GFN], sp, 0, 1)
            return count
        count += 1
        sp = m.page[sp + words.LIST_NEXT]
    if count != m.vm[words.ACTIVE]:
        watched(a, report(a, au.S1, -1, 0, count, m.vm[words.ACTIVE], 2), au.WATCH_VM, words.ACTIVE)
    return count


@kernel
def hash_holds_the_same_pages(a: Audit, m: Machine) -> None:
    """F-S1, the hash: every listed page is in its bucket, and nothing else is in any."""
    hashed = 0
    for bucket in range(words.HASH, words.HASH + words.HASH_SIZE):
        sp = m.vm[bucket]
        left = m.vm[words.ACTIVE] + 1
        while sp and left and has_steps(a, 1):
            left -= 1
            hashed += 1
            if m.page[sp + words.FREED] or hash_of(m.page[sp + words.GFN]) != bucket:
                report(a, au.S1, -1, m.page[sp + words.GFN], bucket, 0, 3)
            sp = m.page[sp + words.HASH_NEXT]
    if hashed != m.vm[words.ACTIVE]:
        report(a, au.S1, -1, 1, hashed, m.vm[words.ACTIVE], 4)


@kernel
def pages_are_unique(a: Audit, m: Machine, sp: int) -> None:
    """F-S2: no later page of the bucket has the same frame and role."""
    if m.page[sp + words.ROLE] & words.ROLE_INVALID:
        return
    other = m.page[sp + words.HASH_NEXT]
    left = m.vm[words.ACTIVE]
    while other and left and has_steps(a, 1):
        left -= 1
        if (
            m.page[other + words.GFN] == m.page[sp + words.GFN]
            and m.page[other + words.ROLE] == m.page[sp + words.ROLE]
        ):
            gfn = m.page[sp + words.GFN]
            report(a, au.S2, -1, gfn, m.page[sp + words.ROLE], 0, 0)
        other = m.page[other + words.HASH_NEXT]


@kernel
def budget_counts_pages(a: Audit, m: Machine) -> None:
    """F-S3: n_alloc - n_free is the number of active pages."""
    used = (m.vm[words.N_ALLOC] - m.vm[words.N_FREE]) & x86.U32
    if used >> 31:
        used -= 1 << 32
    if used != m.vm[words.ACTIVE]:
        found = report(a, au.S3, -1, 0, used, m.vm[words.ACTIVE], 0)
        watched(a, found, au.WATCH_VM, words.N_FREE)


@kernel
def root_count_counts_roots(a: Audit, m: Machine, sp: int) -> None:
    """F-S4: so many root slots of vCPUs name the page."""
    vm = m.vm
    count = 0
    for vcpu in range(vm[words.VCPU_COUNT]):
        cpu = cpu_of(vcpu)
        if vm[cpu + words.ROOT] == words.PAE_LOADED:
            for i in range(4):
                count += int(vm[cpu + words.PAE_ROOTS + i] == sp)
        else:
            count += int(vm[cpu + words.ROOT] == sp)
        count += int(vm[cpu + words.PAIR_ROOT] == sp)
    if count != m.page[sp + words.ROOT_COUNT]:
        gfn = m.page[sp + words.GFN]
        found = report(a, au.S4, -1, gfn, m.page[sp + words.ROOT_COUNT], count, 0)
        watched(a, found, au.WATCH_PAGE, sp + words.ROOT_COUNT)


@kernel
def root_has_the_role_of_its_vcpu(a: Audit, m: Machine, vcpu: int) -> None:
    """F-S5: but for direct roots, and while a reload is pending."""
    vm = m.vm
    cpu = cpu_of(vcpu)
    if vm[cpu + words.REQUESTS] & words.REQ_MMU_RELOAD or not vm[cpu + words.ROOT]:
        return
    is_pae = vm[cpu + words.ROOT] == words.PAE_LOADED
    for i in range(4 if is_pae else 1):
        root = vm[cpu + words.PAE_ROOTS + i] if is_pae else vm[cpu + words.ROOT]
        if root == 0 or m.page[root + words.ROLE] & words.ROLE_DIRECT:
            continue
        kept = words.ROLE_FORMAT_MASK | words.ROLE_PGE | words.ROLE_NXE | words.ROLE_CR0_WP
        kept |= words.ROLE_INVALID
        if (m.page[root + words.ROLE] ^ vm[cpu + words.BASE_ROLE]) & kept:
            gfn = m.page[root + words.GFN]
            role, wanted = m.page[root + words.ROLE], vm[cpu + words.BASE_ROLE]
            found = report(a, au.S5, vcpu, gfn, role, wanted, 0)
            watched(a, found, au.WATCH_PAGE, root + words.ROLE)


@kernel
def links_lead_one_level_down(a: Audit, m: Machine, sp: int) -> None:
    """F-S1, F-S7, F-S8: each link of a page; counts it for :func:`back_references_are_exact`."""
    level = level_of(m, sp)
    if level == 1:
        return
    table = table_of(sp)
    for sptep in range(table, table + x86.ENTRIES):
        spte = m.spt[sptep]
        if not is_present(m, spte) or is_leaf(m, sp, spte):
            if is_present(m, spte) and level > 3:
                report(a, au.S7, -1, sptep, level, 0, 1)
            continue
        child = child_of(spte)
        gfn = m.page[child + words.GFN]
        if m.page[child + words.FREED]:
            watched(a, report(a, au.S1, -1, gfn, sptep, 0, 5), au.WATCH_SPT, sptep)
            continue
        a.pages[child] += 1
        if level_of(m, child) != level - 1:
            report(a, au.S7, -1, gfn, level_of(m, child), level - 1, 0)
        if not spte & x86.WRITABLE:
            watched(a, report(a, au.S8, -1, gfn, spte, 0, level), au.WATCH_SPT, sptep)


@kernel
def back_references_are_exact(a: Audit, m: Machine, sp: int) -> None:
    """F-S6: as many references back as links were counted, each of them a link to the page."""
    counted = a.pages[sp]
    a.pages[sp] = 0
    gfn = m.page[sp + words.GFN]
    first = m.page[sp + words.PARENTS]
    count = count_parents(m, sp)
    if count != counted:
        found = report(a, au.S6, -1, gfn, count, counted, 0)
        watched(a, found, au.WATCH_PAGE, sp + words.PARENTS)
        return
    node = -first if first < 0 else 0
    if first > 0 and child_of(m.spt[first]) != sp:
        report(a, au.S6, -1, gfn, first, sp, 1)
    left = count
    while node and left > 0 and has_steps(a, 1):
        for i in range(words.CHAIN_ENTRIES):
            sptep = m.link[node + i]
            if sptep:
                left -= 1
                if not is_present(m, m.spt[sptep]) or child_of(m.spt[sptep]) != sp:
                    report(a, au.S6, -1, gfn, sptep, sp, 1)
        node = m.link[node + words.LINK_NEXT]
