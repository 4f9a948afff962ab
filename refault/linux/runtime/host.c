// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host that the tree's code finds itself in: one processor, one process, no time. Compiled with
 * the tree's headers. Ours are the vendor's operations (here: nothing, or the registers of the
 * processor), what the memory management answers, and locks that nobody contends for.
 *
 * What a release has or lacks is told by RF_HAS_* (capabilities.h, made by looking at the tree).
 */
#include <linux/kvm_host.h>
#include <linux/mmu_notifier.h>
#include <linux/mm.h>
#include <linux/bug.h>
#include <linux/miscdevice.h>
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kvm.h>
#include <asm/kvm_host.h>
#include <asm/processor.h>
#include <asm/cpufeature.h>

#include "x86.h"
#include "mmu.h"
#include "cpuid.h"
#include "host.h"

/* --- where memory lies: variables that the tree's own address arithmetic reads ------------------- */

unsigned long page_offset_base = RF_ARENA;
unsigned long vmemmap_base = RF_VMEMMAP;
unsigned long vmalloc_base = 0x500000000000UL;
unsigned long phys_base;
unsigned int pgdir_shift = 39;
unsigned int ptrs_per_p4d = 1;
unsigned int __pgtable_l5_enabled;

struct cpuinfo_x86 boot_cpu_data;
static struct mm_struct host_mm;
static struct task_struct host_task;

#if RF_HAS_PCPU_HOT
struct pcpu_hot pcpu_hot;
#else
struct task_struct *current_task;
#endif

/* Every section of the first TiB is there: pfn_valid() is asked about guest frames. */
#define SECTIONS ((1UL << 40) >> SECTION_SIZE_BITS)
#define SECTIONS_MAX (1UL << (52 - SECTION_SIZE_BITS))
static struct mem_section sections[SECTIONS];
static struct mem_section *roots[SECTIONS_MAX / (PAGE_SIZE / sizeof(struct mem_section))];
static struct mem_section_usage usage;
struct mem_section **mem_section = roots;

static void set_up_sections(void)
{
	unsigned long i;

	memset(&usage, 0xff, sizeof(usage));
	for (i = 0; i < SECTIONS; i++) {
		sections[i].section_mem_map = SECTION_MARKED_PRESENT | SECTION_HAS_MEM_MAP |
					      SECTION_IS_ONLINE | SECTION_IS_EARLY;
		sections[i].usage = &usage;
	}
	for (i = 0; i < SECTIONS; i += SECTIONS_PER_ROOT)
		roots[i / SECTIONS_PER_ROOT] = &sections[i];
}

/* --- the host's page tables: only their size of pages is ever looked at ---------------------------- */

static pgd_t *host_pgd;

static void *next_table(void *entry)
{
	unsigned long *word = entry;

	if (!*word)
		*word = __pa(rf_alloc_pages(0)) | _PAGE_TABLE;
	return __va(*word & PTE_PFN_MASK);
}

void rf_host_level(rf_u64 base_gfn, rf_u64 pages, int level)
{
	unsigned long at = RF_RAM + (base_gfn << PAGE_SHIFT);
	unsigned long end = at + (pages << PAGE_SHIFT);
	unsigned long size = level == PG_LEVEL_1G ? PUD_SIZE : PMD_SIZE;

	if (level <= PG_LEVEL_4K)
		return;
	for (at &= ~(size - 1); at < end; at += size) {
		unsigned long pfn = RF_GUEST_PFN + ((at - RF_RAM) >> PAGE_SHIFT);
		unsigned long leaf = pfn << PAGE_SHIFT | _PAGE_PRESENT | _PAGE_RW | _PAGE_USER |
				     _PAGE_PSE | _PAGE_ACCESSED | _PAGE_DIRTY;
		unsigned long *puds = next_table(&host_pgd[pgd_index(at)]);
		unsigned long *pmds;

		if (level == PG_LEVEL_1G) {
			puds[pud_index(at)] = leaf;
			continue;
		}
		pmds = next_table(&puds[pud_index(at)]);
		pmds[pmd_index(at)] = leaf;
	}
}

