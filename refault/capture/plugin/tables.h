/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which pages are page tables, found by walking from CR3 and kept exact by the stores themselves:
 * tables of two levels (32 bit), three (PAE), four and five.
 */
#ifndef REFAULT_TABLES_H
#define REFAULT_TABLES_H
#include "state.h"

#define PRESENT 1ull
#define LARGE 0x80ull
#define GRACE 64 /* stores to a page that no entry points at, until it is no table any more */
enum { ROOT_CLEARED = 1, NO_ENTRY_STORED = 2, UNLINKED = 3, OTHER_USE = 5 };

static int mode_of(const vcpu_state *cpu)
{
    if (!(cpu->cr0 & CR0_PG))
        return NO_PAGING;
    if (!(cpu->cr4 & CR4_PAE))
        return LEGACY;
    if (!(cpu->efer & EFER_LME))
        return PAE;
    return cpu->cr4 & CR4_LA57 ? LONG5 : LONG4;
}

static uint64_t root_gpa(int mode, uint64_t cr3)
{
    return mode == PAE ? cr3 & 0xffffffe0ull : mode == LEGACY ? cr3 & 0xfffff000ull : cr3 & 0x000ffffffffff000ull;
}

static int entry_count(int mode) { return 4096 >> LAYOUTS[mode].entry_shift; }

static uint64_t entry_of(int mode, const void *page, int index)
{
    return mode == LEGACY ? ((const uint32_t *)page)[index] : ((const uint64_t *)page)[index];
}

/* The address that an entry's translations begin at; addresses are sign-extended as the guest sees them. */
static uint64_t gva_of(const table *t, int index)
{
    const layout *l = &LAYOUTS[t->mode];
    if (t->mode == PAE && t->level == 3)
        index &= 3;
    uint64_t gva = t->gva + ((uint64_t)index << (12 + l->index_bits * (t->level - 1)));
    if (t->mode == LEGACY || t->mode == PAE)
        return gva & 0xffffffffull;
    int sign = t->mode == LONG5 ? 56 : 47;
    return gva >> sign & 1 ? gva | ~0ull << sign : gva;
}

/* Does the entry point at a table one level down? */
static bool points_down(const table *t, uint64_t entry)
{
    if (!(entry & PRESENT) || t->level == 1)
        return false;
    bool may_map = t->mode == LEGACY ? t->level == 2 : t->level <= 3 && !(t->mode == PAE && t->level == 3);
    return !(may_map && entry & LARGE);
}

static uint64_t gfn_below(const table *t, uint64_t entry)
{
    return (entry & (t->mode == LEGACY ? 0xfffff000ull : 0x000ffffffffff000ull)) >> 12;
}

/* A page of PAE roots holds other roots and free memory too: only places that CR3 named count. */
static bool is_in_use(const table *t, int index)
{
    if (t->mode != PAE || t->level != 3)
        return true;
    return t->roots[index >> 8] >> (index >> 2 & 63) & 1;
}

static void refer_to(unsigned vcpu, uint64_t gfn, const table *from, int index);

/* Freed tables may keep their entries (a PAE root does), so a reference may be older than what the
 * page is used for now. */
static void unrefer(uint64_t gfn, int mode, int level)
{
    if (gfn >= frame_count || tables[gfn].level != level || tables[gfn].mode != mode)
        return;
    table *t = &tables[gfn];
    if (t->references)
        t->references--;
    if (!t->references && !t->is_root)
        t->grace = GRACE;
}

static void refer_to_entry(unsigned vcpu, const table *t, int index, uint64_t entry)
{
    if (points_down(t, entry))
        refer_to(vcpu, gfn_below(t, entry), t, index);
}

/* A page becomes a table: its content is recorded, and what it points at becomes tables too. */
static void track(unsigned vcpu, uint64_t gfn, int mode, int level, uint64_t gva)
{
    table *t = &tables[gfn];
    uint64_t *copy = t->copy ? t->copy : malloc(4096);
    *t = (table){.copy = copy, .gva = gva, .level = level, .mode = mode};
    is_table[gfn] = 1;
    memcpy(copy, at_gfn(gfn), 4096);
    int used = 0;
    for (int i = 0; i < 512; i++)
        used += copy[i] != 0;
    put(vcpu, TABLE_SNAPSHOT, 0, level, gfn << 12, used);
    for (int i = 0; i < 512; i++)
        if (copy[i])
            put_with(vcpu, TABLE_ENTRY, 0, 0, i, gfn << 12, copy[i]);
    for (int i = 0; level > 1 && i < entry_count(mode); i++)
        if (is_in_use(t, i))
            refer_to_entry(vcpu, t, i, entry_of(mode, copy, i));
}

