// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the rest of a kernel would answer, where one answer is always right here: there is one
 * processor, one process and no time, and nobody to wait for. Known to the tree by name and calling
 * convention alone, so one definition serves every release. What is not here, in memory.c or in
 * host.c stops a run by its name (rf_missing).
 */
#include "seam.h"

#define ALIAS(name, of) __typeof__(of) name __attribute__((alias(#of)))

long rf_nothing(void)
{
	return 0;
}

/* Locks: free. */
ALIAS(mutex_lock, rf_nothing);
ALIAS(mutex_unlock, rf_nothing);
ALIAS(mutex_lock_killable, rf_nothing);
ALIAS(__mutex_init, rf_nothing);
ALIAS(mutex_init_generic, rf_nothing);
ALIAS(down_read, rf_nothing);
ALIAS(up_read, rf_nothing);
ALIAS(down_write, rf_nothing);
ALIAS(up_write, rf_nothing);
ALIAS(__init_rwsem, rf_nothing);

/* Grace periods: over. */
ALIAS(synchronize_srcu, rf_nothing);
ALIAS(synchronize_srcu_expedited, rf_nothing);
ALIAS(synchronize_rcu, rf_nothing);
ALIAS(__srcu_read_unlock, rf_nothing);
ALIAS(init_srcu_struct, rf_nothing);
ALIAS(rcu_barrier, rf_nothing);

void call_rcu(void *head, void (*function)(void *head))
{
	function(head);
}

/* The processor: nobody else wants it. */
ALIAS(__cond_resched, rf_nothing);
ALIAS(__cond_resched_lock, rf_nothing);
ALIAS(__cond_resched_rwlock_read, rf_nothing);
ALIAS(__cond_resched_rwlock_write, rf_nothing);
ALIAS(schedule, rf_nothing);
ALIAS(preempt_notifier_register, rf_nothing);
ALIAS(preempt_notifier_unregister, rf_nothing);
ALIAS(rcuwait_wake_up, rf_nothing);
ALIAS(finish_rcuwait, rf_nothing);

/* Time: stands still. */
ALIAS(ktime_get, rf_nothing);
ALIAS(ktime_get_raw, rf_nothing);
ALIAS(ktime_get_with_offset, rf_nothing);

/* Messages: a warning is told by its place (rf_trap). */
ALIAS(_printk, rf_nothing);
ALIAS(printk, rf_nothing);
ALIAS(__warn_printk, rf_nothing);
ALIAS(___ratelimit, rf_nothing);

/* Accounts: nobody reads them. */
ALIAS(__mod_lruvec_page_state, rf_nothing);
ALIAS(__lruvec_stat_mod_folio, rf_nothing);
ALIAS(lruvec_stat_mod_folio, rf_nothing);
ALIAS(mark_page_accessed, rf_nothing);

/* Pages of the guest are never the allocator's. */
ALIAS(__folio_put, rf_nothing);
ALIAS(__put_page, rf_nothing);

/* Every page of the guest is there at once, so no fault is put off. */
ALIAS(kvm_clear_async_pf_completion_queue, rf_nothing);

/* Memory is not encrypted. */
ALIAS(set_memory_decrypted, rf_nothing);
ALIAS(set_memory_encrypted, rf_nothing);

/* Threads of the kernel's own: made, and never run. */
void *kthread_create_on_node(void *function, void *data, int node, const char *name, ...)
{
	static char task[1 << 15];

	return task;
}
ALIAS(wake_up_process, rf_nothing);
ALIAS(wait_for_completion, rf_nothing);

/* What nothing waits for: clocks, interrupts, other devices' caches of guest frames. */
ALIAS(gfn_to_pfn_cache_invalidate_start, rf_nothing);
ALIAS(kvm_lapic_reset, rf_nothing);
ALIAS(queue_delayed_work_on, rf_nothing);
ALIAS(queue_work_on, rf_nothing);

/* The processor's floating point: there, and unused. */
_Bool fpu_alloc_guest_fpstate(void *fpu)
{
	return 1;
}

/* Nobody sets the guest's MTRRs: all of its memory has one type. */
_Bool kvm_mtrr_check_gfn_range_consistency(void *vcpu, unsigned long gfn, int pages)
{
	return 1;
}

_Bool static_key_initialized = 1;

/* Userspace is this program: its memory is reached as it is. */
void *memcpy(void *to, const void *from, unsigned long bytes);

unsigned long _copy_from_user(void *to, const void *from, unsigned long bytes)
{
	memcpy(to, from, bytes);
	return 0;
}
ALIAS(_copy_to_user, _copy_from_user);
ALIAS(copy_user_generic_unrolled, _copy_from_user);
ALIAS(copy_user_generic_string, _copy_from_user);
ALIAS(copy_user_enhanced_fast_string, _copy_from_user);

/*
 * get_user() and put_user() of 4 and 8 bytes, with registers of their own: the address in rax or
 * rcx, the value in rdx or rax, the error in eax or ecx.
 */
asm(".text\n"
    ".globl __get_user_4, __get_user_nocheck_4\n"
    "__get_user_4:\n__get_user_nocheck_4:\n movl (%rax), %edx\n xorl %eax, %eax\n ret\n"
    ".globl __get_user_8, __get_user_nocheck_8\n"
    "__get_user_8:\n__get_user_nocheck_8:\n movq (%rax), %rdx\n xorl %eax, %eax\n ret\n"
    ".globl __put_user_4, __put_user_nocheck_4\n"
    "__put_user_4:\n__put_user_nocheck_4:\n movl %eax, (%rcx)\n xorl %ecx, %ecx\n ret\n"
    ".globl __put_user_8, __put_user_nocheck_8\n"
    "__put_user_8:\n__put_user_nocheck_8:\n movq %rax, (%rcx)\n xorl %ecx, %ecx\n ret\n");
