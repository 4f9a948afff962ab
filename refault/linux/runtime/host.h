/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What host.c and ops.c share: the one VM, its vCPUs, and who runs. */
#ifndef REFAULT_HOST_H
#define REFAULT_HOST_H

#include "capabilities.h"
#include "seam.h"

/* --- spelt one way in one release, another way in the next ------------------------------------- */

#if RF_HAS_CPUID_ENTRY_INDEX
#define RF_CPUID_INDEX
#else
#define RF_CPUID_INDEX , u32 index
#endif

#if RF_HAS_SHRINKER_NAME
#define RF_SHRINKER_NAME , const char *format, ...
#else
#define RF_SHRINKER_NAME
#endif

#if RF_HAS_INJECT_FROM_HARDWARE
#define RF_INJECT_FROM , bool from_hardware
#else
#define RF_INJECT_FROM
#endif

#if RF_HAS_LOAD_PDPTRS_MMU
#define RF_LOAD_PDPTRS(vcpu, cr3) load_pdptrs(vcpu, (vcpu)->arch.walk_mmu, cr3)
#else
#define RF_LOAD_PDPTRS(vcpu, cr3) load_pdptrs(vcpu, cr3)
#endif

#if RF_HAS_PDPTRS_OF_VCPU
#define RF_PDPTRS(vcpu) ((vcpu)->arch.pdptrs)
#else
#define RF_PDPTRS(vcpu) ((vcpu)->arch.mmu->pdptrs)
#endif

#if RF_HAS_WRITE_PHYS
#define RF_WRITE_PHYS(vcpu, gpa, value, bytes) emulator_write_phys(vcpu, gpa, value, bytes)
#else
#include "mmu/page_track.h"
#define RF_WRITE_PHYS(vcpu, gpa, value, bytes) \
	do { \
		kvm_vcpu_write_guest(vcpu, gpa, value, bytes); \
		kvm_page_track_write(vcpu, gpa, value, bytes); \
	} while (0)
#endif

#if RF_HAS_EMULATE_MSR_WRITE
#define RF_SET_MSR(vcpu, msr, value) kvm_emulate_msr_write(vcpu, msr, value)
#else
#define RF_SET_MSR(vcpu, msr, value) kvm_set_msr(vcpu, msr, value)
#endif

#if RF_HAS_ROOT_INFO
#define RF_ROOT_HPA(vcpu) ((vcpu)->arch.mmu->root.hpa)
#else
#define RF_ROOT_HPA(vcpu) ((vcpu)->arch.mmu->root_hpa)
#endif

#if RF_HAS_ROOT_ROLE
#define RF_ROOT_LEVEL(vcpu) ((vcpu)->arch.mmu->root_role.level)
#else
#define RF_ROOT_LEVEL(vcpu) ((vcpu)->arch.mmu->shadow_root_level)
#endif

#if RF_HAS_UNSYNC_OF_VCPU
#define RF_UNSYNC_WHOSE(vcpu) (vcpu)
#else
#define RF_UNSYNC_WHOSE(vcpu) ((vcpu)->kvm)
#endif

#if RF_HAS_UNSYNC_IN_SLOT
#define RF_TRY_TO_UNSYNC(vcpu, gfn) \
	mmu_try_to_unsync_pages(RF_UNSYNC_WHOSE(vcpu), gfn_to_memslot(rf_kvm, gfn), gfn, true, \
				false)
#elif RF_HAS_TRY_TO_UNSYNC
#define RF_TRY_TO_UNSYNC(vcpu, gfn) mmu_try_to_unsync_pages(RF_UNSYNC_WHOSE(vcpu), gfn, true)
#else
#define RF_TRY_TO_UNSYNC(vcpu, gfn) mmu_need_write_protect(vcpu, gfn, true)
#endif

#if RF_HAS_MMU_RWLOCK
#define RF_LOCK_MMU() write_lock(&rf_kvm->mmu_lock)
#define RF_UNLOCK_MMU() write_unlock(&rf_kvm->mmu_lock)
#else
#define RF_LOCK_MMU() spin_lock(&rf_kvm->mmu_lock)
#define RF_UNLOCK_MMU() spin_unlock(&rf_kvm->mmu_lock)
#endif

#if RF_HAS_FORCED_ROOT_LEVEL
#define RF_CONFIGURE_MMU(levels) kvm_configure_mmu((levels) > 0, levels, levels, PG_LEVEL_1G)
#else
#define RF_CONFIGURE_MMU(levels) kvm_configure_mmu((levels) > 0, levels, PG_LEVEL_1G)
#endif

#if RF_HAS_RESERVED_GPA_BITS
#define RF_CR3_RESERVED(vcpu) ((vcpu)->arch.reserved_gpa_bits)
#else
#define RF_CR3_RESERVED(vcpu) ((vcpu)->arch.cr3_lm_rsvd_bits)
#endif

/* Once it came from Hyper-V's interface alone. */
#ifdef KVM_REQ_TLB_FLUSH_GUEST
#define RF_REQ_FLUSH_GUEST KVM_REQ_TLB_FLUSH_GUEST
#else
#define RF_REQ_FLUSH_GUEST KVM_REQ_HV_TLB_FLUSH
#endif

#ifndef INVALID_GPA
#define INVALID_GPA (~(gpa_t)0)
#endif

#if RF_HAS_STATS_NAME_IN_DESC
#define RF_STATS_DESC kvm_stats_desc
#else
#define RF_STATS_DESC _kvm_stats_desc
#endif

extern struct kvm *rf_kvm;
extern struct kvm_vcpu *rf_vcpus[RF_VCPUS_MAX];
extern int rf_vcpu_count;
extern unsigned long rf_flush_calls;
extern struct shrinker *rf_shrinker;

long rf_vm_ioctl(unsigned int request, void *argument);
void rf_set_up_vcpu(struct kvm_vcpu *vcpu);

#endif
