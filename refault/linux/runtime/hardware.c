// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The processor, as far as paging goes (Intel SDM 3A, chapter 4): a walk of the tables KVM gave it,
 * which sets A and D, an exit for whatever they refuse; and a walk of the guest's own tables that
 * changes nothing, to tell a stale translation from a wrong one.
 */
#include <string.h>

#include "hardware.h"

#define PRESENT 1ULL
#define WRITABLE 2ULL
#define USER 4ULL
#define ACCESSED 0x20ULL
#define DIRTY 0x40ULL
#define LARGE 0x80ULL
#define NX (1ULL << 63)
#define FRAME 0x000ffffffffff000ULL
#define HOST_PHYS_BITS 46
#define RESERVED (((1ULL << 52) - 1) & ~((1ULL << HOST_PHYS_BITS) - 1))

#define PF_PRESENT 1
#define PF_WRITE 2
#define PF_USER 4
#define PF_RSVD 8
#define PF_FETCH 16

/* An access that exits so often without getting anywhere never will. */
#define EXITS_MAX 64
/* No guest frame, but where a table of KVM's led: marked, so that it equals no guest address. */
#define OUTSIDE (1ULL << 56)

static rf_u64 *table_at(rf_u64 entry)
{
	return (rf_u64 *)(RF_ARENA + (entry & FRAME & ~RESERVED));
}

static int in_arena(rf_u64 entry)
{
	return (entry & FRAME) < RF_ARENA_BYTES;
}

/* -1 with the host address in *found, or the P and RSVD bits of the fault. */
static int walk_shadow(rf_u64 *table, int level, rf_u64 gva, int kind, int user, rf_u64 *found,
		       rf_u64 *refused)
{
	for (;; level--) {
		rf_u64 *entry = &table[gva >> (3 + 9 * level) & 511];
		rf_u64 spte = *entry;

		*refused = (rf_u64)level | (spte & PRESENT ? spte & 0xfff : 0) << 12;
		if (!(spte & PRESENT))
			return 0;
		if (spte & RESERVED)
			return PF_PRESENT | PF_RSVD;
		if ((kind == RF_WRITE && !(spte & WRITABLE)) || (user && !(spte & USER)) ||
		    (kind == RF_FETCH && (spte & NX)))
			return PF_PRESENT;
		if (level == 1 || (spte & LARGE)) {
			rf_u64 inside = (1ULL << (3 + 9 * level)) - 1;

			*entry = spte | ACCESSED | (kind == RF_WRITE ? DIRTY : 0);
			*found = (spte & FRAME & ~inside) | (gva & inside);
			return -1;
		}
		if (!in_arena(spte))
			rf_stop("wild-table", "a shadow entry leads to a table outside memory");
		*entry = spte | ACCESSED;
		table = table_at(spte);
	}
}

/* The four entries of a PAE root have P and an address, and neither rights nor A. */
static int walk_root(int vcpu, rf_u64 gva, int kind, int user, rf_u64 *found, rf_u64 *refused)
{
	int level;
	rf_u64 *table = rf_root(vcpu, &level);

	if ((rf_u64)table - RF_ARENA >= RF_ARENA_BYTES)
		rf_stop("wild-table", "the root is a table outside memory");
	if (level == 3) {
		rf_u64 entry = table[gva >> 30 & 3];

		*refused = 3;
		if (!(entry & PRESENT))
			return 0;
		if (!in_arena(entry))
			rf_stop("wild-table", "a root's entry leads to a table outside memory");
		table = table_at(entry);
		level = 2;
	}
	return walk_shadow(table, level, gva, kind, user, found, refused);
}

static rf_u64 guest_address(rf_u64 host)
{
	rf_u64 gfn = (host >> 12) - RF_GUEST_PFN;

	if (host >> 12 < RF_GUEST_PFN || gfn >= RF_GUEST_FRAMES || !rf_has_memory(gfn))
		return OUTSIDE | host;
	return gfn << 12 | (host & 0xfff);
}

static struct rf_outcome complete(rf_u64 gpa, int kind, int size, rf_u64 value)
{
	struct rf_outcome outcome = { RF_OK, gpa, 0, 0 };

	if (gpa & OUTSIDE)
		return outcome;
	if (kind == RF_WRITE)
		memcpy((void *)(RF_RAM + gpa), &value, size);
	else if (kind == RF_READ)
		memcpy(&outcome.value, (void *)(RF_RAM + (gpa & ~7ULL)), 8);
	return outcome;
}

struct rf_outcome rf_do_access(int vcpu, rf_u64 gva, int kind, int user, int size, rf_u64 value)
{
	struct rf_outcome outcome = { RF_LIVELOCK, 0, 0, 0 };
	rf_u64 host, refused = 0;
	int turn, room = 8 - (int)(gva & 7);

	/* A store never leaves its aligned word, whatever a trace says. */
	if (size > room)
		size = room;

