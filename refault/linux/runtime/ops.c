// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the program asks of the tree's code: operations of the host and of a vCPU, through the
 * interfaces that userspace, the vendor module and the memory management use.
 */
#include <linux/kvm_host.h>
#include <linux/mmu_notifier.h>
#include <linux/shrinker.h>
#include <linux/kvm.h>
#include <linux/bug.h>
#include <linux/fs.h>

#include "x86.h"
#include "mmu.h"
#include "mmu/mmu_internal.h"
#include "host.h"

/* Turns of one entry: a reload may ask for another one, and then nothing is left to do. */
#define ENTRIES_MAX 8

/* --- operations of the host ------------------------------------------------------------------------ */

int rf_create_vcpu(int index)
{
	long result = rf_vm_ioctl(KVM_CREATE_VCPU, (void *)(long)index);

	if (result >= 0)
		rf_vcpus[index] = kvm_get_vcpu(rf_kvm, index);
	if (result < 0 || !rf_vcpus[index])
		return -1;
	rf_set_up_vcpu(rf_vcpus[index]);
	rf_vcpu_count = index + 1;
	return 0;
}

int rf_set_slot(int slot, rf_u64 base_gfn, rf_u64 pages, int log)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = base_gfn << PAGE_SHIFT,
		.memory_size = pages << PAGE_SHIFT,
		.userspace_addr = RF_RAM + (base_gfn << PAGE_SHIFT),
	};

	return rf_vm_ioctl(KVM_SET_USER_MEMORY_REGION, &region) < 0;
}

void rf_dirty_log(int slot, rf_u64 pages)
{
	struct kvm_dirty_log log = { .slot = slot };

	log.dirty_bitmap = rf_alloc(ALIGN(pages, BITS_PER_LONG) / 8);
	rf_vm_ioctl(KVM_GET_DIRTY_LOG, &log);
	rf_free(log.dirty_bitmap);
}

/* How many pages are dirty; which, as one number: refault/engines/shadow/kvm/dirty.py. */
long rf_get_dirty_log(int slot, rf_u64 pages, const rf_u64 *written, rf_u64 *content, rf_u64 *lost)
{
	unsigned long words = ALIGN(pages, BITS_PER_LONG) / BITS_PER_LONG, i, bit;
	struct kvm_dirty_log log = { .slot = slot };
	unsigned long *bits = rf_alloc(words * sizeof(long));
	long count = 0;

	log.dirty_bitmap = bits;
	*content = 0;
	*lost = 0;
	if (rf_vm_ioctl(KVM_GET_DIRTY_LOG, &log) < 0)
		count = -1;
	for (i = 0; count >= 0 && written && i < words; i++) {
		rf_u64 missing = written[i] & ~bits[i];

		for (; missing; missing &= missing - 1)
			++*lost;
	}
	for (i = 0; count >= 0 && i < words; i++)
		for (bit = 0; bits[i] && bit < BITS_PER_LONG; bit++)
			if (bits[i] >> bit & 1) {
				*content = (*content * 1000003 + i * BITS_PER_LONG + bit + 1) %
					   0x7fffffff;
				count++;
			}
	rf_free(bits);
	return count;
}

void rf_change_limit(rf_u64 pages)
{
	rf_vm_ioctl(KVM_SET_NR_MMU_PAGES, (void *)(unsigned long)pages);
}

void rf_zap_all(void)
{
	kvm_arch_flush_shadow_all(rf_kvm);
}

long rf_shrink(long pages)
{
	struct shrink_control control = { .nr_to_scan = pages };

	if (!rf_shrinker)
		return -1;
	if (pages)
		rf_shrinker->scan_objects(rf_shrinker, &control);
	control.nr_to_scan = 0;
	return rf_shrinker->count_objects(rf_shrinker, &control);
}

