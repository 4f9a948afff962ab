"""Small guests, written operation by operation, as traces in memory."""

from __future__ import annotations

import io

import numpy as np

from refault.trace import Block, EventKind, TraceHeader, TraceReader, TraceWriter

P, W, U, A, D, PS = 1, 2, 4, 0x20, 0x40, 0x80
NX = 1 << 63
LONG = {"cr0": 0x80010033, "cr4": 0x20, "efer": 0x500}
_STORES = {8: EventKind.OP_ST, 4: EventKind.OP_ST4, 2: EventKind.OP_ST2, 1: EventKind.OP_ST1}


LA57 = 1 << 12


class Guest:
    """Collects operations; ``trace()`` opens them as a trace."""

    mode = "long"

    def __init__(self, vcpus=1, *, bypass=0, pages=16384, host_level=1):
        self.vcpus = vcpus
        self.rows = []
        self.add(EventKind.OP_VM, a=vcpus, b=bypass)
        self.add(EventKind.OP_MEM, flags=host_level, a=0, b=pages)

    def add(self, kind, *, vcpu=0, flags=0, aux=0, a=0, b=0):
        self.rows.append((int(kind), vcpu, flags, aux, 0, a & (1 << 64) - 1, b & (1 << 64) - 1))
        return self

    def poke(self, gpa, value):
        return self.add(EventKind.OP_POKE, a=gpa, b=value)

    def table(self, gfn, entries):
        for index, value in entries.items():
            self.poke(gfn << 12 | index << 3, value)
        return self

    def boot(self, cr3, vcpu=0, **registers):
        values = {**LONG, **registers}
        self.add(EventKind.OP_BOOT_CR, vcpu=vcpu, a=values["cr0"], b=cr3)
        return self.add(EventKind.OP_BOOT, vcpu=vcpu, a=values["cr4"], b=values["efer"])

    def load(self, gva, *, user=1, vcpu=0):
        return self.add(EventKind.OP_LD, vcpu=vcpu, flags=4 * user, a=gva)

    def fetch(self, gva, *, user=1, vcpu=0):
        return self.add(EventKind.OP_EX, vcpu=vcpu, flags=4 * user, a=gva)

    def store(self, gva, value=0, *, size=8, user=1, vcpu=0):
        return self.add(_STORES[size], vcpu=vcpu, flags=4 * user, a=gva, b=value)

    def cr3(self, value, vcpu=0):
        return self.add(EventKind.OP_CR3, vcpu=vcpu, a=value)

    def invlpg(self, gva, vcpu=0):
        return self.add(EventKind.OP_INVLPG, vcpu=vcpu, a=gva)

    def header(self):
        return TraceHeader("operations", "a small guest", self.mode, self.vcpus)

    def block(self):
        columns = list(zip(*self.rows, strict=True))
        small = [np.array(column, np.uint8) for column in columns[:4]]
        wide = [np.array(column, np.uint64).view(np.int64) for column in columns[5:]]
        return Block(0, *small, np.array(columns[4], np.uint32), *wide)

    def bytes(self):
        file = io.BytesIO()
        with TraceWriter(file, self.header(), level=1) as writer:
            writer.append_block(self.block())
        return file.getvalue()

    def trace(self):
        return TraceReader(io.BytesIO(self.bytes()))


def deepened(guest, slot):
    """The same guest with a fifth level above its roots, and all addresses in that slot of it."""
    deep = Guest(guest.vcpus)
    deep.mode, deep.rows = "long5", []
    base = slot << 48 | (0x7F << 57 if slot >= 256 else 0)
    addressed = {*range(EventKind.OP_LD, EventKind.OP_ST1 + 1), int(EventKind.OP_INVLPG)}
    roots = {}

    def above(root):
        return roots.setdefault(root, 1023 - len(roots)) << 12

    for kind, *small, a, b in guest.rows:
        a_deep, b_deep = a, b
        if kind == EventKind.OP_BOOT_CR:
            b_deep = above(b)
        elif kind == EventKind.OP_BOOT:
            a_deep = a | LA57
        elif kind == EventKind.OP_CR3:
            a_deep = above(a)
        elif kind in addressed:
            a_deep = a + base
        deep.rows.append((kind, *small, a_deep, b_deep))
    tables = Guest()
    tables.rows = []
    for root, gfn in roots.items():
        tables.table(gfn, {slot: root | P | W | U | A | D})
    deep.rows[2:2] = tables.rows  # behind vCPUs and memory
    return deep