/* --- pages of the guest, as the memory management would find them ---------------------------------- */

static struct page *guest_page(unsigned long address)
{
	return pfn_to_page(RF_GUEST_PFN + ((address - RF_RAM) >> PAGE_SHIFT));
}

static int find_pages(unsigned long start, int count, struct page **pages)
{
	int i;

	for (i = 0; i < count; i++) {
		struct page *page = guest_page(start + ((unsigned long)i << PAGE_SHIFT));

		/* One reference stays: these pages are never the allocator's. */
		set_page_count(page, page_ref_count(page) ? page_ref_count(page) + 1 : 2);
		if (pages)
			pages[i] = page;
	}
	return count;
}

#if RF_HAS_GPTE_BY_PAGE
/*
 * Some releases set A and D in a guest's table through the kernel's own mapping of its page, where
 * no memory is here. They take the other way they have: as for a table in memory without pages.
 */
static struct vm_area_struct guest_memory;

int get_user_pages_fast(unsigned long start, int count, unsigned int flags, struct page **pages)
{
	return -EFAULT;
}

struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long address)
{
	guest_memory.vm_start = RF_RAM;
	guest_memory.vm_end = RF_RAM + (RF_GUEST_FRAMES << PAGE_SHIFT);
	guest_memory.vm_pgoff = RF_GUEST_PFN;
	guest_memory.vm_flags = VM_PFNMAP;
	return address < guest_memory.vm_end ? &guest_memory : NULL;
}

void *memremap(resource_size_t offset, size_t bytes, unsigned long flags)
{
	return (void *)(RF_RAM + offset - (RF_GUEST_PFN << PAGE_SHIFT));
}

void memunmap(void *address)
{
}
#else
int get_user_pages_fast(unsigned long start, int count, unsigned int flags, struct page **pages)
{
	return find_pages(start, count, pages);
}
#endif

int get_user_pages_fast_only(unsigned long start, int count, unsigned int flags,
			     struct page **pages)
{
	return find_pages(start, count, pages);
}

long get_user_pages_unlocked(unsigned long start, unsigned long count, struct page **pages,
			     unsigned int flags)
{
	return find_pages(start, count, pages);
}

/* --- replaced in the tree (override.h) -------------------------------------------------------------- */

struct kvm *rf_kvm;
struct kvm_vcpu *rf_vcpus[RF_VCPUS_MAX];
int rf_vcpu_count;
int rf_current = -1;
unsigned long rf_flush_calls;
struct shrinker *rf_shrinker;

struct rf_access rf_access;

/* Ask every vCPU; was there one on another processor that had not been asked yet? */
static bool request_all(unsigned int request, struct kvm_vcpu *except)
{
	bool is_interrupted = false;
	int i;

	if ((request & KVM_REQUEST_MASK) == (KVM_REQ_TLB_FLUSH & KVM_REQUEST_MASK))
		rf_flush_calls++;
	for (i = 0; i < rf_vcpu_count; i++) {
		if (rf_vcpus[i] == except)
			continue;
		if (!kvm_test_request(request, rf_vcpus[i]) && i != rf_current)
			is_interrupted = true;
		set_bit(request & KVM_REQUEST_MASK, (void *)&rf_vcpus[i]->requests);
	}
	return is_interrupted;
}

bool kvm_make_all_cpus_request_except(struct kvm *vm, unsigned int request, struct kvm_vcpu *except)
{
	return request_all(request, except);
}

bool kvm_make_all_cpus_request(struct kvm *vm, unsigned int request)
{
	return request_all(request, NULL);
}

#if !RF_HAS_INLINE_KICK
void kvm_vcpu_kick(struct kvm_vcpu *vcpu)
{
}
#endif

void __kvm_vcpu_kick(struct kvm_vcpu *vcpu, bool wait)
{
}

bool kvm_vcpu_wake_up(struct kvm_vcpu *vcpu)
{
	return false;
}

#if RF_HAS_PUT_CLEARS_DR6
void kvm_arch_vcpu_put(struct kvm_vcpu *vcpu)
{
}
#endif