static void invalidate(rf_u64 gfn, rf_u64 pages, bool is_start)
{
	struct mmu_notifier *notifier = &rf_kvm->mmu_notifier;
	struct mmu_notifier_range range = {
		.start = RF_RAM + (gfn << PAGE_SHIFT),
		.end = RF_RAM + ((gfn + pages) << PAGE_SHIFT),
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};

	if (is_start)
		notifier->ops->invalidate_range_start(notifier, &range);
	else
		notifier->ops->invalidate_range_end(notifier, &range);
}

int rf_unmap(rf_u64 gfn, rf_u64 pages)
{
	unsigned long flushes = rf_flush_calls;

	invalidate(gfn, pages, true);
	invalidate(gfn, pages, false);
	return rf_flush_calls != flushes;
}

int rf_age(rf_u64 gfn)
{
	struct mmu_notifier *notifier = &rf_kvm->mmu_notifier;
	unsigned long at = RF_RAM + (gfn << PAGE_SHIFT);

	return notifier->ops->clear_flush_young(notifier, rf_kvm->mm, at, at + PAGE_SIZE);
}

void rf_change_pte(rf_u64 gfn, int writable)
{
	invalidate(gfn, 1, true);
#if RF_HAS_CHANGE_PTE
	{
		struct mmu_notifier *notifier = &rf_kvm->mmu_notifier;
		unsigned long bits = _PAGE_PRESENT | _PAGE_USER | (writable ? _PAGE_RW : 0);

		notifier->ops->change_pte(notifier, rf_kvm->mm, RF_RAM + (gfn << PAGE_SHIFT),
					  pfn_pte(RF_GUEST_PFN + gfn, __pgprot(bits)));
	}
#endif
	invalidate(gfn, 1, false);
}

int rf_unshadow(rf_u64 gfn)
{
#if RF_HAS_UNPROTECT_PAGE
	kvm_mmu_unprotect_page(rf_kvm, gfn);
	return 0;
#else
	return -1;
#endif
}

int rf_unprotect(int vcpu, rf_u64 gva)
{
#if RF_HAS_UNPROTECT_PAGE
	gpa_t gpa = kvm_mmu_gva_to_gpa_read(rf_vcpus[vcpu], gva, NULL);

	return gpa == INVALID_GPA ? 0 : kvm_mmu_unprotect_page(rf_kvm, gpa >> PAGE_SHIFT);
#else
	return __kvm_mmu_unprotect_gfn_and_retry(rf_vcpus[vcpu], gva, true);
#endif
}

/* --- registers of a vCPU ------------------------------------------------------------------------------ */

/*
 * Where a guest was captured, the emulator has set A in the four entries that PAE's CR3 leads to. No
 * processor does, and kernels of today refuse an entry that has it (Intel SDM 3A, table 4-8).
 */
static void take_back_accessed(rf_u64 cr0, rf_u64 cr3, rf_u64 cr4, rf_u64 efer)
{
	rf_u64 *entries = (rf_u64 *)(RF_RAM + (cr3 & 0xffffffe0ULL));
	int i;

	if (!rf_is_captured || !(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || (efer & (EFER_LME | EFER_LMA)) ||
	    !rf_has_memory((cr3 & 0xffffffffULL) >> PAGE_SHIFT))
		return;
	for (i = 0; i < 4; i++)
		entries[i] &= ~(rf_u64)PT_ACCESSED_MASK;
}

void rf_boot(int index, rf_u64 cr0, rf_u64 cr3, rf_u64 cr4, rf_u64 efer)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];

	rf_current = index;
	take_back_accessed(cr0, cr3, cr4, efer);
	vcpu->arch.cr0 = cr0 | X86_CR0_ET;
	vcpu->arch.cr3 = cr3;
	vcpu->arch.cr4 = cr4;
	vcpu->arch.efer = efer;
	if ((cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !(efer & EFER_LMA))
		RF_LOAD_PDPTRS(vcpu, cr3);
	kvm_mmu_reset_context(vcpu);
}