static void untrack(unsigned vcpu, uint64_t gfn, int why)
{
    table *t = &tables[gfn];
    table was = *t;
    if (!was.level)
        return;
    t->level = t->is_root = 0;
    t->references = 0;
    is_table[gfn] = 0;
    put(vcpu, TABLE_DROP, 0, why, gfn << 12, was.level);
    drops[why & 7]++;
    for (int i = 0; was.level > 1 && i < entry_count(was.mode); i++) {
        uint64_t entry = entry_of(was.mode, was.copy, i);
        if (is_in_use(&was, i) && points_down(&was, entry))
            unrefer(gfn_below(&was, entry), was.mode, was.level - 1);
    }
}

static void refer_to(unsigned vcpu, uint64_t gfn, const table *from, int index)
{
    int mode = from->mode, level = from->level - 1;
    uint64_t gva = gva_of(from, index);
    if (gfn >= frame_count || !at_gfn(gfn)) {
        outside_memory++;
        return;
    }
    table *t = &tables[gfn];
    if (t->level && (t->mode != mode || (t->level != level && !t->is_root)))
        untrack(vcpu, gfn, OTHER_USE);
    if (!t->level)
        track(vcpu, gfn, mode, level, gva);
    else if (t->level == 1 && level == 1 && !t->references)
        t->gva = gva; /* freed, and taken again as it is */
    else if (t->gva != gva || t->level != level)
        t->is_shared = 1;
    t->parent = from - tables;
    t->parent_index = index;
    if (t->references < 0xffff)
        t->references++;
    t->grace = 0;
}

/* Does the entry that pointed here last still do? */
static bool is_linked(const table *t)
{
    const table *parent = &tables[t->parent];
    if (parent->level != t->level + 1 || parent->mode != t->mode || !is_in_use(parent, t->parent_index))
        return false;
    uint64_t entry = entry_of(parent->mode, parent->copy, t->parent_index);
    return points_down(parent, entry) && gfn_below(parent, entry) == (uint64_t)(t - tables);
}

static void load_root(unsigned vcpu)
{
    const vcpu_state *cpu = &vcpus[vcpu];
    int mode = mode_of(cpu);
    if (mode == NO_PAGING)
        return;
    uint64_t gpa = root_gpa(mode, cpu->cr3), gfn = gpa >> 12;
    int level = LAYOUTS[mode].levels;
    if (gfn >= frame_count || !at_gfn(gfn))
        return;
    table *t = &tables[gfn];
    if (t->level && (t->level != level || t->mode != mode))
        untrack(vcpu, gfn, OTHER_USE);
    if (!t->level)
        track(vcpu, gfn, mode, level, 0);
    t->is_root = 1;
    t->grace = 0;
    int place = gpa >> 5 & 127;
    if (mode == PAE && !(t->roots[place >> 6] >> (place & 63) & 1)) {
        t->roots[place >> 6] |= 1ull << (place & 63);
        for (int i = place * 4; i < place * 4 + 4; i++)
            refer_to_entry(vcpu, t, i, t->copy[i]);
    }
}

static bool is_loaded(uint64_t gfn, int place)
{
    for (int i = 0; i < vcpu_count; i++) {
        if (!vcpus[i].is_up || !(vcpus[i].cr0 & CR0_PG))
            continue;
        int mode = mode_of(&vcpus[i]);
        uint64_t gpa = root_gpa(mode, vcpus[i].cr3);
        if (gpa >> 12 == gfn && (place < 0 || mode != PAE || (int)(gpa >> 5 & 127) == place))
            return true;
    }
    return false;
}

/* A place of a PAE root whose four entries are zero again is free memory. */
static void leave_pae_root(uint64_t gfn, int place)
{
    table *t = &tables[gfn];
    const uint64_t *four = t->copy + place * 4;
    if (!is_in_use(t, place * 4) || four[0] | four[1] | four[2] | four[3] || is_loaded(gfn, place))
        return;
    t->roots[place >> 6] &= ~(1ull << (place & 63));
    if (!t->roots[0] && !t->roots[1]) {
        t->is_root = 0;
        t->grace = GRACE;
    }
}