	for (turn = 0; turn < EXITS_MAX; turn++) {
		int code;

		if (rf_pending(vcpu)) {
			int pending = rf_enter(vcpu);

			if (pending != RF_NONE) {
				outcome.code = pending;
				outcome.address = 0;
				return outcome;
			}
		}
		code = walk_root(vcpu, gva, kind, user, &host, &refused);
		if (code < 0)
			return complete(guest_address(host), kind, size, value);
		code |= (kind == RF_WRITE ? PF_WRITE : 0) | (user ? PF_USER : 0) |
			(kind == RF_FETCH ? PF_FETCH : 0);
		rf_access = (struct rf_access){
			.is_store = kind == RF_WRITE, .is_fetch = kind == RF_FETCH, .user = user,
			.size = size, .gva = gva, .value = value, .outcome = RF_NONE,
		};
		rf_page_fault(vcpu, code);
		if (rf_access.outcome != RF_NONE) {
			outcome.code = rf_access.outcome;
			outcome.address = rf_access.address;
			outcome.emulated = rf_access.emulated;
			return outcome;
		}
	}
	outcome.address = refused;
	return outcome;
}

/* --- the guest's own tables --------------------------------------------------------------------------- */

#define CR0_WP (1ULL << 16)
#define CR0_PG (1ULL << 31)
#define CR4_PSE (1ULL << 4)
#define CR4_PAE (1ULL << 5)
#define EFER_LMA (1ULL << 10)
#define EFER_NX (1ULL << 11)
#define GUEST_RESERVED (((1ULL << 52) - 1) & ~((1ULL << 40) - 1))

static rf_s64 fault(const struct rf_registers *cpu, int code, int kind, int user)
{
	int tells_fetches = (cpu->efer & EFER_NX) && (cpu->cr4 & CR4_PAE);

	code |= (kind == RF_WRITE ? PF_WRITE : 0) | (user ? PF_USER : 0) |
		(kind == RF_FETCH && tells_fetches ? PF_FETCH : 0);
	return -1 - (rf_s64)code;
}

static int is_leaf(const struct rf_registers *cpu, int levels, int level, rf_u64 entry)
{
	if (level == 1 || !(entry & LARGE))
		return level == 1;
	if (levels == 2)
		return !!(cpu->cr4 & CR4_PSE);
	return level == 2 || (level == 3 && levels == 4);
}

static rf_u64 reserved_bits(const struct rf_registers *cpu, int levels, int level, int leaf)
{
	rf_u64 mask;

	if (levels == 2)
		return leaf && level == 2 ? 1ULL << 21 : 0;
	mask = levels == 4 ? GUEST_RESERVED : ((1ULL << 63) - 1) & ~((1ULL << 40) - 1);
	if (!(cpu->efer & EFER_NX))
		mask |= NX;
	if (level == 4)
		mask |= LARGE;
	else if (leaf && level > 1)
		mask |= ((1ULL << (3 + 9 * level)) - 1) & ~0x1fffULL;
	return mask;
}

rf_s64 rf_probe(int vcpu, rf_u64 gva, int kind, int user)
{
	struct rf_registers cpu;
	int levels, level, leaf, size, bits, may_fetch = 1;
	rf_u64 entry, rights = WRITABLE | USER, inside, address;

	rf_registers(vcpu, &cpu);
	if (!(cpu.cr0 & CR0_PG))
		return (rf_s64)(gva & 0xffffffffULL);
	levels = cpu.efer & EFER_LMA ? 4 : cpu.cr4 & CR4_PAE ? 3 : 2;
	if (levels != 4)
		gva &= 0xffffffffULL;
	size = levels == 2 ? 4 : 8;
	bits = levels == 2 ? 10 : 9;
	level = levels;
	entry = cpu.cr3;
	if (levels == 3) {
		entry = cpu.pdptes[gva >> 30 & 3];
		if (!(entry & PRESENT))
			return fault(&cpu, 0, kind, user);
		level = 2;
	}
	for (;; level--) {
		rf_u64 index = gva >> (12 + bits * (level - 1)) & ((1ULL << bits) - 1);
		rf_u64 gpa = (entry & (size == 4 ? 0xfffff000ULL : FRAME)) + index * size;

		if (!rf_has_memory(gpa >> 12))
			return fault(&cpu, 0, kind, user);
		entry = 0;
		memcpy(&entry, (void *)(RF_RAM + gpa), size);
		if (!(entry & PRESENT))
			return fault(&cpu, 0, kind, user);
		leaf = is_leaf(&cpu, levels, level, entry);
		if (entry & reserved_bits(&cpu, levels, level, leaf))
			return fault(&cpu, PF_PRESENT | PF_RSVD, kind, user);
		rights &= entry;
		if (size == 8 && (entry & NX))
			may_fetch = 0;
		if (leaf)
			break;
	}
	if ((user && !(rights & USER)) ||
	    (kind == RF_WRITE && (user || (cpu.cr0 & CR0_WP)) && !(rights & WRITABLE)) ||
	    (kind == RF_FETCH && !may_fetch))
		return fault(&cpu, PF_PRESENT, kind, user);
	inside = (1ULL << (12 + bits * (level - 1))) - 1;
	address = (entry & (size == 4 ? 0xfffff000ULL : FRAME) & ~inside) | (gva & inside);
	if (size == 4 && level == 2)
		address += (entry >> 13 & 0xff) << 32;
	return (rf_s64)address;
}
