// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The processor, as far as paging goes (Intel SDM 3A, chapter 4): a walk of the tables KVM gave it,
 * which sets A and D, an exit for whatever they refuse; and a walk of the guest's own tables that
 * changes nothing, to tell a stale translation from a wrong one.
 */
#include <string.h>

#include "hardware.h"
#include "tlb.h"

#define PRESENT 1ULL
#define WRITABLE 2ULL
#define USER 4ULL
#define ACCESSED 0x20ULL
#define DIRTY 0x40ULL
#define LARGE 0x80ULL
#define GLOBAL 0x100ULL
#define NX (1ULL << 63)
#define FRAME 0x000ffffffffff000ULL
#define HOST_PHYS_BITS 46
#define RESERVED (((1ULL << 52) - 1) & ~((1ULL << HOST_PHYS_BITS) - 1))

#define PF_PRESENT 1
#define PF_WRITE 2
#define PF_USER 4
#define PF_RSVD 8
#define PF_FETCH 16
/* With two-dimensional paging: for the address itself, and no table on the way to it. */
#define PF_GUEST_FINAL (1ULL << 32)

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

struct rf_path rf_path;

/* The P and RSVD bits of the fault. */
static int refusal(rf_u64 spte)
{
	if (!(spte & PRESENT))
		return 0;
	return PF_PRESENT | (spte & RESERVED ? PF_RSVD : 0);
}

/*
 * -1 with the host address in *found, or the bits of the fault and in *refused what gave it. Of an
 * entry everything that may refuse is looked at in one step.
 */
static inline int walk_shadow(rf_u64 *table, int level, int count, rf_u64 gva, int kind, int user,
			      rf_u64 *found, rf_u64 *refused)
{
	rf_u64 needed = PRESENT | (kind == RF_WRITE ? WRITABLE : 0) | (user ? USER : 0);
	rf_u64 looked_at = needed | RESERVED | (kind == RF_FETCH ? NX : 0);
	rf_u64 set = ACCESSED | (kind == RF_WRITE ? DIRTY : 0), *entry, spte, inside;
	int shift = 12 + 9 * (level - 1);

	for (;; shift -= 9) {
		entry = &table[gva >> shift & 511];
		spte = *entry;
		rf_path.tables[count++] = table;
		if ((spte & looked_at) != needed) {
			rf_u64 bits = spte & PRESENT ? spte & 0xfff : 0;

			*refused = (shift - 3) / 9 | bits << 12;
			return refusal(spte);
		}
		if (shift == 12 || (spte & LARGE))
			break;
		if (!in_arena(spte))
			rf_stop("wild-table", "a shadow entry leads to a table outside memory");
		/* Most have it: what is not written stays in the caches of other cores. */
		if (!(spte & ACCESSED))
			*entry = spte | ACCESSED;
		table = (rf_u64 *)(RF_ARENA + (spte & FRAME));
	}
	if ((spte & set) != set)
		*entry = spte | set;
	rf_path.count = count;
	rf_path.is_large = shift > 12;
	inside = (1ULL << shift) - 1;
	*found = (spte & FRAME & ~inside) | (gva & inside);
	return -1;
}

/* The four entries of a PAE root have P and an address, and neither rights nor A. */
static int walk_root(rf_u64 *table, int level, rf_u64 gva, int kind, int user, rf_u64 *found,
		     rf_u64 *refused)
{
	if ((rf_u64)table - RF_ARENA >= RF_ARENA_BYTES || level < 1 || level > RF_TABLES_MAX)
		rf_stop("wild-table", "the root is a table outside memory");
	if (level == 3) {
		rf_u64 entry = table[gva >> 30 & 3];

		*refused = 3;
		if (!(entry & PRESENT))
			return 0;
		if (!in_arena(entry))
			rf_stop("wild-table", "a root's entry leads to a table outside memory");
		rf_path.tables[0] = table;
		return walk_shadow(table_at(entry), 2, 1, gva, kind, user, found, refused);
	}
	return walk_shadow(table, level, 0, gva, kind, user, found, refused);
}

static rf_u64 guest_address(rf_u64 host)
{
	rf_u64 gfn = (host >> 12) - RF_GUEST_PFN;

	if (host >> 12 < RF_GUEST_PFN || gfn >= RF_GUEST_FRAMES || !rf_has_memory(gfn))
		return OUTSIDE | host;
	return gfn << 12 | (host & 0xfff);
}