struct kvm_vcpu *kvm_get_running_vcpu(void)
{
	return rf_current < 0 ? NULL : rf_vcpus[rf_current];
}

void kvm_inject_page_fault(struct kvm_vcpu *vcpu, struct x86_exception *fault RF_INJECT_FROM)
{
	rf_access.outcome = RF_PF;
	rf_access.address = fault->error_code;
}

static void emulate_store(struct kvm_vcpu *vcpu, gpa_t nested)
{
	struct x86_exception fault = {};
	gpa_t gpa = rf_nested ? nested : kvm_mmu_gva_to_gpa_write(vcpu, rf_access.gva, &fault);

	if (gpa == INVALID_GPA) {
		rf_access.outcome = RF_PF;
		rf_access.address = fault.error_code;
		return;
	}
	if (!rf_has_memory(gpa >> PAGE_SHIFT)) {
		rf_access.outcome = RF_MMIO;
		return;
	}
	RF_WRITE_PHYS(vcpu, gpa, (void *)&rf_access.value, rf_access.size);
	rf_note_written(gpa);
	rf_access.outcome = RF_OK;
	rf_access.address = gpa;
	rf_access.emulated = 1;
}

int x86_emulate_instruction(struct kvm_vcpu *vcpu, gpa_t cr2_or_gpa, int type, void *insn, int length)
{
	++vcpu->stat.insn_emulation;
	if (rf_access.is_fetch)
		rf_access.outcome = RF_FAIL;
	else if (rf_access.is_store)
		emulate_store(vcpu, cr2_or_gpa);
	else
		rf_access.outcome = RF_MMIO;
	return 1;
}

/* --- the vendor's operations ------------------------------------------------------------------------ */

static int answer_0(void)
{
	return 0;
}

static int answer_1(void)
{
	return 1;
}

static bool answer_true(void)
{
	return true;
}

static void vendor_set_cr0(struct kvm_vcpu *vcpu, unsigned long cr0)
{
	if (vcpu->arch.efer & EFER_LME) {
		if (cr0 & X86_CR0_PG)
			vcpu->arch.efer |= EFER_LMA;
		else
			vcpu->arch.efer &= ~EFER_LMA;
	}
	vcpu->arch.cr0 = cr0;
}

static bool vendor_is_valid_cr4(struct kvm_vcpu *vcpu, unsigned long cr4)
{
	return !(cr4 & X86_CR4_VMXE);
}

/* Where nobody asks first whether it is valid, the answer is looked at. */
static int vendor_set_cr4(struct kvm_vcpu *vcpu, unsigned long cr4)
{
	if (!RF_HAS_IS_VALID_CR4 && !vendor_is_valid_cr4(vcpu, cr4))
		return 1;
	vcpu->arch.cr4 = cr4;
	return 0;
}

static int vendor_set_efer(struct kvm_vcpu *vcpu, u64 efer)
{
	vcpu->arch.efer = efer;
	return 0;
}

static int vendor_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	return kvm_set_msr_common(vcpu, msr);
}

static int vendor_get_cpl(struct kvm_vcpu *vcpu)
{
	return rf_access.user ? 3 : 0;
}

static void vendor_flush(struct kvm_vcpu *vcpu)
{
	rf_tlb_flush(vcpu->vcpu_id);
}

static void vendor_flush_page(struct kvm_vcpu *vcpu, gva_t address)
{
	rf_tlb_flush_page(vcpu->vcpu_id, address);
}

static void vendor_get_cs_db_l_bits(struct kvm_vcpu *vcpu, int *db, int *l)
{
	/* A trace does not tell; only code in compatibility mode may switch paging off. */
	*db = 0;
	*l = 0;
}

#define KVM_X86_OP(name) \
	static long missing_##name(void) { rf_missing("kvm_x86_ops." #name); return 0; }