/* As userspace sets them, after a migration say; segments and the interrupt controller stay zero. */
int rf_set_sregs(int index, rf_u64 cr0, rf_u64 cr3, rf_u64 cr4, rf_u64 efer)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];
	struct kvm_sregs sregs = { .cr0 = cr0, .cr3 = cr3, .cr4 = cr4, .efer = efer };

	rf_current = index;
	take_back_accessed(cr0, cr3, cr4, efer);
	sregs.apic_base = vcpu->arch.apic_base;
	sregs.cs.l = !!(efer & EFER_LMA);
	return kvm_arch_vcpu_ioctl_set_sregs(vcpu, &sregs) < 0;
}

int rf_set_cr0(int vcpu, rf_u64 value)
{
	struct kvm_vcpu_arch *arch = &rf_vcpus[vcpu]->arch;

	take_back_accessed(value, arch->cr3, arch->cr4, arch->efer);
	return !!kvm_set_cr0(rf_vcpus[vcpu], value);
}

/* Nobody intercepts it where the guest's tables are the guest's own: the processor loads it. */
static int load_nested_cr3(struct kvm_vcpu *vcpu, rf_u64 value)
{
	if ((vcpu->arch.efer & EFER_LMA) && (value & RF_CR3_RESERVED(vcpu)))
		return 1;
	vcpu->arch.cr3 = value;
	if ((vcpu->arch.cr0 & X86_CR0_PG) && (vcpu->arch.cr4 & X86_CR4_PAE) &&
	    !(vcpu->arch.efer & EFER_LMA))
		return !RF_LOAD_PDPTRS(vcpu, value);
	return 0;
}

int rf_set_cr3(int vcpu, rf_u64 value)
{
	struct kvm_vcpu_arch *arch = &rf_vcpus[vcpu]->arch;

	take_back_accessed(arch->cr0, value, arch->cr4, arch->efer);
	if (rf_nested)
		return load_nested_cr3(rf_vcpus[vcpu], value);
	return !!kvm_set_cr3(rf_vcpus[vcpu], value);
}

int rf_set_cr4(int vcpu, rf_u64 value)
{
	struct kvm_vcpu_arch *arch = &rf_vcpus[vcpu]->arch;

	take_back_accessed(arch->cr0, arch->cr3, value, arch->efer);
	return !!kvm_set_cr4(rf_vcpus[vcpu], value);
}

int rf_set_efer(int vcpu, rf_u64 value)
{
	return !!RF_SET_MSR(rf_vcpus[vcpu], MSR_EFER, value);
}

void rf_invlpg(int vcpu, rf_u64 gva)
{
	if (!rf_nested)
		kvm_mmu_invlpg(rf_vcpus[vcpu], gva);
}

/* --- entering the guest, and leaving it for a #PF ------------------------------------------------------- */

static void flush_all(struct kvm_vcpu *vcpu)
{
	++vcpu->stat.tlb_flush;
	rf_tlb_flush(vcpu->vcpu_id);
#ifdef KVM_REQ_TLB_FLUSH_CURRENT
	kvm_clear_request(KVM_REQ_TLB_FLUSH_CURRENT, vcpu);
#endif
}

#if RF_HAS_LOCAL_FLUSHES
static void flush_local(struct kvm_vcpu *vcpu)
{
	kvm_service_local_tlb_flush_requests(vcpu);
}
#else
/* Part of x86.c's own entry there. */
static void flush_local(struct kvm_vcpu *vcpu)
{
	if (kvm_check_request(KVM_REQ_TLB_FLUSH_CURRENT, vcpu)) {
		++vcpu->stat.tlb_flush;
		rf_tlb_flush(vcpu->vcpu_id);
	}
	if (!kvm_check_request(RF_REQ_FLUSH_GUEST, vcpu))
		return;
	++vcpu->stat.tlb_flush;
	rf_tlb_flush(vcpu->vcpu_id);
#if RF_HAS_GUEST_FLUSH_UNLOADS
	if (!tdp_enabled)
		kvm_mmu_unload(vcpu);
#elif RF_HAS_GUEST_FLUSH_SYNCS
	if (!tdp_enabled) {
		kvm_mmu_sync_roots(vcpu);
		kvm_mmu_sync_prev_roots(vcpu);
	}
#endif
}
#endif

