/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A QEMU TCG plugin that records what a guest does with its memory, a page at a time: see
 * docs/howto/capture.md for its use and refault/trace/importers/ptt.py for what it writes.
 *
 * Arguments: out=FD report=FD ram=BYTES low=BYTES start=boot|mark max=RECORDS refresh=INSTRUCTIONS
 * slots=N, or probe=1, which tells QEMU's version of the interface and ends.
 *
 * Guest memory must be one memory-backend-memfd. One vCPU needs -accel tcg,thread=single, which is
 * exact in its order; several need thread=multi: with thread=single QEMU bakes the translating
 * vCPU's number into blocks that others run too.
 */
#include "instructions.h"
#include "tables.h"
#include <signal.h>
#include <sys/prctl.h>

EXPORTED int qemu_plugin_version = QAPI;

enum { RAX, RCX, RDX, RBX, RSP, GENERAL = 16 };
static struct qemu_register *general[GENERAL], *r_cr0, *r_cr2, *r_cr3, *r_cr4, *r_efer, *r_cs, *r_rip;
static GByteArray *bytes_read;

static uint64_t read_register(struct qemu_register *handle)
{
    uint64_t value = 0;
    if (!handle)
        return 0;
    g_byte_array_set_size(bytes_read, 0);
    (void)qemu_plugin_read_register(handle, bytes_read);
    if (bytes_read->length)
        memcpy(&value, bytes_read->data, bytes_read->length > 8 ? 8 : bytes_read->length);
    return value;
}

/* ---- begin and end ----------------------------------------------------------------------- */

static void begin(unsigned vcpu)
{
    vcpu_state *this = &vcpus[vcpu];
    this->cr0 = read_register(r_cr0);
    this->cr3 = read_register(r_cr3);
    this->cr4 = read_register(r_cr4);
    this->efer = read_register(r_efer);
    last_insns = insns_of_all();
    is_on = true;
    for (int i = 0; i < vcpu_count; i++) {
        vcpu_state *cpu = &vcpus[i];
        if (!cpu->is_up || (i != (int)vcpu && !(cpu->cr0 & CR0_PG)))
            continue;
        put(i, MSR, INITIAL, 0, EFER_MSR, cpu->efer);
        put(i, CR, INITIAL, 4, cpu->cr4, 0);
        put(i, CR, INITIAL, 0, cpu->cr0, 0);
        load_root(i);
        put(i, CR, INITIAL, 3, cpu->cr3, 0);
        begin_epoch(i);
    }
}

static void end(void)
{
    if (is_done)
        return;
    if (is_on)
        put(0, END, 0, 0, record_count, insns_of_all());
    is_done = true;
    is_on = false;
    write_held();
    char text[640];
    int size = snprintf(text, sizeof text,
        "{\"records\": %llu, \"instructions\": %llu, \"unlike_memory\": %llu, \"outside_memory\": %llu, "
        "\"without_gpa\": %llu, \"roots_cleared\": %llu, \"no_entry_stored\": %llu, \"unlinked\": %llu, "
        "\"other_use\": %llu}\n",
        (unsigned long long)record_count, (unsigned long long)insns_of_all(), (unsigned long long)unlike_memory,
        (unsigned long long)outside_memory, (unsigned long long)without_gpa,
        (unsigned long long)drops[ROOT_CLEARED], (unsigned long long)drops[NO_ENTRY_STORED],
        (unsigned long long)drops[UNLINKED], (unsigned long long)drops[OTHER_USE]);
    write_out(report_fd, text, size);
    close(report_fd);
    close(out_fd);
}

static void end_if_full(void)
{
    if (record_count >= records_max)
        end();
}

/* ---- loads and stores -------------------------------------------------------------------- */

