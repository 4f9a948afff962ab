/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each processor may still know of tables that KVM has changed since. It decides no access:
 * it watches them, and tells where KVM owed a flush and a real processor would have noticed.
 */
#ifndef REFAULT_TLB_H
#define REFAULT_TLB_H

#include "hardware.h"

#define RF_TLB_ENTRIES 1024	/* of one page each, found by its low bits */

/*
 * tag   generation << 45 | address >> 12, of 57 bits: a flush is another generation
 * data  the host's frame in bits 12 and up; what is owed; which accesses the entry has granted
 */
struct rf_tlb_entry { rf_u64 tag, data; };

#define RF_TLB_GENERATION (1ULL << 45)
#define RF_TLB_PAGE (RF_TLB_GENERATION - 1)
#define RF_TLB_FRAME (~0xfffULL)
#define RF_TLB_GRANT(kind, user) (1ULL << ((kind) << 1 | (user)))
#define RF_TLB_LARGE 0x40ULL	/* a part of a large page: one INVLPG drops them all */
#define RF_TLB_OWED 0xf00ULL

struct rf_tlb {
	rf_u64 generation;	/* as in a tag */
	rf_u32 *walked;		/* of each page of the arena, in which generation it was last walked */
	int has_large;
	struct rf_tlb_entry entries[RF_TLB_ENTRIES];
	rf_u64 since[RF_TLB_ENTRIES];	/* the operation by which a flush was owed */
};
extern struct rf_tlb *rf_tlbs[RF_VCPUS_MAX];

int rf_tlb_open(int vcpu);	/* -1: there is no memory for it */

/* The tables refused an access. */
void rf_tlb_refused(int vcpu, rf_u64 address, rf_u64 grant);
/* The guest got a #PF that its tables gave now. */
void rf_tlb_faulted(int vcpu, rf_u64 address, rf_u64 grant);

/* What a store may, a load may; what a user may, the guest's kernel may. */
static inline rf_u64 rf_tlb_implied(int kind, int user)
{
	rf_u64 all = RF_TLB_GRANT(kind, user) | RF_TLB_GRANT(kind, 0);

	return kind == RF_WRITE ? all | RF_TLB_GRANT(RF_READ, user) | RF_TLB_GRANT(RF_READ, 0) : all;
}

/* There is an entry, but not for that: 1 if it is now. */
int rf_tlb_renewed(int vcpu, struct rf_tlb_entry *entry, rf_u64 grant, rf_u64 implied, rf_u64 frame);

/* The tables granted an access: they gave `host` for it. */
static inline void rf_tlb_granted(int vcpu, rf_u64 address, int kind, int user, rf_u64 host)
{
	rf_u64 page = address >> 12 & RF_TLB_PAGE, frame = host & RF_TLB_FRAME;
	rf_u64 grant = RF_TLB_GRANT(kind, user), implied = rf_tlb_implied(kind, user);
	struct rf_tlb *tlb = rf_tlbs[vcpu];
	struct rf_tlb_entry *entry = &tlb->entries[page % RF_TLB_ENTRIES];
	rf_u64 tag = tlb->generation | page;
	rf_u32 generation = tlb->generation / RF_TLB_GENERATION;
	int count = rf_path.count, i;

	if (entry->tag == tag) {
		/* It says the same, and nothing is owed. */
		if ((entry->data & (RF_TLB_FRAME | RF_TLB_OWED | grant)) == (frame | grant))
			return;
		if (rf_tlb_renewed(vcpu, entry, grant, implied, frame))
			return;
	}
	entry->tag = tag;
	entry->data = frame | implied | (rf_path.is_large ? RF_TLB_LARGE : 0);
	tlb->has_large |= rf_path.is_large;
	for (i = 0; i < count; i++)
		tlb->walked[((rf_u64)rf_path.tables[i] - RF_ARENA) >> 12] = generation;
}

/* By operation `index` the guest flushed: with its global pages or without, or one page. */
void rf_tlb_guest_flushed(int vcpu, int is_everything, rf_u64 index);
void rf_tlb_guest_flushed_page(int vcpu, rf_u64 address, rf_u64 index);
/* The vCPU has entered the guest: what it was asked to flush is flushed. */
void rf_tlb_entered(int vcpu);
/* By operation `index` the host took frames away, or began to log stores to them anew. */
void rf_tlb_unmapped(rf_u64 first, rf_u64 pages, rf_u64 index);
void rf_tlb_logged(rf_u64 first, rf_u64 pages, rf_u64 index);
/* A page of the kernel's own memory is given back. */
void rf_tlb_freed(rf_u64 address);

#endif