/* Is this a store of the kind that a page-table entry gets? */
static bool is_entry_store(const table *t, uint64_t gpa, int size)
{
    if (t->mode == PAE && t->level == 3)
        return true; /* other memory lies in the same page */
    int least = t->mode == PAE || t->mode == LEGACY ? 4 : 8;
    if (size == 1)
        return !(gpa & (least - 1)); /* flags, by a locked instruction */
    return size >= least && !(gpa & (least - 1));
}

static uint64_t low_word(qemu_value value)
{
    switch (value.type) {
    case 0: return value.data.u8;
    case 1: return value.data.u16;
    case 2: return value.data.u32;
    case 3: return value.data.u64;
    default: return value.data.u128.low;
    }
}

/* One entry is another than before; answers whether the page is no table any more. */
static bool entry_changed(unsigned vcpu, uint64_t gfn, int index, uint64_t old, uint64_t new)
{
    table *t = &tables[gfn];
    if (old & PRESENT && is_in_use(t, index)) {
        if (t->level == 1 && !t->is_shared)
            forget_page_of_all(gva_of(t, index));
        else
            begin_epoch_of_all();
    }
    if (t->level == 1 || !is_in_use(t, index))
        return false;
    bool pointed = points_down(t, old), points = points_down(t, new);
    if (pointed && points && gfn_below(t, old) == gfn_below(t, new))
        return false;
    if (points)
        refer_to_entry(vcpu, t, index, new);
    if (pointed)
        unrefer(gfn_below(t, old), t->mode, t->level - 1);
    if (t->mode == PAE && t->level == 3) {
        leave_pae_root(gfn, index >> 2);
        return false;
    }
    bool is_last = t->level == LAYOUTS[t->mode].levels && index == entry_count(t->mode) - 1;
    if (is_last && pointed && !points && !is_loaded(gfn, -1)) {
        untrack(vcpu, gfn, ROOT_CLEARED); /* the kernel's half is gone: the page was freed */
        return true;
    }
    return false;
}

static void store_to_table(unsigned vcpu, uint64_t gpa, int shift, qemu_value stored, bool is_user)
{
    uint64_t gfn = gpa >> 12, value = low_word(stored);
    table *t = &tables[gfn];
    int size = 1 << shift, level = t->level;
    uint8_t *page = at_gfn(gfn), *place = page + (gpa & PAGE_MASK);
    size_t word = size > 8 ? 8 : size;
    /* Memory is right: with vCPUs in threads of their own, QEMU hands over the operand of an atomic
     * read-modify-write (an AND's mask) and not what was stored. */
    if (memcmp(place, &value, word)) {
        unlike_memory++;
        value = 0;
        memcpy(&value, place, word);
    }
    bool is_aligned = !(gpa & (word - 1));
    for (size_t i = 0; i < (is_aligned ? 1 : word); i++)
        if (is_aligned)
            put(vcpu, TABLE_STORE, is_user ? USER : 0, (shift > 3 ? 3 : shift) | level << 4, gpa, value);
        else /* the format has aligned stores only */
            put(vcpu, TABLE_STORE, is_user ? USER : 0, level << 4, gpa + i, value >> 8 * i & 0xff);
    if (shift == 4) {
        memcpy(&value, place + 8, 8);
        put(vcpu, TABLE_STORE, is_user ? USER : 0, 3 | level << 4, gpa + 8, value);
    }
    int entry_shift = LAYOUTS[t->mode].entry_shift, mode = t->mode;
    int first = (gpa & PAGE_MASK) >> entry_shift, last = ((gpa & PAGE_MASK) + size - 1) >> entry_shift;
    for (int i = first; i <= last && i < entry_count(mode); i++) {
        uint64_t old = entry_of(mode, t->copy, i), new = entry_of(mode, page, i);
        memcpy((uint8_t *)t->copy + (i << entry_shift), page + (i << entry_shift), 1 << entry_shift);
        if (old != new && entry_changed(vcpu, gfn, i, old, new))
            return;
    }
    if (!is_entry_store(t, gpa, size) && !is_loaded(gfn, -1))
        untrack(vcpu, gfn, NO_ENTRY_STORED);
    else if (!t->references && !t->is_root && (!t->grace || !--t->grace)) {
        if (is_linked(t))
            t->references = 1;
        else
            untrack(vcpu, gfn, UNLINKED);
    }
}
#endif