static void store_bytes(unsigned vcpu, uint64_t gpa, int count, bool is_user)
{
    for (int i = 0; i < count && is_table[gpa >> 12]; i++, gpa++) {
        qemu_value one = {0, {.u8 = at_gfn(gpa >> 12)[gpa & PAGE_MASK]}};
        store_to_table(vcpu, gpa, 0, one, is_user);
    }
}

static void access_page(
    unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, int bytes, bool is_second, bool is_store, bool is_user)
{
    int shift = qemu_plugin_mem_size_shift(info);
    unsigned bit = (is_store ? SEEN_STORE : SEEN_LOAD) << (is_user ? FOR_USER : 0);
    slot *s = claim_slot(&vcpus[vcpu], gva);
    if (!(s->page_and_bits & bit)) {
        struct qemu_hwaddr *where = qemu_plugin_get_hwaddr(info, gva);
        uint64_t gpa = where ? qemu_plugin_hwaddr_phys_addr(where) : UNKNOWN;
        bool is_io = where && qemu_plugin_hwaddr_is_io(where);
        int flags = (is_store ? WRITE : 0) | (is_user ? USER : 0) | (where ? 0 : NO_GPA) | (is_io ? IO : 0);
        without_gpa += !where;
        s->page_and_bits |= bit;
        s->gfn = where && !is_io ? gpa >> 12 : NO_GFN;
        put(vcpu, ACCESS, flags, shift | (is_second ? 0x80 : 0), gva, gpa);
    }
    if (!is_store || s->gfn >= frame_count || !is_table[s->gfn])
        return;
    uint64_t gpa = (uint64_t)s->gfn << 12 | (gva & PAGE_MASK);
    if (bytes == 1 << shift)
        store_to_table(vcpu, gpa, shift, qemu_plugin_mem_get_value(info), is_user);
    else
        store_bytes(vcpu, gpa, bytes, is_user);
}

static __attribute__((noinline)) void access_slowly(
    unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, bool is_store, bool is_user)
{
    pthread_mutex_lock(&lock);
    if (is_on) {
        int size = 1 << qemu_plugin_mem_size_shift(info), first = 4096 - (gva & PAGE_MASK);
        access_page(vcpu, info, gva, first < size ? first : size, false, is_store, is_user);
        if (first < size && is_on)
            access_page(vcpu, info, gva + first, size - first, true, is_store, is_user);
        end_if_full();
    }
    pthread_mutex_unlock(&lock);
}

/* Nearly every access ends here: the vCPU's own filter says that it is recorded already. */
static inline __attribute__((always_inline)) void access_memory(
    unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, bool is_store, bool is_user)
{
    if (!is_on)
        return;
    vcpu_state *cpu = &vcpus[vcpu];
    slot *s = slot_of(cpu, gva);
    unsigned bit = (is_store ? SEEN_STORE : SEEN_LOAD) << (is_user ? FOR_USER : 0);
    bool is_inside = (gva & PAGE_MASK) <= 4096 - 16
        || (gva & PAGE_MASK) + (1u << qemu_plugin_mem_size_shift(info)) <= 4096;
    if (is_inside && is_of_page(s, gva) && s->epoch == cpu->epoch && s->page_and_bits & bit
        && !(is_store && s->gfn < frame_count && is_table[s->gfn]))
        return;
    access_slowly(vcpu, info, gva, is_store, is_user);
}

static void kernel_loads(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *data)
{
    (void)data;
    access_memory(vcpu, info, gva, false, false);
}
static void kernel_stores(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *data)
{
    (void)data;
    access_memory(vcpu, info, gva, true, false);
}
static void user_loads(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *data)
{
    (void)data;
    access_memory(vcpu, info, gva, false, true);
}
static void user_stores(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *data)
{
    (void)data;
    access_memory(vcpu, info, gva, true, true);
}

/* ---- code -------------------------------------------------------------------------------- */

/* QEMU's blocks are independent of their address: one serves every address at which its page is
 * mapped. So the address is read from RIP when the block runs, not when it is translated. RIP is an
 * offset into the code segment; its base, which QEMU does not show, is a block's own. */
