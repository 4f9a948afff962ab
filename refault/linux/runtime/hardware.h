/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processor: accesses through KVM's tables, and walks of the guest's own. */
#ifndef REFAULT_HARDWARE_H
#define REFAULT_HARDWARE_H

#include "seam.h"

#define CR0_PG (1ULL << 31)
#define CR4_PAE (1ULL << 5)
#define CR4_PGE (1ULL << 7)
#define CR4_LA57 (1ULL << 12)

enum { RF_READ, RF_WRITE, RF_FETCH };

struct rf_outcome { rf_u64 address, value; int emulated; rf_u64 judged; };

/* One access, with all the exits it takes; size in bytes, inside one aligned word. Its code. */
int rf_do_access(int vcpu, rf_u64 gva, int kind, int user, int size, rf_u64 value,
		 struct rf_outcome *out);
/* The word that a load from a guest physical address gives now. */
rf_u64 rf_loaded(rf_u64 gpa);
/* A store to a guest physical address, with two-dimensional paging. */
void rf_store_nested(int vcpu, rf_u64 gpa, int size, rf_u64 value);
/* What a walk of the guest's own tables gives now, nothing changed: gpa, or -1 - #PF code. */
rf_s64 rf_probe(int vcpu, rf_u64 gva, int kind, int user);
/* Does the guest map that now, as a page that a load of CR3 does not flush? */
int rf_is_global(int vcpu, rf_u64 gva);

#define RF_TABLES_MAX 5
/* The last walk that found a page: the tables of KVM's on the way, from the root on. */
extern struct rf_path { int count, is_large; rf_u64 *tables[RF_TABLES_MAX]; } rf_path;

#endif
