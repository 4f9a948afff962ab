/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What capture.c uses of QEMU's interface for TCG plugins, declared anew from its documentation:
 * distributions do not package QEMU's own header. Symbols resolve in the QEMU program itself.
 *
 * API 4 (QEMU 9.2) is the first that hands over stored values. API 5 and 6 only add, as far as is
 * used here. API 7 (QEMU 11) drops the plugin's number from callbacks, gives them user data, and
 * makes a register's descriptor 8 bytes longer.
 */
#ifndef REFAULT_QEMU_API_H
#define REFAULT_QEMU_API_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef QAPI
#define QAPI 4
#endif
#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct {
    const char *target;
    struct { int min, cur; } version;
    bool is_system;
    struct { int vcpus, max; } system;
} qemu_info;

struct qemu_block;
struct qemu_insn;
struct qemu_hwaddr;
struct qemu_register;
struct qemu_scoreboard;

typedef struct {
    struct qemu_scoreboard *score;
    size_t offset;
} qemu_u64; /* passed by value */

typedef struct {
    int type; /* 0 to 4: 8, 16, 32, 64, 128 bits */
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        struct { uint64_t low, high; } u128;
    } data;
} qemu_value;

typedef struct {
    struct qemu_register *handle;
    const char *name, *feature;
#if QAPI >= 7
    uint64_t added;
#endif
} qemu_register_descriptor;

enum { QEMU_NO_REGISTERS, QEMU_READS_REGISTERS };
enum { QEMU_LOADS = 1, QEMU_STORES = 2, QEMU_LOADS_AND_STORES = 3 };
enum { QEMU_IF_NOT_EQUAL = 3 };
enum { QEMU_ADD = 0 };

/* Arrays of glib, as they lie in memory. */
typedef struct { uint8_t *data; unsigned length; } GByteArray;
typedef struct { char *data; unsigned length; } GArray;
GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *, unsigned);

typedef void (*qemu_insn_callback)(unsigned vcpu, void *data);
typedef void (*qemu_memory_callback)(unsigned vcpu, qemu_plugin_meminfo_t, uint64_t gva, void *data);

#if QAPI >= 7
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, void (*)(unsigned, void *), void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(struct qemu_block *, void *), void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(void *), void *);
#else
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned));
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_block *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
#endif
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_block *, qemu_insn_callback, int registers, void *);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(
    struct qemu_block *, qemu_insn_callback, int registers, int condition, qemu_u64, uint64_t, void *);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_block *, int op, qemu_u64, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_insn *, qemu_insn_callback, int registers, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_insn *, qemu_memory_callback, int registers, int which, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_block *);
struct qemu_insn *qemu_plugin_tb_get_insn(const struct qemu_block *, size_t);
size_t qemu_plugin_insn_data(const struct qemu_insn *, void *, size_t);
size_t qemu_plugin_insn_size(const struct qemu_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_insn *);
void *qemu_plugin_insn_haddr(const struct qemu_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
qemu_value qemu_plugin_mem_get_value(qemu_plugin_meminfo_t);
struct qemu_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t gva);
bool qemu_plugin_hwaddr_is_io(const struct qemu_hwaddr *);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_hwaddr *);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_register *, GByteArray *);
bool qemu_plugin_read_memory_vaddr(uint64_t gva, GByteArray *, size_t);
struct qemu_scoreboard *qemu_plugin_scoreboard_new(size_t);
uint64_t qemu_plugin_u64_get(qemu_u64, unsigned vcpu);
void qemu_plugin_u64_set(qemu_u64, unsigned vcpu, uint64_t);
#endif