typedef struct code_page {
    uint64_t key, gpa;
    uint32_t base;
    bool is_second, is_user;
    struct code_page *next;
} code_page;
#define HASH_SIZE (1u << 14)
static code_page *code_pages[HASH_SIZE];

static uint32_t block_base; /* of the code segment, for the block that is translated now */

static code_page *code_page_of(uint64_t gva, uint64_t gpa, bool is_user, bool is_second)
{
    uint64_t key = gpa != UNKNOWN ? (gpa >> 12) << 1 | is_user : (gva >> 12) << 1 | is_user | 1ull << 63;
    key ^= block_base * 0x9e3779b97f4a7c15ull;
    unsigned hash = (key * 2654435761u >> 8 ^ is_second) & (HASH_SIZE - 1);
    for (code_page *page = code_pages[hash]; page; page = page->next)
        if (page->key == key && page->is_user == is_user && page->is_second == is_second && page->base == block_base)
            return page;
    code_page *page = malloc(sizeof *page);
    *page = (code_page){key, gpa == UNKNOWN ? UNKNOWN : gpa & ~PAGE_MASK, block_base, is_second, is_user, code_pages[hash]};
    return code_pages[hash] = page;
}

static void refresh_if_due(unsigned vcpu)
{
    vcpu_state *cpu = &vcpus[vcpu];
    if (!refresh || insns_of_all() < cpu->next_refresh)
        return;
    cpu->next_refresh = insns_of_all() + refresh;
    put(vcpu, FILTER_FLUSH, 0, 1, 0, 0);
    cpu->epoch++;
    cpu->code_epoch++;
}

static void fetch(unsigned vcpu, const code_page *page)
{
    vcpu_state *cpu = &vcpus[vcpu];
    if (has_inline)
        qemu_plugin_u64_set(current_page, vcpu, page->key);
    else
        cpu->code_key = page->key;
    refresh_if_due(vcpu);
    unsigned place = (page->key ^ page->key >> 10) & (CODE_PAGES - 1);
    uint64_t gva = cpu->code_gva + 4096; /* fallen through from the page before */
    if (!page->is_second) {
        if (cpu->code[place].key == page->key && cpu->code[place].epoch == cpu->code_epoch) {
            cpu->code_gva = cpu->code[place].gva;
            return;
        }
        gva = read_register(r_rip);
        if (page->base)
            gva = (uint32_t)(gva + page->base);
        gva &= ~PAGE_MASK;
        if (!(cpu->cr0 & CR0_PG) && page->gpa != UNKNOWN)
            gva = page->gpa; /* RIP is an offset into a segment, as where a second vCPU starts */
        cpu->code[place].key = page->key;
        cpu->code[place].gva = gva;
        cpu->code[place].epoch = cpu->code_epoch;
    }
    cpu->code_gva = gva;
    unsigned bit = SEEN_FETCH << (page->is_user ? FOR_USER : 0);
    slot *s = claim_slot(cpu, gva);
    if (s->page_and_bits & bit)
        return;
    s->page_and_bits |= bit;
    if (page->gpa != UNKNOWN)
        s->gfn = page->gpa >> 12;
    else
        without_gpa++;
    int flags = FETCH | (page->is_user ? USER : 0) | (page->gpa == UNKNOWN ? NO_GPA : 0);
    put(vcpu, ACCESS, flags, 0, gva, page->gpa);
    end_if_full();
}

static void fetches(unsigned vcpu, void *data)
{
    if (!is_on)
        return;
    pthread_mutex_lock(&lock);
    if (is_on)
        fetch(vcpu, data);
    pthread_mutex_unlock(&lock);
}

/* Where inline counters cannot be used, a block counts its instructions here. */
typedef struct {
    code_page *page;
    unsigned insns;
} block_data;

