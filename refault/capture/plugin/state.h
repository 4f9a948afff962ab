/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the plugin knows of the guest, and the records it writes. Records are those of a ptt file
 * (refault/trace/importers/ptt.py): 24 bytes each, little-endian.
 */
#ifndef REFAULT_STATE_H
#define REFAULT_STATE_H
#include "qemu_api.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ACCESS = 1, TABLE_STORE, CR, MSR, INVLPG, PAGE_FAULT, TABLE_SNAPSHOT, TABLE_ENTRY, TABLE_DROP,
    MARK, FILTER_FLUSH, END
};
enum { WRITE = 1, FETCH = 2, USER = 4, IO = 8, NO_GPA = 16, INITIAL = 32 };
typedef struct {
    uint8_t kind, vcpu, flags, aux;
    uint32_t insns;
    uint64_t a, b;
} record;
_Static_assert(sizeof(record) == 24, "a record has 24 bytes");

#define VCPUS_MAX 64
#define RECORDS_HELD 21845 /* half a MiB */
#define PAGE_MASK 0xfffull
#define UNKNOWN (~0ull)
#define FOUR_GIB (1ull << 32)
#define EFER_MSR 0xc0000080u
#define CR0_PG (1ull << 31)
#define CR0_PE 1ull
#define CR4_PSE (1ull << 4)
#define CR4_PAE (1ull << 5)
#define CR4_LA57 (1ull << 12)
#define EFER_LME (1ull << 8)

/* One entry of a vCPU's filter: the page with six bits for what was recorded of it (load, store,
 * fetch; the kernel's, then the user's), and the epoch in which that holds. */
typedef struct {
    uint64_t page_and_bits;
    uint32_t epoch, gfn;
} slot;
enum { SEEN_LOAD = 1, SEEN_STORE = 2, SEEN_FETCH = 4, FOR_USER = 3 };
#define NO_GFN 0xffffffffu
#define CODE_PAGES 1024

typedef struct {
    bool is_up;
    uint64_t cr0, cr3, cr4, efer, idt;
    uint16_t idt_limit;
    uint32_t epoch, code_epoch;
    slot *slots;
    uint64_t next_refresh, code_gva;
    struct { uint64_t key, gva; uint32_t epoch; } code[CODE_PAGES];
    uint64_t insns, code_key; /* where inline counters cannot be used */
} vcpu_state;

/* How tables are laid out: by level of the root. */
typedef struct {
    uint8_t levels, entry_shift, index_bits, index_bits_of_root;
} layout;
enum { NO_PAGING, LEGACY, PAE, LONG4, LONG5 };
static const layout LAYOUTS[] = {
    [LEGACY] = {2, 2, 10, 10}, [PAE] = {3, 3, 9, 9}, [LONG4] = {4, 3, 9, 9}, [LONG5] = {5, 3, 9, 9},
};

/* A page of guest memory that holds a table. ``copy`` is its content as of the last store seen. */
typedef struct {
    uint64_t *copy;
    uint64_t gva;         /* the first address that its entries translate */
    uint64_t roots[2];    /* PAE: which of the 128 places of 32 bytes have been a root */
    uint32_t parent;      /* the frame of the table that pointed here last, and with which entry */
    uint16_t parent_index, references;
    uint8_t level, mode, is_root, is_shared, grace;
} table;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* vCPUs run in threads of their own */
static vcpu_state vcpus[VCPUS_MAX];
static int vcpu_count;
static table *tables;      /* one per page frame */
static uint8_t *is_table;  /* the same, one byte each: what the fast path looks at */
static uint64_t frame_count;
static uint8_t *ram;
static uint64_t ram_bytes, low_bytes; /* low_bytes lie below 4 GiB, the rest from there on */
static int slot_count = 1 << 14;
static uint64_t records_max = UNKNOWN, refresh;
static volatile bool is_on, is_done;
static bool from_boot, has_inline;
static int out_fd = -1, report_fd = -1;
static record held[RECORDS_HELD];
static int held_count;
static uint64_t record_count, last_insns;
static uint64_t unlike_memory, outside_memory, without_gpa, drops[8];
static qemu_u64 counted_insns, current_page;

