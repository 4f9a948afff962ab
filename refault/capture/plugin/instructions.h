/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Instructions that change what a translation depends on, recognised by their bytes when a block is
 * translated.
 */
#ifndef REFAULT_INSTRUCTIONS_H
#define REFAULT_INSTRUCTIONS_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum special {
    WRITES_CR = 1, DOES_INVLPG, WRITES_MSR, LOADS_IDT, DOES_INVPCID, IS_MARK, ENTERS_FAULT_HANDLER, LOADS_MSW
};

/* ``number`` is the control register or the mark; the address of INVLPG is
 * base + (index << scale) + displacement, with base 16 for the next instruction. */
typedef struct {
    enum special what;
    int number, source, base, index, scale;
    uint64_t displacement, next;
} instruction;

#define NO_REGISTER (-1)
#define NEXT_RIP 16

static bool is_prefix(uint8_t byte)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
    return memchr(prefixes, byte, sizeof prefixes) != NULL;
}

static uint64_t signed_32(const uint8_t *bytes)
{
    int32_t value;
    memcpy(&value, bytes, 4);
    return (int64_t)value;
}

/* The operand of INVLPG: modrm and what follows; bytes has at least six more. */
static void read_address(const uint8_t *bytes, int rex, bool is_long, instruction *found)
{
    int modrm = *bytes++, mod = modrm >> 6, rm = modrm & 7;
    int high_base = rex & 1 ? 8 : 0, high_index = rex & 2 ? 8 : 0;
    if (rm == 4) {
        int sib = *bytes++;
        found->scale = sib >> 6;
        found->index = (sib >> 3 & 7) | high_index;
        if (found->index == 4)
            found->index = NO_REGISTER;
        found->base = (sib & 7) | high_base;
        if ((sib & 7) == 5 && mod == 0) {
            found->base = NO_REGISTER;
            found->displacement = signed_32(bytes);
        }
    } else if (rm == 5 && mod == 0) {
        found->base = is_long ? NEXT_RIP : NO_REGISTER;
        found->displacement = signed_32(bytes);
    } else {
        found->base = rm | high_base;
    }
    if (mod == 1)
        found->displacement = (int64_t)(int8_t)*bytes;
    else if (mod == 2)
        found->displacement = signed_32(bytes);
}

/* Is it a load of a segment register from a general register? */
static bool loads_segment(const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (at < size && (is_prefix(bytes[at]) || (size > 2 && (bytes[at] & 0xf0) == 0x40)))
        at++;
    return at + 1 < size && bytes[at] == 0x8e && bytes[at + 1] >> 6 == 3;
}

/* Is it one of them? ``bytes`` has ``size`` bytes and at least 8 zeros after them. */
static bool is_special(const uint8_t *bytes, size_t size, uint64_t next, bool is_long, instruction *found)
{
    size_t at = 0;
    bool has_66 = false;
    int rex = 0;
    *found = (instruction){.base = NO_REGISTER, .index = NO_REGISTER, .next = next};
    for (; at < size && is_prefix(bytes[at]); at++)
        has_66 |= bytes[at] == 0x66;
    if (is_long && at < size && (bytes[at] & 0xf0) == 0x40)
        rex = bytes[at++];
    if (at + 1 >= size || bytes[at] != 0x0f)
        return false;
    uint8_t opcode = bytes[at + 1];
    at += 2;
    if (opcode == 0x30) {
        found->what = WRITES_MSR;
        return true;
    }
    if (at >= size)
        return false;
    if (opcode == 0x38) {
        found->what = DOES_INVPCID;
        return bytes[at] == 0x82 && has_66;
    }
    uint8_t modrm = bytes[at];
    int mod = modrm >> 6, reg = modrm >> 3 & 7;
    if (opcode == 0x22) {
        found->what = WRITES_CR;
        found->number = reg | (rex & 4 ? 8 : 0);
        found->source = (modrm & 7) | (rex & 1 ? 8 : 0);
        return true;
    }
    if (opcode == 0x1f && modrm == 0x84 && at + 6 <= size && !bytes[at + 1] && bytes[at + 4] == 0x52
        && bytes[at + 5] == 0x54) {
        found->what = IS_MARK;
        found->number = bytes[at + 2] | bytes[at + 3] << 8;
        return true;
    }
    if (opcode != 0x01)
        return false;
    if (reg == 6) {
        found->what = LOADS_MSW;
        return true;
    }
    if (mod == 3 || (reg != 3 && reg != 7))
        return false;
    found->what = reg == 3 ? LOADS_IDT : DOES_INVLPG;
    if (reg == 7)
        read_address(bytes + at, rex, is_long, found);
    return true;
}
#endif