static void runs_block(unsigned vcpu, void *data)
{
    const block_data *block = data;
    vcpus[vcpu].insns += block->insns;
    if (is_on && vcpus[vcpu].code_key != block->page->key)
        fetches(vcpu, block->page);
}

/* ---- instructions that change translations ----------------------------------------------- */

static void write_cr(unsigned vcpu, int number, uint64_t value)
{
    vcpu_state *cpu = &vcpus[vcpu];
    uint64_t *place = number == 0 ? &cpu->cr0 : number == 3 ? &cpu->cr3 : number == 4 ? &cpu->cr4 : NULL;
    if (!place)
        return;
    uint64_t old = *place;
    if (!is_on && from_boot && number == 0 && (value & (CR0_PG | CR0_PE)) == (CR0_PG | CR0_PE)) {
        begin(vcpu);
        old = cpu->cr0;
    }
    int mode = mode_of(cpu);
    *place = value;
    if (!is_on)
        return;
    if (number == 3 || mode != mode_of(cpu))
        load_root(vcpu);
    put(vcpu, CR, 0, number, value, old);
    begin_epoch(vcpu);
    end_if_full();
}

static uint64_t operand_of(const instruction *this)
{
    uint64_t address = this->displacement;
    if (this->base == NEXT_RIP)
        address += this->next;
    else if (this->base != NO_REGISTER)
        address += read_register(general[this->base]);
    if (this->index != NO_REGISTER)
        address += read_register(general[this->index]) << this->scale;
    return address;
}

static void record_fault(unsigned vcpu)
{
    uint64_t stack = read_register(general[RSP]), code = 0;
    size_t size = vcpus[vcpu].efer & EFER_LME ? 8 : 4;
    if (!qemu_plugin_read_memory_vaddr(stack, bytes_read, size))
        return;
    memcpy(&code, bytes_read->data, size);
    int flags = (code & 4 ? USER : 0) | (code & 2 ? WRITE : 0) | (code & 16 ? FETCH : 0);
    put(vcpu, PAGE_FAULT, flags, code & 0xff, read_register(r_cr2), code);
    end_if_full();
}

static void record_invlpg(unsigned vcpu, const instruction *this)
{
    vcpu_state *cpu = &vcpus[vcpu];
    uint64_t gva = operand_of(this);
    if (!(cpu->efer & EFER_LME))
        gva &= 0xffffffffull;
    put(vcpu, INVLPG, 0, 0, gva, cpu->cr3);
    forget_page(cpu, gva);
    forget_code_page(vcpu);
}

static void record_flush(unsigned vcpu, int why)
{
    put(vcpu, FILTER_FLUSH, 0, why, 0, 0);
    begin_epoch(vcpu);
}

static void mark(unsigned vcpu, int number)
{
    if (number == 1 && !from_boot && !is_on)
        begin(vcpu);
    if (is_on)
        put(vcpu, MARK, 0, 0, number, vcpus[vcpu].cr3);
    if (number == 2 && !from_boot && is_on)
        end();
}

static void write_msr(unsigned vcpu)
{
    if ((read_register(general[RCX]) & 0xffffffff) != EFER_MSR)
        return;
    uint64_t value = read_register(general[RDX]) << 32 | (read_register(general[RAX]) & 0xffffffff);
    vcpus[vcpu].efer = value;
    if (!is_on)
        return;
    put(vcpu, MSR, 0, 0, EFER_MSR, value);
    begin_epoch(vcpu);
}

static void run_special(unsigned vcpu, const instruction *this)
{
    switch (this->what) {
    case WRITES_CR:
        write_cr(vcpu, this->number, read_register(general[this->source]));
        break;
    case WRITES_MSR:
        write_msr(vcpu);
        break;
    case IS_MARK:
        mark(vcpu, this->number);
        break;
    case DOES_INVLPG:
        if (is_on)
            record_invlpg(vcpu, this);
        break;
    case ENTERS_FAULT_HANDLER:
        if (is_on)
            record_fault(vcpu);
        break;
    case DOES_INVPCID:
    case LOADS_MSW:
        if (is_on)
            record_flush(vcpu, this->what == DOES_INVPCID ? 2 : 3);
        break;
    case LOADS_IDT:
        break;
    }
}