/* What a load there would give now; a load changes nothing, so most are never looked at. */
rf_u64 rf_loaded(rf_u64 gpa)
{
	return gpa & OUTSIDE ? 0 : *(rf_u64 *)(RF_RAM + (gpa & ~7ULL));
}

static int complete(rf_u64 gpa, int kind, int size, rf_u64 value, struct rf_outcome *out)
{
	out->address = gpa;
	if (kind != RF_WRITE || (gpa & OUTSIDE))
		return RF_OK;
	if (size == 8)
		*(rf_u64 *)(RF_RAM + gpa) = value;
	else
		memcpy((void *)(RF_RAM + gpa), &value, size);
	if (rf_is_logging)
		rf_note_written(gpa);
	return RF_OK;
}

/* --- the guest's own tables --------------------------------------------------------------------------- */

#define CR0_WP (1ULL << 16)
#define CR4_PSE (1ULL << 4)
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
	return level == 2 || (level == 3 && levels >= 4);
}

static rf_u64 reserved_bits(const struct rf_registers *cpu, int levels, int level, int leaf)
{
	rf_u64 mask;

	if (levels == 2)
		return leaf && level == 2 ? 1ULL << 21 : 0;
	mask = levels >= 4 ? GUEST_RESERVED : ((1ULL << 63) - 1) & ~((1ULL << 40) - 1);
	if (!(cpu->efer & EFER_NX))
		mask |= NX;
	if (level >= 4)
		mask |= LARGE;
	else if (leaf && level > 1)
		mask |= ((1ULL << (3 + 9 * level)) - 1) & ~0x1fffULL;
	return mask;
}

/*
 * A walk of the guest's tables: the address, or -1 - the code of its #PF. Of the tables themselves
 * each entry is read where `at` says that it lies, or not at all.
 */
struct walk {
	const struct rf_registers *cpu;
	int vcpu, kind, user;
	/* Where an entry lies in RF_RAM; 0: nowhere. NULL: where the guest thinks. */
	rf_u64 (*at)(struct walk *walk, rf_u64 gpa, int is_store);
	/* What the exits for the tables came to, if to no entry: RF_LIVELOCK, RF_TRIPLE. */
	int outcome;
	/* The entries that were read, and where; the leaf is the last, once it is found. */
	int count;
	rf_u64 gpas[RF_TABLES_MAX], entries[RF_TABLES_MAX];
};

static int load_entry(struct walk *walk, rf_u64 gpa, int size, rf_u64 *entry)
{
	rf_u64 place = RF_RAM + gpa;

	*entry = 0;
	if (!rf_has_memory(gpa >> 12))
		return 0;
	if (walk->at)
		place = walk->at(walk, gpa, 0);
	if (place)
		memcpy(entry, (void *)place, size);
	return !!place;
}

/* As the processor does it: after all rights are known, and never back. */
static void set_bits(struct walk *walk, rf_u64 gpa, rf_u64 entry, rf_u64 bits)
{
	rf_u64 place;

	if ((entry & bits) == bits)
		return;
	place = walk->at(walk, gpa, 1);
	if (place) {
		*(rf_u8 *)place |= bits;
		rf_note_written(gpa);
	}
}

static int guest_levels(const struct rf_registers *cpu)
{
	if (cpu->efer & EFER_LMA)
		return cpu->cr4 & CR4_LA57 ? 5 : 4;
	return cpu->cr4 & CR4_PAE ? 3 : 2;
}

