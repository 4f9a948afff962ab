/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each processor may still know of tables that KVM has changed since. It decides no access:
 * it watches them, and tells where KVM owed a flush and a real processor would have noticed.
 */
#ifndef REFAULT_TLB_H
#define REFAULT_TLB_H

#include "seam.h"

#define RF_TLB_ENTRIES 1024	/* of one page each, found by its low bits */

/*
 * tag   generation << 36 | address >> 12: a flush is another generation
 * data  the host's frame in bits 12 and up; what is owed; which accesses the entry has granted
 */
struct rf_tlb_entry { rf_u64 tag, data; };

#define RF_TLB_PAGE ((1ULL << 36) - 1)
#define RF_TLB_FRAME (~0xfffULL)
#define RF_TLB_GRANT(kind, user) (1ULL << ((kind) << 1 | (user)))
#define RF_TLB_LARGE 0x40ULL	/* a part of a large page: one INVLPG drops them all */
#define RF_TLB_OWED 0xf00ULL

struct rf_tlb {
	rf_u64 generation;	/* as in a tag */
	struct rf_tlb_entry entries[RF_TLB_ENTRIES];
	rf_u64 since[RF_TLB_ENTRIES];	/* the operation by which a flush was owed */
};
extern struct rf_tlb *rf_tlbs[RF_VCPUS_MAX];

int rf_tlb_open(int vcpu);	/* -1: there is no memory for it */

/* The tables gave `host` for an access that they granted; or they refused it. */
void rf_tlb_fill(int vcpu, rf_u64 address, rf_u64 grant, rf_u64 host);
void rf_tlb_refused(int vcpu, rf_u64 address, rf_u64 grant);
/* The guest got a #PF that its tables gave now. */
void rf_tlb_faulted(int vcpu, rf_u64 address, rf_u64 grant);

static inline void rf_tlb_granted(int vcpu, rf_u64 address, rf_u64 grant, rf_u64 host)
{
	rf_u64 page = address >> 12 & RF_TLB_PAGE;
	struct rf_tlb *tlb = rf_tlbs[vcpu];
	struct rf_tlb_entry *entry = &tlb->entries[page % RF_TLB_ENTRIES];

	/* Nearly every access: the entry says the same, and nothing is owed. */
	if (entry->tag == (tlb->generation | page) &&
	    (entry->data & (RF_TLB_FRAME | RF_TLB_OWED | grant)) == ((host & RF_TLB_FRAME) | grant))
		return;
	rf_tlb_fill(vcpu, address, grant, host);
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
