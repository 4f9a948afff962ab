// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A TLB for each vCPU, beside the walks that decide (Intel SDM 3A, 4.10). It keeps a translation
 * until KVM flushes it, as a processor may, and tells what must not be used any more:
 *
 * - a translation that the guest flushed, where its tables give something else now;
 * - a frame that the host unmapped, or a store that a log of dirty pages was to see;
 * - a store to a guest's table that KVM shadows and takes for write-protected;
 * - a table that KVM gave back while a processor could still walk it.
 *
 * That an entry is older than KVM's tables is no fault by itself: a guest that has not flushed
 * must expect it, and KVM may wait for it.
 */
#include <string.h>
#include <sys/mman.h>

#include "hardware.h"
#include "tlb.h"

#define ARENA_PAGES (RF_ARENA_BYTES >> 12)
/* Why a flush is owed. */
#define OWED_GUEST 0x100ULL
#define OWED_UNMAPPED 0x200ULL
#define OWED_LOGGED 0x400ULL
#define WRITES (RF_TLB_GRANT(RF_WRITE, 0) | RF_TLB_GRANT(RF_WRITE, 1))

struct rf_tlb *rf_tlbs[RF_VCPUS_MAX];

/* What the guest flushed while KVM did not, until it is clear whether the next entry does. */
static struct owed { rf_u64 generation, index; int is_owed, is_everything; } owed[RF_VCPUS_MAX];

static void *memory(rf_u64 bytes)
{
	void *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return found == MAP_FAILED ? NULL : found;
}

int rf_tlb_open(int vcpu)
{
	rf_tlbs[vcpu] = memory(sizeof(struct rf_tlb));
	if (!rf_tlbs[vcpu])
		return -1;
	rf_tlbs[vcpu]->walked = memory(ARENA_PAGES * sizeof(rf_u32));
	if (!rf_tlbs[vcpu]->walked)
		return -1;
	rf_tlbs[vcpu]->generation = RF_TLB_GENERATION;
	return 0;
}

static struct rf_tlb_entry *live(int vcpu, rf_u64 address)
{
	rf_u64 page = address >> 12 & RF_TLB_PAGE;
	struct rf_tlb_entry *entry = &rf_tlbs[vcpu]->entries[page % RF_TLB_ENTRIES];

	return entry->tag == (rf_tlbs[vcpu]->generation | page) ? entry : NULL;
}

static int is_live(int vcpu, const struct rf_tlb_entry *entry)
{
	return (entry->tag & ~RF_TLB_PAGE) == rf_tlbs[vcpu]->generation;
}

static rf_u64 gfn_of(const struct rf_tlb_entry *entry)
{
	return (entry->data >> 12) - RF_GUEST_PFN;
}

/* --- flushes ------------------------------------------------------------------------------------------ */

void rf_tlb_flush(int vcpu)
{
	struct rf_tlb *tlb = rf_tlbs[vcpu];

	if (!tlb)
		return;
	tlb->generation += RF_TLB_GENERATION;
	tlb->has_large = 0;
	if (tlb->generation)
		return;
	/* Once in 2^19 flushes. */
	memset(tlb->entries, 0, sizeof(tlb->entries));
	memset(tlb->walked, 0, ARENA_PAGES * sizeof(rf_u32));
	tlb->generation = RF_TLB_GENERATION;
}

void rf_tlb_flush_page(int vcpu, rf_u64 address)
{
	struct rf_tlb_entry *entry;
	int i;

	if (!rf_tlbs[vcpu])
		return;
	entry = live(vcpu, address);
	if (entry)
		entry->tag = 0;
	/* Of which large page an entry is a part is not kept: all that may be of this one. */
	for (i = 0; rf_tlbs[vcpu]->has_large && i < RF_TLB_ENTRIES; i++) {
		entry = &rf_tlbs[vcpu]->entries[i];
		if ((entry->data & RF_TLB_LARGE) &&
		    ((entry->tag ^ address >> 12) & RF_TLB_PAGE) >> 18 == 0)
			entry->tag = 0;
	}
}

/* --- what is owed ------------------------------------------------------------------------------------- */

static void owe(int vcpu, struct rf_tlb_entry *entry, rf_u64 why, rf_u64 index)
{
	entry->data |= why;
	rf_tlbs[vcpu]->since[entry - rf_tlbs[vcpu]->entries] = index;
}

static rf_u64 since(int vcpu, const struct rf_tlb_entry *entry)
{
	return rf_tlbs[vcpu]->since[entry - rf_tlbs[vcpu]->entries];
}

static void settle(int vcpu)
{
	struct rf_tlb *tlb = rf_tlbs[vcpu];
	int i;

	owed[vcpu].is_owed = 0;
	if (tlb->generation != owed[vcpu].generation)
		return;
	for (i = 0; i < RF_TLB_ENTRIES; i++) {
		struct rf_tlb_entry *entry = &tlb->entries[i];
		rf_u64 address = (entry->tag & RF_TLB_PAGE) << 12;

		address |= address >> 56 ? 0x7fULL << 57 : 0;
		if (is_live(vcpu, entry) &&
		    (owed[vcpu].is_everything || !rf_is_global(vcpu, address)))
			owe(vcpu, entry, OWED_GUEST, owed[vcpu].index);
	}
}