static rf_s64 walk_guest(struct walk *walk, rf_u64 gva)
{
	const struct rf_registers *cpu = walk->cpu;
	int kind = walk->kind, user = walk->user, i;
	int levels, level, leaf, size, bits, may_fetch = 1;
	rf_u64 entry, rights = WRITABLE | USER, inside, address;

	if (!(cpu->cr0 & CR0_PG))
		return (rf_s64)(gva & 0xffffffffULL);
	levels = guest_levels(cpu);
	if (levels < 4)
		gva &= 0xffffffffULL;
	size = levels == 2 ? 4 : 8;
	bits = levels == 2 ? 10 : 9;
	level = levels;
	entry = cpu->cr3;
	if (levels == 3) {
		entry = cpu->pdptes[gva >> 30 & 3];
		if (!(entry & PRESENT))
			return fault(cpu, 0, kind, user);
		level = 2;
	}
	for (;; level--) {
		rf_u64 index = gva >> (12 + bits * (level - 1)) & ((1ULL << bits) - 1);
		rf_u64 gpa = (entry & (size == 4 ? 0xfffff000ULL : FRAME)) + index * size;

		if (!load_entry(walk, gpa, size, &entry) || !(entry & PRESENT))
			return fault(cpu, 0, kind, user);
		walk->gpas[walk->count] = gpa;
		walk->entries[walk->count++] = entry;
		leaf = is_leaf(cpu, levels, level, entry);
		if (entry & reserved_bits(cpu, levels, level, leaf))
			return fault(cpu, PF_PRESENT | PF_RSVD, kind, user);
		rights &= entry;
		if (size == 8 && (entry & NX))
			may_fetch = 0;
		if (leaf)
			break;
	}
	if ((user && !(rights & USER)) ||
	    (kind == RF_WRITE && (user || (cpu->cr0 & CR0_WP)) && !(rights & WRITABLE)) ||
	    (kind == RF_FETCH && !may_fetch))
		return fault(cpu, PF_PRESENT, kind, user);
	for (i = 0; walk->at && i < walk->count; i++)
		set_bits(walk, walk->gpas[i], walk->entries[i],
			 ACCESSED | (i == walk->count - 1 && kind == RF_WRITE ? DIRTY : 0));
	inside = (1ULL << (12 + bits * (level - 1))) - 1;
	address = (entry & (size == 4 ? 0xfffff000ULL : FRAME) & ~inside) | (gva & inside);
	if (size == 4 && level == 2)
		address += (entry >> 13 & 0xff) << 32;
	return (rf_s64)address;
}

rf_s64 rf_probe(int vcpu, rf_u64 gva, int kind, int user)
{
	struct rf_registers cpu;
	struct walk walk = { .cpu = &cpu, .kind = kind, .user = user };

	rf_registers(vcpu, &cpu);
	return walk_guest(&walk, gva);
}

int rf_is_global(int vcpu, rf_u64 gva)
{
	struct rf_registers cpu;
	struct walk walk = { .cpu = &cpu, .kind = RF_READ };

	rf_registers(vcpu, &cpu);
	return (cpu.cr4 & CR4_PGE) && walk_guest(&walk, gva) >= 0 && walk.count &&
	       (walk.entries[walk.count - 1] & GLOBAL);
}

/* --- an access ------------------------------------------------------------------------------------- */

/* An exit; A and D that KVM sets in the guest's tables meanwhile are stores for the guest. */
static void exit_for(int vcpu, rf_u64 address, rf_u64 code, int is_nested)
{
	struct rf_registers cpu;
	struct walk walk = { .cpu = &cpu, .kind = code & PF_WRITE ? RF_WRITE : RF_READ };
	int i;

	if (is_nested) {
		rf_page_fault(vcpu, address, code | PF_GUEST_FINAL);
		return;
	}
	if (rf_is_logging) {
		rf_registers(vcpu, &cpu);
		walk_guest(&walk, address);
	}
	rf_page_fault(vcpu, address, code);
	for (i = 0; i < walk.count; i++)
		if (*(rf_u8 *)(RF_RAM + walk.gpas[i]) != (rf_u8)walk.entries[i])
			rf_note_written(walk.gpas[i]);
}

/*
 * Where `address` (a guest's linear one, or with two-dimensional paging a physical one) lies in the
 * host, with an exit for whatever KVM's tables refuse: RF_NONE, or what the exits came to.
 */
