/* A yardstick: the least a shadow MMU must do, without a reverse map and without unsync.
 *
 * Every store to a shadowed guest table is emulated and drops the shadow entry. When a
 * frame becomes a table, all leaves are looked through to take W from its mappings. The
 * processor has the benchmark's TLB: 256 sets of 4 ways, round robin, keyed by page,
 * dropped as a whole by INVLPG, by a CR3 write and when W is taken.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { POKE = 36, BOOT = 38, SET_CR3 = 40, LD = 43, EX = 44, ST = 45, INVLPG = 49 };
enum { NO_WITNESS = 0, FAULT = 4 };
#define P 1ull
#define W 2ull
#define U 4ull
#define A 0x20ull
#define D 0x40ull
#define PS 0x80ull
#define NX (1ull << 63)
#define FRAME 0x000FFFFFFFFFF000ull
enum { FRAMES = 16384, SHADOWS = 4096, BUCKETS = 1024, EMULATED = -2, FAULTED = -1 };

struct shadow {
    uint64_t entry[512];
    uint64_t gfn;
    int level, direct, next;
};
struct set {
    uint64_t key[4], data[4];
};

static uint64_t (*memory)[512];
static uint8_t *is_table;
static struct shadow *shadows;
static int used, bucket[BUCKETS];
static struct set sets[256];
static uint8_t next_way[256];
static uint64_t generation, cr3;
static int root, fault_code;

static int index_at(uint64_t gva, int level)
{
    return (gva >> (3 + 9 * level)) & 511;
}

static void protect(uint64_t gfn)
{
    for (int s = 1; s <= used; s++) {
        if (shadows[s].level != 1)
            continue;
        for (int i = 0; i < 512; i++)
            if (shadows[s].entry[i] & P && (shadows[s].entry[i] & FRAME) >> 12 == gfn)
                shadows[s].entry[i] &= ~W;
    }
    generation++;
}

static int shadow_of(uint64_t gfn, int level, int direct)
{
    int *head = &bucket[(gfn * 5 + level) & (BUCKETS - 1)];
    for (int s = *head; s; s = shadows[s].next)
        if (shadows[s].gfn == gfn && shadows[s].level == level && shadows[s].direct == direct)
            return s;
    if (used + 1 == SHADOWS)
        abort();
    int s = ++used;
    memset(shadows[s].entry, 0, sizeof shadows[s].entry);
    shadows[s].gfn = gfn;
    shadows[s].level = level;
    shadows[s].direct = direct;
    shadows[s].next = *head;
    *head = s;
    if (!direct && !is_table[gfn]) {
        is_table[gfn] = 1;
        protect(gfn);
    }
    return s;
}

/* Walk the guest's tables and build the path; the store's guest address if it must be emulated. */
static int64_t handle_fault(uint64_t gva, uint64_t write, uint64_t user, uint64_t fetch)
{
    uint64_t access = W | U, entry = 0, executable = 1, table = cr3 >> 12;
    int level = 4, tables[5];

    for (;; level--) {
        uint64_t *place = &memory[table][index_at(gva, level)];
        entry = *place;
        fault_code = (write ? 2 : 0) | (user ? 4 : 0) | (fetch ? 16 : 0);
        if (!(entry & P))
            return FAULTED;
        fault_code |= 1;
        if ((write && !(entry & W)) || (user && !(entry & U)) || (fetch && entry & NX))
            return FAULTED;
        if (!(entry & A))
            *place = entry |= A;
        access &= entry;
        executable &= !(entry & NX);
        tables[level] = (int)table;
        if (level == 1 || (level == 2 && entry & PS)) {
            if (write && !(entry & D))
                *place = entry |= D;
            break;
        }
        table = (entry & FRAME) >> 12;
        if (table >= FRAMES)
            abort();
    }
    uint64_t gfn = (entry & FRAME) >> 12;
    if (level == 2)
        gfn = (gfn & ~511ull) + index_at(gva, 1);
    int s = root;
    for (int at = 4; at > 1; at--) {
        uint64_t *link = &shadows[s].entry[index_at(gva, at)];
        if (!(*link & P)) {
            int direct = at - 1 < level;
            uint64_t below = direct ? gfn & ~511ull : (uint64_t)tables[at - 1];
            *link = (uint64_t)shadow_of(below, at - 1, direct) << 12 | P | W | U | A;
        }
        s = (int)((*link & FRAME) >> 12);
    }
    uint64_t leaf = gfn << 12 | P | A | D | (access & U) | (executable ? 0 : NX);
    if (access & W && entry & D && !is_table[gfn])
        leaf |= W;
    shadows[s].entry[index_at(gva, 1)] = leaf;
    return write && is_table[gfn] ? (int64_t)(gfn << 12 | (gva & 0xFFF)) : EMULATED;
}