#define KVM_X86_OP_OPTIONAL(name)
#define KVM_X86_OP_OPTIONAL_RET0(name)
#define KVM_X86_OP_NULL KVM_X86_OP_OPTIONAL	/* its older name */
#include <asm/kvm-x86-ops.h>
#undef KVM_X86_OP
#undef KVM_X86_OP_OPTIONAL
#undef KVM_X86_OP_OPTIONAL_RET0
#undef KVM_X86_OP_NULL

#if RF_HAS_STATIC_CALLS
#define SET_CALL(name, function) (STATIC_CALL_KEY(kvm_x86_##name).func = (void *)(function))
#else
#define SET_CALL(name, function)
#endif
#define SET_OP(name, function) \
	do { \
		SET_CALL(name, function); \
		kvm_x86_ops.name = (void *)(function); \
	} while (0)

static void set_up_vendor(void)
{
#define KVM_X86_OP(name) SET_OP(name, missing_##name);
/* The tree asks kvm_x86_ops whether one is there, or calls it and expects nothing to happen. */
#define KVM_X86_OP_OPTIONAL(name) SET_CALL(name, answer_0);
#define KVM_X86_OP_OPTIONAL_RET0(name) SET_OP(name, answer_0);
#define KVM_X86_OP_NULL KVM_X86_OP_OPTIONAL
#include <asm/kvm-x86-ops.h>
#undef KVM_X86_OP
#undef KVM_X86_OP_OPTIONAL
#undef KVM_X86_OP_OPTIONAL_RET0
#undef KVM_X86_OP_NULL
	kvm_x86_ops.vm_size = sizeof(struct kvm);
#if !RF_HAS_VENDOR_INIT && RF_HAS_KVM_INIT_OPAQUE
	SET_OP(hardware_enable, answer_0);
#endif
	SET_OP(set_cr0, vendor_set_cr0);
	SET_OP(set_cr4, vendor_set_cr4);
#if RF_HAS_IS_VALID_CR4
	SET_OP(is_valid_cr4, vendor_is_valid_cr4);
#endif
#if RF_HAS_IS_VALID_CR0
	SET_OP(is_valid_cr0, answer_true);
#endif
	SET_OP(set_efer, vendor_set_efer);
	SET_OP(set_msr, vendor_set_msr);
	SET_OP(get_cpl, vendor_get_cpl);
	SET_OP(get_cs_db_l_bits, vendor_get_cs_db_l_bits);
	SET_OP(cache_reg, answer_0);
#if RF_HAS_FLUSH_TLB_NAMES
	SET_OP(flush_tlb_all, vendor_flush);
	SET_OP(flush_tlb_current, vendor_flush);
	SET_OP(flush_tlb_gva, vendor_flush_page);
	SET_OP(flush_tlb_guest, vendor_flush);
#else
	SET_OP(tlb_flush_all, vendor_flush);
	SET_OP(tlb_flush_current, vendor_flush);
	SET_OP(tlb_flush_gva, vendor_flush_page);
	SET_OP(tlb_flush_guest, vendor_flush);
#endif
	SET_OP(load_mmu_pgd, answer_0);
	SET_OP(get_mt_mask, answer_0);	/* as SVM has it */
	SET_OP(get_rflags, answer_0);
}

/* --- what the guest's processor can do ---------------------------------------------------------------- */

#define GUEST_PHYS_BITS 40

static struct kvm_cpuid_entry2 *guest_cpuid(u32 function)
{
	static struct kvm_cpuid_entry2 basic = { .function = 1 };
	static struct kvm_cpuid_entry2 extended = { .function = 0x80000001 };
	static struct kvm_cpuid_entry2 sizes = { .function = 0x80000008 };

	basic.edx = 0x0fabfbff & ~(1 << 12);
	extended.edx = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 29;	/* SYSCALL NX GBPAGES LM */
	sizes.eax = 48 << 8 | GUEST_PHYS_BITS;
	return function == 1 ? &basic : function == 0x80000001 ? &extended :
	       function == 0x80000008 ? &sizes : NULL;
}