static int translate(int vcpu, rf_u64 address, const struct rf_access *why, int is_nested,
		     rf_u64 *host, rf_u64 *refused)
{
	int kind = why->is_store ? RF_WRITE : why->is_fetch ? RF_FETCH : RF_READ;
	/* KVM's own entries are the guest's user to the processor (AMD APM 2, 15.25.5). */
	int user = is_nested ? 1 : why->user;
	rf_u64 grant = RF_TLB_GRANT(kind, user);
	int turn;

	for (turn = 0; turn < EXITS_MAX; turn++) {
		int left, levels;
		rf_u64 code, *root = rf_root(vcpu, &levels);

		if (!root) {
			int pending = rf_enter(vcpu);

			if (pending != RF_NONE) {
				rf_access.address = 0;
				rf_access.emulated = 0;
				return pending;
			}
			rf_tlb_entered(vcpu);
			root = rf_root(vcpu, &levels);
		}
		left = walk_root(root, levels, address, kind, user, host, refused);
		if (left < 0) {
			rf_tlb_granted(vcpu, address, kind, user, *host);
			return RF_NONE;
		}
		rf_tlb_refused(vcpu, address, grant);
		code = left | (why->is_store ? PF_WRITE : 0) | (user ? PF_USER : 0) |
		       (why->is_fetch ? PF_FETCH : 0);
		rf_access = *why;
		exit_for(vcpu, address, code, is_nested);
		if (rf_access.outcome == RF_PF && !is_nested)
			rf_tlb_faulted(vcpu, address, grant);
		if (rf_access.outcome != RF_NONE)
			return rf_access.outcome;
	}
	rf_access.address = *refused;
	rf_access.emulated = 0;
	return RF_LIVELOCK;
}

/* An entry of a guest's table, through KVM's tables; they are read, and written for A and D. */
static rf_u64 nested_place(struct walk *walk, rf_u64 gpa, int is_store)
{
	/* Nothing is stored by it: should KVM want to emulate it, there is nothing to emulate. */
	struct rf_access why = { .is_store = is_store, .size = 0, .outcome = RF_NONE };
	rf_u64 host, refused;
	int outcome = translate(walk->vcpu, gpa, &why, 1, &host, &refused);

	if (outcome == RF_LIVELOCK || outcome == RF_TRIPLE)
		walk->outcome = outcome;
	if (outcome != RF_NONE || guest_address(host) & OUTSIDE)
		return 0;
	return RF_RAM + guest_address(host);
}

static int ended(int code, struct rf_outcome *out)
{
	out->address = rf_access.address;
	out->emulated = rf_access.emulated;
	return code;
}

static int exit_and_try(int vcpu, rf_u64 gva, int kind, int user, int size, rf_u64 value,
			struct rf_outcome *out)
{
	struct rf_access why = {
		.is_store = kind == RF_WRITE, .is_fetch = kind == RF_FETCH, .user = user,
		.size = size, .gva = gva, .value = value, .outcome = RF_NONE,
	};
	int code;
	rf_u64 address = gva, host, refused = 0;

	if (rf_nested) {
		struct rf_registers cpu;
		struct walk walk = { .cpu = &cpu, .vcpu = vcpu, .kind = kind, .user = user,
				     .at = nested_place, .outcome = RF_NONE };
		rf_s64 found;

		rf_registers(vcpu, &cpu);
		found = walk_guest(&walk, gva);
		if (walk.outcome != RF_NONE)
			return ended(walk.outcome, out);
		if (found < 0) {
			rf_access.address = -1 - found;
			rf_access.emulated = 0;
			return ended(RF_PF, out);
		}
		address = found;
	}
	code = translate(vcpu, address, &why, rf_nested, &host, &refused);
	if (code != RF_NONE)
		return ended(code, out);
	return complete(guest_address(host), kind, size, value, out);
}

int rf_do_access(int vcpu, rf_u64 gva, int kind, int user, int size, rf_u64 value,
		 struct rf_outcome *out)
{
	int room = 8 - (int)(gva & 7), levels;
	rf_u64 *root, host, refused;

	/* A store never leaves its aligned word, whatever a trace says. */
	if (size > room)
		size = room;
	/* Nearly every access ends here: nothing is pending, and the tables allow it. */
	root = rf_nested ? NULL : rf_root(vcpu, &levels);
	if (root && walk_root(root, levels, gva, kind, user, &host, &refused) < 0) {
		rf_tlb_granted(vcpu, gva, kind, user, host);
		return complete(guest_address(host), kind, size, value, out);
	}
	return exit_and_try(vcpu, gva, kind, user, size, value, out);
}

void rf_store_nested(int vcpu, rf_u64 gpa, int size, rf_u64 value)
{
	struct rf_access why = { .is_store = 1, .size = size, .value = value, .outcome = RF_NONE };
	struct rf_outcome unused;
	rf_u64 host, refused;

	if (translate(vcpu, gpa, &why, 1, &host, &refused) == RF_NONE)
		complete(guest_address(host), RF_WRITE, size, value, &unused);
}