static void emulate_store(uint64_t gpa, uint64_t value)
{
    uint64_t gfn = gpa >> 12;
    memory[gfn][(gpa >> 3) & 511] = value;
    for (int level = 1; level <= 4; level++)
        for (int s = bucket[(gfn * 5 + level) & (BUCKETS - 1)]; s; s = shadows[s].next)
            if (shadows[s].gfn == gfn && shadows[s].level == level && !shadows[s].direct)
                shadows[s].entry[(gpa >> 3) & 511] = 0;
}

static int64_t walk(uint64_t gva, uint64_t need)
{
    int s = root;
    for (int level = 4;; level--) {
        uint64_t entry = shadows[s].entry[index_at(gva, level)];
        if (((entry ^ NX) & need) != need)
            return -1;
        if (level == 1)
            return (int64_t)(entry ^ NX);
        s = (int)((entry & FRAME) >> 12);
    }
}

static int64_t access_memory(uint64_t gva, int kind, int user, uint64_t value, long *hits)
{
    uint64_t need = P | A | (kind == ST ? W : 0) | (user ? U : 0) | (kind == EX ? NX : 0);
    uint64_t page = (gva >> 12) & 0xFFFFFFFFF, gpa;
    struct set *set = &sets[page & 255];
    uint64_t data = 0;

    /* Without branches: which way answers is as good as random. */
    for (int way = 0; way < 4; way++)
        data |= set->data[way] & -(uint64_t)(set->key[way] == (generation << 36 | page));
    if (data && (data & need) != need)
        for (int way = 0; way < 4; way++)
            if (set->key[way] == (generation << 36 | page))
                set->key[way] = 0;
    if ((data & need) == need) {
        ++*hits;
    } else {
        int64_t entry;
        while ((entry = walk(gva, need)) == -1) {
            int64_t done = handle_fault(gva, kind == ST, (uint64_t)user, kind == EX);
            if (done == FAULTED)
                return FAULTED;
            if (done >= 0) {
                emulate_store((uint64_t)done, value);
                return done;
            }
        }
        data = (uint64_t)entry;
        int way = next_way[page & 255];
        next_way[page & 255] = (way + 1) & 3;
        set->key[way] = generation << 36 | page;
        set->data[way] = data;
    }
    gpa = (data & FRAME) | (gva & 0xFFF);
    if (kind == ST)
        memory[gpa >> 12][(gpa >> 3) & 511] = value;
    return (int64_t)gpa;
}

/* The next call begins with a guest that has done nothing. */
void mmu_reset(void)
{
    if (!memory) {
        memory = malloc(FRAMES * sizeof *memory);
        is_table = malloc(FRAMES);
        shadows = malloc(SHADOWS * sizeof *shadows);
    }
    memset(memory, 0, FRAMES * sizeof *memory);
    memset(is_table, 0, FRAMES);
    memset(bucket, 0, sizeof bucket);
    memset(sets, 0, sizeof sets);
    memset(next_way, 0, sizeof next_way);
    used = 0;
    generation = 1;
}

/* counts: accesses, hits, guest faults, not as witnessed, sum of all addresses, shadow pages */
void mmu_loop(long rows, const uint8_t *kind, const uint8_t *user, const uint8_t *cls,
              const int64_t *a, const int64_t *b, const int64_t *want, int64_t *counts)
{
    long accesses = 0, hits = 0, faults = 0, wrong = 0;
    uint64_t sum = 0;

    for (long i = 0; i < rows; i++) {
        switch (kind[i]) {
        case LD:
        case EX:
        case ST: {
            int64_t gpa = access_memory((uint64_t)a[i], kind[i], user[i], (uint64_t)b[i], &hits);
            accesses++;
            if (gpa == FAULTED) {
                faults++;
                wrong += cls[i] != FAULT || fault_code != want[i];
            } else {
                sum += (uint64_t)gpa;
                wrong += cls[i] == FAULT || (cls[i] != NO_WITNESS && gpa != want[i]);
            }
            break;
        }
        case POKE:
            memory[a[i] >> 12][(a[i] >> 3) & 511] = (uint64_t)b[i];
            break;
        case BOOT:
        case SET_CR3:
            cr3 = (uint64_t)(kind[i] == BOOT ? b[i] : a[i]) & FRAME;
            root = shadow_of(cr3 >> 12, 4, 0);
            generation++;
            break;
        case INVLPG: {
            int s = root;
            for (int level = 4; s && level > 1; level--) {
                uint64_t entry = shadows[s].entry[index_at((uint64_t)a[i], level)];
                s = entry & P ? (int)((entry & FRAME) >> 12) : 0;
            }
            if (s)
                shadows[s].entry[index_at((uint64_t)a[i], 1)] = 0;
            generation++;
            break;
        }
        default:
            break;
        }
    }
    counts[0] = accesses;
    counts[1] = hits;
    counts[2] = faults;
    counts[3] = wrong;
    counts[4] = (int64_t)sum;
    counts[5] = used;
}