static void runs_special(unsigned vcpu, void *data)
{
    pthread_mutex_lock(&lock);
    if (!is_done)
        run_special(vcpu, data);
    pthread_mutex_unlock(&lock);
}

/* LIDT loads its operand: a limit of 16 bits, then the base. */
static void loads_idt(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t gva, void *data)
{
    (void)gva;
    (void)data;
    qemu_value value = qemu_plugin_mem_get_value(info);
    if (value.type == 1)
        vcpus[vcpu].idt_limit = value.data.u16;
    else if (value.type == 2 || value.type == 3)
        vcpus[vcpu].idt = value.type == 2 ? value.data.u32 : value.data.u64;
}

/* The address of the guest's handler of #PF, from gate 14 of its IDT. */
static uint64_t fault_handler(const vcpu_state *cpu)
{
    bool is_long = cpu->efer & EFER_LME;
    size_t size = is_long ? 16 : 8;
    if (!cpu->idt || !(cpu->cr0 & CR0_PG) || cpu->idt_limit < 15 * size - 1)
        return UNKNOWN;
    if (!qemu_plugin_read_memory_vaddr(cpu->idt + 14 * size, bytes_read, size))
        return UNKNOWN;
    const uint8_t *gate = bytes_read->data;
    uint16_t low, middle;
    uint32_t high = 0;
    memcpy(&low, gate, 2);
    memcpy(&middle, gate + 6, 2);
    if (is_long)
        memcpy(&high, gate + 8, 4);
    return gate[5] & 0x80 ? low | (uint64_t)middle << 16 | (uint64_t)high << 32 : UNKNOWN;
}

/* ---- translation: where callbacks are placed --------------------------------------------- */

static void *kept(const void *data, size_t size)
{
    void *copy = malloc(size); /* as long as the block, which QEMU never tells the end of */
    return memcpy(copy, data, size);
}

static void hook_block(struct qemu_block *block, code_page *page, size_t insns)
{
    if (has_inline) {
        qemu_plugin_register_vcpu_tb_exec_cond_cb(
            block, fetches, QEMU_READS_REGISTERS, QEMU_IF_NOT_EQUAL, current_page, page->key, page);
        return;
    }
    block_data data = {page, insns};
    qemu_plugin_register_vcpu_tb_exec_cb(block, runs_block, QEMU_READS_REGISTERS, kept(&data, sizeof data));
}

static uint64_t host_gpa(struct qemu_block *block, size_t index, size_t insns)
{
    return index < insns ? gpa_of(qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(block, index))) : UNKNOWN;
}

/* Fetches of the pages that an instruction lies in, where they are others than before. */
static uint64_t hook_pages(struct qemu_block *block, size_t index, size_t insns, uint64_t current, bool is_user)
{
    struct qemu_insn *insn = qemu_plugin_tb_get_insn(block, index);
    uint64_t gva = qemu_plugin_insn_vaddr(insn), last = gva + qemu_plugin_insn_size(insn) - 1;
    if (gva >> 12 != current) {
        code_page *page = code_page_of(gva, host_gpa(block, index, insns), is_user, index != 0);
        current = gva >> 12;
        if (index)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, fetches, QEMU_NO_REGISTERS, page);
        else
            hook_block(block, page, insns);
    }
    if (last >> 12 != current) {
        code_page *page = code_page_of(last, host_gpa(block, index + 1, insns), is_user, true);
        current = last >> 12;
        qemu_plugin_register_vcpu_insn_exec_cb(insn, fetches, QEMU_NO_REGISTERS, page);
    }
    return current;
}

