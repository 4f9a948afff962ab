/* A yardstick: nothing but a TLB looked up for each access, over the benchmark's own arrays.
 *
 * 256 sets of 4 ways, filled round robin, keyed by page; a flush raises the generation.
 * A miss takes the translation from the witness column instead of walking anything.
 */
#include <stdint.h>

enum { SET_CR3 = 40, LD = 43, EX = 44, ST = 45, INVLPG = 49 };
enum { P = 1, W = 2, U = 4, X = 8 };

struct set {
    uint64_t key[4];
    uint64_t data[4];
};

static struct set sets[256];
static uint8_t next_way[256];

/* counts: accesses, hits, misses, addresses other than the witness, sum of all addresses */
void tlb_loop(long rows, const uint8_t *kind, const uint8_t *user, const int64_t *a,
              const int64_t *want, int64_t *counts)
{
    uint64_t generation = 1, sum = 0;
    long accesses = 0, hits = 0, wrong = 0;

    for (int i = 0; i < 256; i++) {
        sets[i] = (struct set){{0}, {0}};
        next_way[i] = 0;
    }
    for (long i = 0; i < rows; i++) {
        uint8_t k = kind[i];
        if (k == SET_CR3 || k == INVLPG) {
            generation++;
            continue;
        }
        if (k < LD || k > ST)
            continue;
        uint64_t page = (uint64_t)a[i] >> 12;
        uint64_t key = (generation << 36) | (page & 0xFFFFFFFFF);
        uint64_t need = P | (k == ST ? W : 0) | (k == EX ? X : 0) | (user[i] ? U : 0);
        struct set *set = &sets[page & 255];
        uint64_t data = 0;
        /* Without branches: which way answers is as good as random. */
        for (int way = 0; way < 4; way++)
            data |= set->data[way] & -(uint64_t)(set->key[way] == key);
        accesses++;
        if ((data & need) == need) {
            hits++;
        } else {
            int way = next_way[page & 255];
            next_way[page & 255] = (way + 1) & 3;
            data = ((uint64_t)want[i] & ~0xFFFull) | P | W | U | X;
            set->key[way] = key;
            set->data[way] = data;
        }
        uint64_t address = (data & ~0xFFFull) | ((uint64_t)a[i] & 0xFFF);
        sum += address;
        wrong += address != (uint64_t)want[i];
    }
    counts[0] = accesses;
    counts[1] = hits;
    counts[2] = accesses - hits;
    counts[3] = wrong;
    counts[4] = (int64_t)sum;
}