void rf_tlb_guest_flushed(int vcpu, int is_everything, rf_u64 index)
{
	owed[vcpu].generation = rf_tlbs[vcpu]->generation;
	owed[vcpu].index = index;
	owed[vcpu].is_everything = is_everything;
	owed[vcpu].is_owed = 1;
	if (!rf_pending(vcpu))
		settle(vcpu);
}

void rf_tlb_guest_flushed_page(int vcpu, rf_u64 address, rf_u64 index)
{
	struct rf_tlb_entry *entry = live(vcpu, address);

	if (entry)
		owe(vcpu, entry, OWED_GUEST, index);
}

void rf_tlb_entered(int vcpu)
{
	if (owed[vcpu].is_owed)
		settle(vcpu);
}

static void owe_frames(rf_u64 first, rf_u64 pages, rf_u64 grants, rf_u64 why, rf_u64 index)
{
	int vcpu, i;

	for (vcpu = 0; vcpu < RF_VCPUS_MAX && rf_tlbs[vcpu]; vcpu++)
		for (i = 0; i < RF_TLB_ENTRIES; i++) {
			struct rf_tlb_entry *entry = &rf_tlbs[vcpu]->entries[i];

			if (is_live(vcpu, entry) && (entry->data & grants) &&
			    gfn_of(entry) - first < pages)
				owe(vcpu, entry, why, index);
		}
}

void rf_tlb_unmapped(rf_u64 first, rf_u64 pages, rf_u64 index)
{
	owe_frames(first, pages, ~0ULL, OWED_UNMAPPED, index);
}

void rf_tlb_logged(rf_u64 first, rf_u64 pages, rf_u64 index)
{
	owe_frames(first, pages, WRITES, OWED_LOGGED, index);
}

/* --- accesses ------------------------------------------------------------------------------------------ */

/*
 * What an access must not reach, whatever the tables say now: 1 if that was told. An entry that was
 * told of is dropped, so that each is told of once.
 */
static int is_owed(int vcpu, struct rf_tlb_entry *entry, rf_u64 grant)
{
	rf_u64 gfn = gfn_of(entry);

	if (!(entry->data & grant))
		return 0;
	if (entry->data & OWED_UNMAPPED) {
		rf_missed_flush(OWED_UNMAPPED, "vCPU %d can still reach gfn %#llx: the host unmapped it at "
				"operation %llu, and no flush followed", vcpu, gfn,
				since(vcpu, entry));
	} else if ((entry->data & OWED_LOGGED) && (grant & WRITES)) {
		rf_missed_flush(OWED_LOGGED, "vCPU %d can still store to gfn %#llx unseen: its slot's dirty "
				"log began anew at operation %llu, and no flush followed",
				vcpu, gfn, since(vcpu, entry));
	} else {
		return 0;
	}
	entry->tag = 0;
	return 1;
}

int rf_tlb_renewed(int vcpu, struct rf_tlb_entry *entry, rf_u64 grant, rf_u64 implied, rf_u64 frame)
{
	if (is_owed(vcpu, entry, grant))
		return 0;
	if ((entry->data & RF_TLB_FRAME) == frame) {
		entry->data |= implied;
		return 1;
	}
	if ((entry->data & OWED_GUEST) && (entry->data & grant))
		rf_missed_flush(OWED_GUEST, "vCPU %d can still reach gfn %#llx, where the guest's "
				"tables give %#llx: it flushed that at operation %llu, and KVM "
				"did not", vcpu, gfn_of(entry),
				(frame >> 12) - RF_GUEST_PFN, since(vcpu, entry));
	return 0;
}

void rf_tlb_refused(int vcpu, rf_u64 address, rf_u64 grant)
{
	struct rf_tlb_entry *entry = live(vcpu, address);

	if (!entry || is_owed(vcpu, entry, grant))
		return;
	if (!rf_nested && (grant & WRITES) && (entry->data & grant) && rf_is_shadowed(gfn_of(entry))) {
		rf_missed_flush(WRITES, "vCPU %d can still store to gfn %#llx unseen: it is a guest's table "
				"that is write-protected and in sync, and no flush followed",
				vcpu, gfn_of(entry));
		entry->tag = 0;
	}
}

void rf_tlb_faulted(int vcpu, rf_u64 address, rf_u64 grant)
{
	struct rf_tlb_entry *entry = live(vcpu, address);

	if (!entry || !(entry->data & OWED_GUEST) || !(entry->data & grant))
		return;
	rf_missed_flush(OWED_GUEST, "vCPU %d can still reach gfn %#llx, where the guest's tables give a #PF: "
			"it flushed that at operation %llu, and KVM did not",
			vcpu, gfn_of(entry), since(vcpu, entry));
	entry->tag = 0;
}

void rf_tlb_freed(rf_u64 address)
{
	rf_u64 page = (address - RF_ARENA) >> 12;
	int vcpu;

	if (rf_nested || page >= ARENA_PAGES)
		return;
	for (vcpu = 0; vcpu < RF_VCPUS_MAX && rf_tlbs[vcpu]; vcpu++) {
		struct rf_tlb *tlb = rf_tlbs[vcpu];

		if (tlb->walked[page] != tlb->generation / RF_TLB_GENERATION ||
		    rf_flush_is_pending(vcpu))
			continue;
		tlb->walked[page] = 0;
		rf_missed_flush(~0ULL, "a shadow page's table is given back while vCPU %d can still walk it: "
				"no flush followed", vcpu);
	}
}