static uint64_t insns_of_all(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < vcpu_count; i++)
        if (vcpus[i].is_up)
            sum += has_inline ? qemu_plugin_u64_get(counted_insns, i) : vcpus[i].insns;
    return sum;
}

static void write_out(int fd, const void *data, size_t size)
{
    const char *from = data;
    while (size) {
        ssize_t done = write(fd, from, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            _exit(1); /* the reader is gone, so nobody wants this guest any more */
        from += done;
        size -= done;
    }
}

static void write_held(void)
{
    write_out(out_fd, held, held_count * sizeof *held);
    held_count = 0;
}

static void put_with(unsigned vcpu, int kind, int flags, int aux, uint32_t insns, uint64_t a, uint64_t b)
{
    held[held_count++] = (record){kind, vcpu, flags, aux, insns, a, b};
    record_count++;
    if (held_count == RECORDS_HELD)
        write_held();
}

static void put(unsigned vcpu, int kind, int flags, int aux, uint64_t a, uint64_t b)
{
    uint64_t now = insns_of_all(), since = now - last_insns;
    last_insns = now;
    put_with(vcpu, kind, flags, aux, since > 0xffffffffu ? 0xffffffffu : since, a, b);
}

/* ---- guest memory ------------------------------------------------------------------------ */

static uint8_t *at_gfn(uint64_t gfn)
{
    uint64_t gpa = gfn << 12;
    if (gpa < low_bytes)
        return ram + gpa;
    if (gpa >= FOUR_GIB && gpa - FOUR_GIB < ram_bytes - low_bytes)
        return ram + low_bytes + (gpa - FOUR_GIB);
    return NULL;
}

static uint64_t gpa_of(const uint8_t *host)
{
    if (!host || host < ram || host >= ram + ram_bytes)
        return UNKNOWN;
    uint64_t offset = host - ram;
    return offset < low_bytes ? offset : offset - low_bytes + FOUR_GIB;
}

static int find_ram(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    unsigned long from, to, offset;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memory-backend-memfd") && sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3
            && !offset && to - from >= ram_bytes) {
            ram = (uint8_t *)from;
            break;
        }
    if (maps)
        fclose(maps);
    return ram != NULL;
}

/* ---- the filter -------------------------------------------------------------------------- */

static slot *slot_of(vcpu_state *cpu, uint64_t gva)
{
    uint64_t page = gva >> 12;
    return &cpu->slots[(page ^ (page >> 14) * 0x9e37u) & (slot_count - 1)];
}

static void forget_code_page(unsigned vcpu)
{
    vcpus[vcpu].code_epoch++;
    if (has_inline)
        qemu_plugin_u64_set(current_page, vcpu, UNKNOWN);
    else
        vcpus[vcpu].code_key = UNKNOWN;
}

static void begin_epoch(unsigned vcpu)
{
    vcpus[vcpu].epoch++;
    forget_code_page(vcpu);
}

static void begin_epoch_of_all(void)
{
    for (int i = 0; i < vcpu_count; i++)
        if (vcpus[i].is_up)
            begin_epoch(i);
}

static bool is_of_page(const slot *s, uint64_t gva)
{
    return ((s->page_and_bits ^ gva) & ~PAGE_MASK) == 0;
}

static void forget_page(vcpu_state *cpu, uint64_t gva)
{
    slot *s = slot_of(cpu, gva);
    if (is_of_page(s, gva))
        s->epoch = 0;
}

static void forget_page_of_all(uint64_t gva)
{
    for (int i = 0; i < vcpu_count; i++)
        if (vcpus[i].is_up) {
            forget_page(&vcpus[i], gva);
            forget_code_page(i);
        }
}

/* The entry of a page in the current epoch. */
static slot *claim_slot(vcpu_state *cpu, uint64_t gva)
{
    slot *s = slot_of(cpu, gva);
    if (s->epoch != cpu->epoch || !is_of_page(s, gva))
        *s = (slot){gva & ~PAGE_MASK, cpu->epoch, NO_GFN};
    return s;
}
#endif