#if RF_HAS_CPUID_ENTRY2
struct kvm_cpuid_entry2 *kvm_find_cpuid_entry2(struct kvm_cpuid_entry2 *entries, int count,
					       u32 function, u64 index)
{
	return guest_cpuid(function);
}
#else
/* Two and three arguments, by release: the first two are the same. */
struct kvm_cpuid_entry2 *kvm_find_cpuid_entry(struct kvm_vcpu *vcpu, u32 function RF_CPUID_INDEX)
{
	return guest_cpuid(function);
}

struct kvm_cpuid_entry2 *kvm_find_cpuid_entry_index(struct kvm_vcpu *vcpu, u32 function, u32 index)
{
	return guest_cpuid(function);
}
#endif

int cpuid_query_maxphyaddr(struct kvm_vcpu *vcpu)
{
	return GUEST_PHYS_BITS;
}

u64 kvm_vcpu_reserved_gpa_bits_raw(struct kvm_vcpu *vcpu)
{
	return rsvd_bits(GUEST_PHYS_BITS, 63);
}

/* --- /dev/kvm: the tree's own, reached as userspace reaches it ------------------------------------------ */

static const struct file_operations *device_ops, *vm_ops;
static struct file device_file, vm_file;

int misc_register(struct miscdevice *device)
{
	device_ops = device->fops;
	return 0;
}

struct file *anon_inode_getfile(const char *name, const struct file_operations *ops, void *private,
				int flags)
{
	vm_ops = ops;
	vm_file.private_data = private;
	return &vm_file;
}

int anon_inode_getfd(const char *name, const struct file_operations *ops, void *private, int flags)
{
	return 3;
}

int get_unused_fd_flags(unsigned int flags)
{
	return 3;
}

int mmu_notifier_register(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	return 0;
}

long rf_vm_ioctl(unsigned int request, void *argument)
{
	return vm_ops->unlocked_ioctl(&vm_file, request, (unsigned long)argument);
}

#if RF_HAS_VCPU_ARRAY
/* kvm->vcpu_array: its entries are handed out as the tree put them in. */
static void *array_of(struct xarray *array, unsigned long index)
{
	return rf_kvm && array == &rf_kvm->vcpu_array && index < RF_VCPUS_MAX ? rf_vcpus[index] : NULL;
}

void *xa_load(struct xarray *array, unsigned long index)
{
	return array_of(array, index);
}

void *xa_store(struct xarray *array, unsigned long index, void *entry, gfp_t flags)
{
	rf_vcpus[index] = entry;
	return NULL;
}

int __xa_insert(struct xarray *array, unsigned long index, void *entry, gfp_t flags)
{
	rf_vcpus[index] = entry;
	return 0;
}

void *xa_find(struct xarray *array, unsigned long *index, unsigned long max, xa_mark_t mark)
{
	for (; *index <= max && *index < RF_VCPUS_MAX; ++*index)
		if (array_of(array, *index))
			return array_of(array, *index);
	return NULL;
}

void *xa_find_after(struct xarray *array, unsigned long *index, unsigned long max, xa_mark_t mark)
{
	++*index;
	return xa_find(array, index, max, mark);
}
#endif

/* --- the first steps ------------------------------------------------------------------------------------- */

#if RF_HAS_KVM_INIT_OPAQUE
/* kvm_init() takes over the vendor's operations, and asks it to set up the hardware. */
static int kvm_init_with_vendor(void)
{
	static struct kvm_x86_ops operations;
	static struct kvm_x86_init_ops vendor = {
#if !RF_HAS_VENDOR_INIT
		.cpu_has_kvm_support = answer_1,
		.disabled_by_bios = answer_0,
		.check_processor_compatibility = answer_0,
#endif
		.hardware_setup = answer_0,
		.runtime_ops = &operations,
	};

	memcpy((void *)&operations, &kvm_x86_ops, sizeof(operations));
#if !RF_HAS_VENDOR_INIT
	kvm_x86_ops.hardware_enable = NULL;	/* or there is a vendor already */
#endif
	return kvm_init(&vendor, sizeof(struct kvm_vcpu), __alignof__(struct kvm_vcpu), NULL);
}
#else
static int kvm_init_with_vendor(void)
{
	return kvm_init(sizeof(struct kvm_vcpu), __alignof__(struct kvm_vcpu), NULL);
}
#endif