/*
 * What is pending is served in the order in which x86.c's own entry serves it: roots that are
 * obsolete, syncs, a new table, then flushes; and the roots are loaded at the end.
 */
int rf_enter(int index)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];
	int turn;

	rf_current = index;
	for (turn = 0; turn < ENTRIES_MAX; turn++) {
#ifdef KVM_REQ_MMU_FREE_OBSOLETE_ROOTS
		if (kvm_check_request(KVM_REQ_MMU_FREE_OBSOLETE_ROOTS, vcpu))
			kvm_mmu_free_obsolete_roots(vcpu);
#else
		if (kvm_check_request(KVM_REQ_MMU_RELOAD, vcpu))
			kvm_mmu_unload(vcpu);
#endif
		if (kvm_check_request(KVM_REQ_MMU_SYNC, vcpu))
			kvm_mmu_sync_roots(vcpu);
		if (kvm_check_request(KVM_REQ_LOAD_MMU_PGD, vcpu))
			kvm_mmu_load_pgd(vcpu);
		if (kvm_check_request(KVM_REQ_TLB_FLUSH, vcpu))
			flush_all(vcpu);
		flush_local(vcpu);
		if (kvm_check_request(KVM_REQ_TRIPLE_FAULT, vcpu))
			return RF_TRIPLE;
		WRITE_ONCE(vcpu->requests, 0);
		if (kvm_mmu_reload(vcpu) == 0 && !vcpu->requests)
			return RF_NONE;
	}
	return RF_LIVELOCK;
}

int rf_pending(int index)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];

	return vcpu->requests || !VALID_PAGE(RF_ROOT_HPA(vcpu));
}

int rf_flush_is_pending(int index)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];

#ifdef KVM_REQ_TLB_FLUSH_CURRENT
	if (kvm_test_request(KVM_REQ_TLB_FLUSH_CURRENT, vcpu))
		return 1;
#endif
	return kvm_test_request(KVM_REQ_TLB_FLUSH, vcpu) ||
	       kvm_test_request(RF_REQ_FLUSH_GUEST, vcpu);
}

rf_u64 *rf_root(int index, int *levels)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];

	if (vcpu->requests || !VALID_PAGE(RF_ROOT_HPA(vcpu)))
		return NULL;
	*levels = RF_ROOT_LEVEL(vcpu);
	return __va(RF_ROOT_HPA(vcpu));
}

void rf_page_fault(int index, rf_u64 address, rf_u64 code)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];

	++vcpu->stat.exits;
	kvm_mmu_page_fault(vcpu, address, code, NULL, 0);
}

void rf_store_unmapped(int index, rf_u64 gpa, int size, rf_u64 value)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];
	int is_guarded;

	RF_LOCK_MMU();
	rf_note_written(gpa);
	is_guarded = RF_TRY_TO_UNSYNC(vcpu, gpa >> PAGE_SHIFT);
	RF_UNLOCK_MMU();
	if (is_guarded)
		RF_WRITE_PHYS(vcpu, gpa, (void *)&value, size);
	else
		memcpy((void *)(RF_RAM + gpa), &value, size);
}

void rf_registers(int index, struct rf_registers *registers)
{
	struct kvm_vcpu *vcpu = rf_vcpus[index];
	int i;

	registers->cr0 = vcpu->arch.cr0;
	registers->cr3 = vcpu->arch.cr3;
	registers->cr4 = vcpu->arch.cr4;
	registers->efer = vcpu->arch.efer;
	for (i = 0; i < 4; i++)
		registers->pdptes[i] = RF_PDPTRS(vcpu)[i];
}

/* --- counters: the tree's own tables of statistics -------------------------------------------------------- */