static void hook_insn(struct qemu_insn *insn, bool is_long, bool is_user)
{
    uint8_t bytes[32] = {0};
    size_t size = qemu_plugin_insn_size(insn);
    instruction found;
    qemu_plugin_insn_data(insn, bytes, size > 15 ? 15 : size);
    if (is_special(bytes, size, qemu_plugin_insn_vaddr(insn) + size, is_long, &found)) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, runs_special, QEMU_READS_REGISTERS, kept(&found, sizeof found));
        if (found.what == LOADS_IDT)
            qemu_plugin_register_vcpu_mem_cb(insn, loads_idt, QEMU_NO_REGISTERS, QEMU_LOADS, NULL);
    }
    if (is_user && loads_segment(bytes, size))
        return; /* its only accesses are the processor's own, to a descriptor table */
    qemu_plugin_register_vcpu_mem_cb(insn, is_user ? user_loads : kernel_loads, QEMU_NO_REGISTERS, QEMU_LOADS, NULL);
    qemu_plugin_register_vcpu_mem_cb(insn, is_user ? user_stores : kernel_stores, QEMU_NO_REGISTERS, QEMU_STORES, NULL);
}

static void translate_block(struct qemu_block *block)
{
    size_t insns = qemu_plugin_tb_n_insns(block);
    uint64_t first = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0)), current = UNKNOWN;
    bool is_user = (read_register(r_cs) & 3) == 3 && read_register(r_cr0) & CR0_PE;
    bool is_long = read_register(r_efer) & EFER_LME;
    block_base = is_long ? 0 : first - read_register(r_rip);
    if (has_inline)
        qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, QEMU_ADD, counted_insns, insns);
    if (!is_user && fault_handler(&vcpus[0]) == first) {
        instruction entry = {.what = ENTERS_FAULT_HANDLER};
        qemu_plugin_register_vcpu_tb_exec_cb(
            block, runs_special, QEMU_READS_REGISTERS, kept(&entry, sizeof entry));
    }
    for (size_t i = 0; i < insns; i++) {
        current = hook_pages(block, i, insns, current, is_user);
        hook_insn(qemu_plugin_tb_get_insn(block, i), is_long, is_user);
    }
}

static void translates(qemu_plugin_id_t id, struct qemu_block *block)
{
    (void)id;
    pthread_mutex_lock(&lock);
    if (!ram && !find_ram()) {
        fprintf(stderr, "refault: the guest's memory is not mapped\n");
        exit(1);
    }
    if (!is_done)
        translate_block(block);
    pthread_mutex_unlock(&lock);
}

/* ---- start ------------------------------------------------------------------------------- */

static void find_registers(void)
{
    static const char *const names[GENERAL] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};
    static const struct { const char *name; struct qemu_register **place; } others[] = {{"cr0", &r_cr0},
        {"cr2", &r_cr2}, {"cr3", &r_cr3}, {"cr4", &r_cr4}, {"efer", &r_efer}, {"cs", &r_cs}, {"rip", &r_rip}};
    GArray *all = qemu_plugin_get_registers();
    const qemu_register_descriptor *each = (void *)all->data;
    for (unsigned i = 0; i < all->length; i++, each++) {
        if (!each->name)
            continue;
        for (int k = 0; k < GENERAL; k++)
            if (!strcmp(each->name, names[k]))
                general[k] = each->handle;
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            if (!strcmp(each->name, others[k].name))
                *others[k].place = each->handle;
    }
    if (!general[RAX] || !r_cr0 || !r_cr2 || !r_cr3 || !r_cr4 || !r_efer || !r_cs || !r_rip) {
        fprintf(stderr, "refault: QEMU does not show the registers of its vCPUs\n");
        exit(1);
    }
}

