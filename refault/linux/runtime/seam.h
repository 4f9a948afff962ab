/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two halves of the program say to each other. One half (host.c, ops.c) is compiled with
 * the tree's headers, the other (program.c, memory.c, hardware.c) with the C library's.
 */
#ifndef REFAULT_SEAM_H
#define REFAULT_SEAM_H

typedef unsigned char rf_u8;
typedef unsigned int rf_u32;
typedef unsigned long long rf_u64;
typedef long long rf_s64;

/* --- where things lie: fixed, so that nothing depends on the machine ------------------------ */
/*
 * Guest RAM lies below PAGE_OFFSET, or KVM takes its addresses for errors. All of it lies above
 * what AddressSanitizer keeps for itself.
 */
#define RF_RAM 0x200000000000ULL	/* guest physical 0; 40 bits of it */
#define RF_ARENA 0x300000000000ULL	/* PAGE_OFFSET: host physical 0 */
#define RF_ARENA_BYTES (3ULL << 30)
#define RF_VMEMMAP 0x400000000000ULL	/* struct page of host frame 0 */
#define RF_GUEST_PFN 0x400000ULL	/* host frame of guest frame 0: 16 GiB */
#define RF_GUEST_FRAMES (1ULL << 28)

#define RF_VCPUS_MAX 64
#define RF_SLOTS_MAX 36	/* refault/trace/format.py, MAX_SLOTS */

/* --- outcomes: refault/replay/outcomes.py ---------------------------------------------------- */
enum {
	RF_NONE, RF_OK, RF_PF, RF_PF_DIRECT, RF_MMIO, RF_FAIL, RF_GP, RF_LIVELOCK, RF_TRIPLE, RF_RETURN
};

/* --- the kernel half ------------------------------------------------------------------------- */
struct rf_options {
	rf_u32 tdp;
	rf_u32 host_level;	/* 1..3: at least this large are the host's pages */
};

const char *rf_init(const struct rf_options *options);	/* NULL, or what failed */
extern int rf_current;	/* the vCPU that runs, or -1: the host */
int rf_create_vcpu(int vcpu);
int rf_set_slot(int slot, rf_u64 base_gfn, rf_u64 pages, int log);	/* pages 0: delete */
void rf_host_level(rf_u64 base_gfn, rf_u64 pages, int level);
void rf_dirty_log(int slot, rf_u64 pages);
/* -1: it has no log. Of the pages in `written`, one bit each, how many it lacks is in *lost. */
long rf_get_dirty_log(int slot, rf_u64 pages, const rf_u64 *written, rf_u64 *content, rf_u64 *lost);
void rf_change_limit(rf_u64 pages);
void rf_zap_all(void);
long rf_shrink(long pages);
int rf_unmap(rf_u64 gfn, rf_u64 pages);
int rf_age(rf_u64 gfn);
void rf_change_pte(rf_u64 gfn, int writable);
int rf_unshadow(rf_u64 gfn);
int rf_unprotect(int vcpu, rf_u64 gva);

void rf_boot(int vcpu, rf_u64 cr0, rf_u64 cr3, rf_u64 cr4, rf_u64 efer);
int rf_set_sregs(int vcpu, rf_u64 cr0, rf_u64 cr3, rf_u64 cr4, rf_u64 efer);	/* 1: refused */
int rf_set_cr0(int vcpu, rf_u64 value);		/* 1: #GP */
int rf_set_cr3(int vcpu, rf_u64 value);
int rf_set_cr4(int vcpu, rf_u64 value);
int rf_set_efer(int vcpu, rf_u64 value);
void rf_invlpg(int vcpu, rf_u64 gva);
int rf_enter(int vcpu);				/* RF_NONE, RF_TRIPLE or RF_LIVELOCK */

/*
 * The processor's view: the table its paging starts from, and how many levels there are; NULL
 * while something is pending that an entry must serve first.
 */
rf_u64 *rf_root(int vcpu, int *levels);
int rf_pending(int vcpu);
int rf_flush_is_pending(int vcpu);
/* Is that a guest's table whose shadow page KVM takes for equal to it? */
int rf_is_shadowed(rf_u64 gfn);

/* An exit for a #PF the shadow tables gave. What came of it stands in rf_access. */
struct rf_access {
	int is_store, is_fetch, user, size;
	rf_u64 gva, value;
	int outcome;		/* RF_NONE: try again */
	rf_u64 address;		/* reached, or the #PF code */
	int emulated;
};
extern struct rf_access rf_access;
void rf_page_fault(int vcpu, rf_u64 address, rf_u64 code);
/* A store to guest memory that no mapping is known for. */
void rf_store_unmapped(int vcpu, rf_u64 gpa, int size, rf_u64 value);

struct rf_registers { rf_u64 cr0, cr3, cr4, efer, pdptes[4]; };
void rf_registers(int vcpu, struct rf_registers *registers);

int rf_counter_count(void);
void rf_counter(int index, const char **name, rf_u64 *value);
/* The shadow pages: one line of numbers each, in no order. */
struct rf_page { rf_u64 gfn; rf_u32 role, unsync, root_count, present; };
int rf_pages(struct rf_page *pages, int max);

/* What a vCPU's processor is told to forget (tlb.c). */
void rf_tlb_flush(int vcpu);
void rf_tlb_flush_page(int vcpu, rf_u64 address);

/* A trap at rip: 0 none of ours, 1 a warning (go on after *length bytes), 2 a BUG. */
int rf_trap(rf_u64 rip, const char **file, int *line, int *length);

/* --- the program half ------------------------------------------------------------------------ */
extern int rf_nested;			/* two-dimensional paging: the guest's tables are its own */
extern int rf_is_captured;		/* by an emulator, from a real guest */
extern int rf_has_la57;			/* the guest's processor can have five levels of tables */
extern int rf_is_setup;			/* until then a missing function answers 0 */
void rf_stop(const char *kind, const char *text) __attribute__((noreturn));
void rf_missing(const char *name);
/* A flush that KVM owed; `which` is one number for each reason. */
void rf_missed_flush(rf_u64 which, const char *format, ...) __attribute__((format(printf, 2, 3)));
int rf_has_memory(rf_u64 gfn);
/* Memory changed for the guest: whoever logs it must tell. */
extern int rf_is_logging;		/* how many slots are logged */
void rf_note_written(rf_u64 gpa);
void *rf_alloc(unsigned long bytes);
void rf_free(const void *address);
void *rf_alloc_pages(unsigned int order);
void rf_free_pages(unsigned long address, unsigned int order);

#endif
