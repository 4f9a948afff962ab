/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Read before any header of the tree, after its configuration.
 *
 * Privileged instructions become nothing, and those that tell about this machine give zero: the
 * assembler prefers a macro to a mnemonic. No header of the tree is replaced. The functions named here are ours (host.c); the tree's own definitions
 * of them give way, as they are weak.
 */
#ifndef REFAULT_OVERRIDE_H
#define REFAULT_OVERRIDE_H

asm(".macro cli\n.endm\n"
    ".macro sti\n.endm\n"
    ".macro hlt\n.endm\n"
    ".macro wbinvd\n.endm\n"
    ".macro wrmsr\n.endm\n"
    /* What would tell one machine from another reads as zero; the PAT as after a reset (SDM 3A, 11.12). */
    ".macro rdmsr\n xorl %eax, %eax\n cmpl $0x277, %ecx\n sete %al\n"
    " imull $0x70406, %eax, %eax\n movl %eax, %edx\n.endm\n"
    ".macro rdtsc\n xorl %eax, %eax\n xorl %edx, %edx\n.endm\n"
    ".macro cpuid\n xorl %eax, %eax\n xorl %ebx, %ebx\n"
    " xorl %ecx, %ecx\n xorl %edx, %edx\n.endm\n");

/* Without static calls some releases lack the form that modules use. */
#define static_call_mod(name) static_call(name)

#ifndef RF_RUNTIME
/* A trace has no instruction bytes: what to emulate is the operation under way. */
#pragma weak x86_emulate_instruction
/* A #PF for the guest is the operation's outcome. */
#pragma weak kvm_inject_page_fault
/* One processor here stands for all: who had to be interrupted is ours to know. */
#pragma weak kvm_make_all_cpus_request
#pragma weak kvm_make_all_cpus_request_except
#pragma weak kvm_vcpu_kick
#pragma weak __kvm_vcpu_kick
#pragma weak kvm_vcpu_wake_up
/* Some releases clear a debug register when a vCPU is put: that is no instruction of a process. */
#pragma weak kvm_arch_vcpu_put
/* Who runs is known here, without a load and a put of every vCPU. */
#pragma weak kvm_get_running_vcpu
#endif

#endif