static void starts_vcpu(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id;
    pthread_mutex_lock(&lock);
    if (vcpu >= VCPUS_MAX) {
        fprintf(stderr, "refault: more than %d vCPUs\n", VCPUS_MAX);
        exit(1);
    }
    vcpu_state *cpu = &vcpus[vcpu];
    cpu->epoch = cpu->code_epoch = 1;
    cpu->slots = calloc(slot_count, sizeof(slot));
    cpu->is_up = true;
    forget_code_page(vcpu);
    if (!bytes_read) {
        bytes_read = g_byte_array_new();
        find_registers();
    }
    pthread_mutex_unlock(&lock);
}

static void exits(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    pthread_mutex_lock(&lock);
    end();
    pthread_mutex_unlock(&lock);
}

#if QAPI >= 7
static void translates_7(struct qemu_block *block, void *data) { (void)data; translates(0, block); }
static void starts_vcpu_7(unsigned vcpu, void *data) { (void)data; starts_vcpu(0, vcpu); }
static void exits_7(void *data) { exits(0, data); }
#endif

static int read_argument(const char *name, const char *value, const qemu_info *info)
{
    if (!strcmp(name, "probe")) {
        fprintf(stderr, "refault plugin interface %d to %d, %s\n", info->version.min, info->version.cur, info->target);
        _exit(0);
    } else if (!strcmp(name, "out")) {
        out_fd = atoi(value);
    } else if (!strcmp(name, "report")) {
        report_fd = atoi(value);
    } else if (!strcmp(name, "ram")) {
        ram_bytes = strtoull(value, NULL, 10);
    } else if (!strcmp(name, "low")) {
        low_bytes = strtoull(value, NULL, 10);
    } else if (!strcmp(name, "start")) {
        from_boot = !strcmp(value, "boot");
    } else if (!strcmp(name, "max")) {
        records_max = strtoull(value, NULL, 10);
    } else if (!strcmp(name, "refresh")) {
        refresh = strtoull(value, NULL, 10);
    } else if (!strcmp(name, "slots")) {
        slot_count = atoi(value);
    } else {
        fprintf(stderr, "refault: unknown argument %s\n", name);
        return -1;
    }
    return 0;
}

static void write_header(void)
{
    struct {
        char magic[8];
        uint32_t version, record_bytes, vcpus, slots;
        uint64_t refresh;
        uint8_t zero[32];
    } header = {"PTTRACE", 1, sizeof(record), vcpu_count, slot_count, refresh, {0}};
    _Static_assert(sizeof header == 64, "the header has 64 bytes");
    write_out(out_fd, &header, sizeof header);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info *info, int count, char **arguments)
{
    for (int i = 0; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value)
            return -1;
        *value++ = 0;
        if (read_argument(arguments[i], value, info))
            return -1;
    }
    if (strcmp(info->target, "x86_64") || !info->is_system || out_fd < 0 || report_fd < 0 || !ram_bytes) {
        fprintf(stderr, "refault: x86_64 guests only, with out, report, ram and low\n");
        return -1;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    vcpu_count = info->system.vcpus;
    has_inline = vcpu_count == 1;
    frame_count = (ram_bytes > low_bytes ? FOUR_GIB + ram_bytes - low_bytes : ram_bytes) >> 12;
    tables = calloc(frame_count, sizeof *tables);
    is_table = calloc(frame_count, 1);
    write_header();
    struct qemu_scoreboard *score = qemu_plugin_scoreboard_new(16);
    counted_insns = (qemu_u64){score, 0};
    current_page = (qemu_u64){score, 8};
#if QAPI >= 7
    qemu_plugin_register_vcpu_init_cb(id, starts_vcpu_7, NULL);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translates_7, NULL);
    qemu_plugin_register_atexit_cb(id, exits_7, NULL);
#else
    qemu_plugin_register_vcpu_init_cb(id, starts_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translates);
    qemu_plugin_register_atexit_cb(id, exits, NULL);
#endif
    return 0;
}