#if RF_HAS_SHRINKER_ALLOC
struct shrinker *shrinker_alloc(unsigned int flags, const char *format, ...)
{
	return rf_alloc(sizeof(struct shrinker));
}

void shrinker_register(struct shrinker *shrinker)
{
	rf_shrinker = shrinker;
}
#else
int register_shrinker(struct shrinker *shrinker RF_SHRINKER_NAME)
{
	rf_shrinker = shrinker;
	return 0;
}
#endif

void rf_set_up_vcpu(struct kvm_vcpu *vcpu)
{
	memset(&vcpu->arch.regs_avail, 0xff, sizeof(vcpu->arch.regs_avail));
	vcpu->arch.maxphyaddr = GUEST_PHYS_BITS;
#if RF_HAS_RESERVED_GPA_BITS
	vcpu->arch.reserved_gpa_bits = rsvd_bits(GUEST_PHYS_BITS, 63);
#endif
	vcpu->arch.cr4_guest_rsvd_bits = ~(0x7ffUL | (rf_has_la57 ? X86_CR4_LA57 : 0));
#if RF_HAS_GOVERNED_FEATURES
	__set_bit(kvm_governed_feature_index(X86_FEATURE_GBPAGES),
		  vcpu->arch.governed_features.enabled);
#endif
#if RF_HAS_CPU_CAPS
	vcpu->arch.cpu_caps[CPUID_8000_0001_EDX] = guest_cpuid(0x80000001)->edx;
	vcpu->arch.cpu_caps[CPUID_1_EDX] = guest_cpuid(1)->edx;
#endif
}

const char *rf_init(const struct rf_options *options)
{
	set_up_sections();
	host_pgd = rf_alloc_pages(0);
	host_mm.pgd = host_pgd;
	host_task.mm = &host_mm;
	host_task.active_mm = &host_mm;
#if RF_HAS_PCPU_HOT
	pcpu_hot.current_task = &host_task;
#else
	current_task = &host_task;
#endif
	boot_cpu_data.x86_phys_bits = 46;
	boot_cpu_data.x86_virt_bits = 48;
	boot_cpu_data.x86_clflush_size = 64;
	boot_cpu_data.extended_cpuid_level = 0x80000004;	/* below 0x80000008: no CPUID is asked */
	set_bit(X86_FEATURE_FPU, (unsigned long *)boot_cpu_data.x86_capability);
	set_bit(X86_FEATURE_FXSR, (unsigned long *)boot_cpu_data.x86_capability);
	set_bit(X86_FEATURE_NX, (unsigned long *)boot_cpu_data.x86_capability);
	set_bit(X86_FEATURE_GBPAGES, (unsigned long *)boot_cpu_data.x86_capability);
	set_up_vendor();
	/* The host has it; which guests do is said by rf_has_la57. */
	kvm_cpu_caps[CPUID_7_ECX] |= 1U << (X86_FEATURE_LA57 & 31);
	kvm_enable_efer_bits(EFER_NX);
#if RF_HAS_MODULE_INITS
	kvm_mmu_x86_module_init();
#endif
#if RF_HAS_VENDOR_INIT
	if (kvm_mmu_vendor_module_init())
		return "kvm_mmu_vendor_module_init() failed";
#endif
	RF_CONFIGURE_MMU(options->tdp ? 4 : 0);
#if RF_HAS_VM_TYPES
	kvm_caps.supported_vm_types = BIT(KVM_X86_DEFAULT_VM);
#endif
	if (kvm_init_with_vendor())
		return "kvm_init() failed";
	set_up_vendor();
	if (!device_ops)
		return "kvm_init() registered no device";
	if (device_ops->unlocked_ioctl(&device_file, KVM_CREATE_VM, 0) < 0 || !vm_ops)
		return "KVM_CREATE_VM failed";
	rf_kvm = vm_file.private_data;
	return NULL;
}