#if RF_HAS_STATS_DESC
static const void *descriptor(int index, const struct kvm_stats_desc **desc, const char **name)
{
	const struct RF_STATS_DESC *found;
	int is_vm = index < kvm_vm_stats_header.num_desc;

	found = is_vm ? &kvm_vm_stats_desc[index]
		      : &kvm_vcpu_stats_desc[index - kvm_vm_stats_header.num_desc];
	*desc = (const void *)found;
	*name = found->name;
	return is_vm ? rf_kvm : NULL;
}

int rf_counter_count(void)
{
	return kvm_vm_stats_header.num_desc + kvm_vcpu_stats_header.num_desc;
}

void rf_counter(int index, const char **name, rf_u64 *value)
{
	const struct kvm_stats_desc *desc;
	const void *is_vm = descriptor(index, &desc, name);
	int i;

	*value = 0;
	if (desc->size != 1) {
		*name = NULL;	/* a histogram */
		return;
	}
	if (is_vm) {
		*value = *(u64 *)((char *)&rf_kvm->stat + desc->offset);
		return;
	}
	for (i = 0; i < rf_vcpu_count; i++)
		*value += *(u64 *)((char *)&rf_vcpus[i]->stat + desc->offset);
}
#else
/* Older trees: what debugfs shows, each by its name and by where in a VM or a vCPU it lies. */
int rf_counter_count(void)
{
	int count = 0;

	while (debugfs_entries[count].name)
		count++;
	return count;
}

void rf_counter(int index, const char **name, rf_u64 *value)
{
	const struct kvm_stats_debugfs_item *item = &debugfs_entries[index];
	int i;

	*name = item->name;
	*value = 0;
	if (item->kind == KVM_STAT_VM) {
		*value = *(unsigned long *)((char *)rf_kvm + item->offset);
		return;
	}
	for (i = 0; i < rf_vcpu_count; i++)
		*value += *(u64 *)((char *)rf_vcpus[i] + item->offset);
}
#endif

/* --- shadow pages --------------------------------------------------------------------------------------------- */

int rf_is_shadowed(rf_u64 gfn)
{
	struct kvm_mmu_page *sp;

	list_for_each_entry(sp, &rf_kvm->arch.active_mmu_pages, link)
		if (sp->gfn == gfn && !sp->unsync && !sp->role.direct && !sp->role.invalid)
			return 1;
	return 0;
}

int rf_pages(struct rf_page *pages, int max)
{
	struct kvm_mmu_page *sp;
	int count = 0, i;

	list_for_each_entry(sp, &rf_kvm->arch.active_mmu_pages, link) {
		if (count == max)
			return -1;
		pages[count].gfn = sp->gfn;
		pages[count].role = sp->role.word;
		pages[count].unsync = sp->unsync;
		pages[count].root_count = sp->root_count;
		pages[count].present = 0;
		for (i = 0; i < 512; i++)
			pages[count].present += !!(sp->spt[i] & PT_PRESENT_MASK);
		count++;
	}
	return count;
}

/* --- WARN and BUG: an undefined instruction, and a table that says where ---------------------------------------- */

extern struct bug_entry __start___bug_table[], __stop___bug_table[];

int rf_trap(rf_u64 rip, const char **file, int *line, int *length)
{
	struct bug_entry *bug;

	for (bug = __start___bug_table; bug < __stop___bug_table; bug++) {
		if ((rf_u64)((long)&bug->bug_addr_disp + bug->bug_addr_disp) != rip)
			continue;
		*file = (const char *)((long)&bug->file_disp + bug->file_disp);
		*line = bug->line;
		*length = 2;
		if (!(bug->flags & BUGFLAG_WARNING))
			return 2;
		if ((bug->flags & BUGFLAG_ONCE) && (bug->flags & BUGFLAG_DONE))
			return 3;
		bug->flags |= BUGFLAG_DONE;
		return 1;
	}
	return 0;
}
