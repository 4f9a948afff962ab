"""Operations for a simulated host, each access with the outcome the architecture demands.

A script keeps guest memory and registers of its own, asks the oracle about every access when
it is written down, and carries out on its memory what the processor would.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from refault.replay import operations as op
from tests import oracle
from tests.engines import defects
from tests.engines.entries import LMA, LME, PG

SHADOW_SHIFTS = {1: 12, 2: 21, 3: 30}
REGISTERS = {"cr0": op.SET_CR0, "cr3": op.SET_CR3, "cr4": op.SET_CR4, "efer": op.SET_EFER}
KINDS = {"read": op.LD, "write": op.ST, "fetch": op.EX}
ACCESSES = [oracle.Access(kind, user) for user in (True, False) for kind in KINDS]


@dataclass
class Segment:
    """Operations that run in one go, what the accesses among them must come to, and the rest.

    ``demands`` are the oracle's outcomes in order: the address reached, or -1 - error code;
    ``rows_of`` is the row of each. ``instead``
    maps a known defect to the outcomes it has in their place, {position in ``demands``:
    outcome}, and ``flags`` one to the bits it adds to error codes, {position: bits}.
    """

    rows: list[tuple[int, ...]] = field(default_factory=list)
    rows_of: list[int] = field(default_factory=list)
    demands: list[int] = field(default_factory=list)
    accesses: list[tuple[int, oracle.Access]] = field(default_factory=list)
    values: dict[int, int] = field(default_factory=dict)  # position → what a load must yield
    instead: dict[str, dict[int, int]] = field(default_factory=dict)
    flags: dict[str, dict[int, int]] = field(default_factory=dict)
    #: Words that hold something else where a kernel has the defect.
    excused: dict[str, set[int]] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)  # words of data, by stores
    #: Flags that a kernel with the defect does not set: {word: bits}.
    lost: dict[str, dict[int, int]] = field(default_factory=dict)
    refusals: dict[int, bool] = field(default_factory=dict)  # row of a register write → #GP?
    accepted: dict[str, set[int]] = field(default_factory=dict)  # … not where a defect is
    first_access: int = 0  # the rows before it are preparation
    memory: dict[int, int] = field(default_factory=dict)  # at the end, as it must be
    may_be_accessed: dict[int, int] = field(default_factory=dict)  # … and A bits that may be set

    @cached_property
    def operations(self):
        """The rows as the simulator takes them."""
        table = np.array(self.rows, np.int64).reshape(len(self.rows), 7).T
        small = [column.astype(np.uint8) for column in table[:4]]
        wide = [np.ascontiguousarray(column) for column in table[4:]]
        nothing, index = np.zeros(len(self.rows), np.uint8), np.arange(len(self.rows))
        return op.Operations(*small, nothing, *wide, index)

    @cached_property
    def places(self):
        """The row of each access."""
        return np.array(self.rows_of, np.int64)

    @cached_property
    def outcomes(self):
        """``demands`` as an array, not to be written to."""
        return np.array(self.demands, np.int64)

    @cached_property
    def fetches(self):
        """Which accesses are fetches."""
        return np.array([access.kind == "fetch" for _, access in self.accesses], bool)

    @cached_property
    def words(self):
        """``memory`` as arrays: addresses, contents, and bits that may be set besides."""
        may = [self.may_be_accessed.get(word, 0) for word in self.memory]
        columns = list(self.memory), list(self.memory.values()), may
        return [np.array(column, np.uint64).view(np.int64) for column in columns]


class Script:
    """Collects segments for one host; see the module."""

    def __init__(self, *, slots, processor=oracle.INTEL, vcpus=1):
        self.processor = processor
        self.slots = slots
        self.vcpu_count = vcpus
        self.defects = defects.known()
        self.deviations = [defect for defect in self.defects if hasattr(defect, "instead")]
        self.fetch_flags = [defect for defect in self.defects if hasattr(defect, "flags")]
        self.excused = {}
        self.stored = set()
        # What some defects depend on; see tests.engines.defects.
        self.stored_entries = set()  # entries a guest has stored into a shadowed table
        self.pdptes_kept = None
        self.twins = {}  # address → another that leads to the same page (F-X2, F-X3)
        self.vcpus = {}
        self.memory = {}
        self.changed = {}
        self.may_be_accessed = {}
        self.segments = []
        self.counter = 0
        self.begin()
        self.row(op.VM, a=vcpus)
        for i, (base, size, host_level) in enumerate(slots):
            self.row(op.MEM, user=host_level, aux=i, a=base >> 12, b=size >> 12)
        self.row(op.NR_PAGES, a=1 << 15)

    def begin(self):
        self.segment = Segment()
        self.segments.append(self.segment)

    def row(self, kind, *, vcpu=0, user=0, aux=0, a=0, b=0, want=0):
        self.segment.rows.append((kind, vcpu, user, aux, signed(a), signed(b), signed(want)))

    def read(self, gpa, size):
        """Guest memory as the oracle sees it."""
        if size == 8:
            return self.memory.get(gpa, 0)
        return self.memory.get(gpa & ~7, 0) >> 8 * (gpa & 4) & 0xFFFF_FFFF

    def write(self, gpa, value, size=8):
        word, shift = gpa & ~7, 8 * (gpa & 7)
        keep = self.memory.get(word, 0) & ~((1 << 8 * size) - 1 << shift)
        self.changed.setdefault(word, self.memory.get(word, 0))
        self.memory[word] = keep | (value & (1 << 8 * size) - 1) << shift

    def poke(self, gpa, value):
        """Set a word of guest memory behind the MMU's back."""
        self.memory[gpa] = value
        self.row(op.POKE, a=gpa, b=value)

    def restore(self):
        """Undo what accesses have done to memory, and forget every shadow page."""
        disputed = {word for words in self.excused.values() for word in words if self.holds(word)}
        for word in self.changed.keys() | self.may_be_accessed.keys() | disputed:
            self.poke(word, self.changed.get(word, self.memory.get(word, 0)))
        self.changed, self.may_be_accessed, self.excused, self.stored = {}, {}, {}, set()
        self.row(op.ZAPALL)
        for defect in self.defects:
            defect.forget()

    def boot(self, registers, vcpu=0):
        """Give a vCPU these registers, as if it had written EFER, CR4, CR3 and CR0 in turn."""
        loaded = oracle.Registers(**registers)
        if oracle.mode_of(loaded) is oracle.Mode.PAE:
            pdptes = oracle.load_pdptes(self.read, loaded.cr3, self.processor)
            assert pdptes is not None
            loaded = loaded._replace(pdptes=pdptes)
        self.vcpus[vcpu] = loaded
        self.pdptes_kept = None
        a = registers["cr0"] | registers["cr4"] << 32
        self.row(op.BOOT, vcpu=vcpu, a=a, b=registers["cr3"], want=registers["efer"])

    def set_register(self, name, value, vcpu=0):
        """The guest writes CR0, CR3, CR4 or EFER (``name``), which may be refused (#GP)."""
        if self.segment.demands:
            self.end()
        old = self.vcpus[vcpu]
        new = old._replace(**{name: value})
        if name == "efer":
            new = new._replace(efer=value & ~LMA | old.efer & LMA)
        elif name == "cr0":
            long = value & PG and old.efer & LME
            new = new._replace(efer=old.efer | LMA if long else old.efer & ~LMA)
        is_pae = oracle.mode_of(new) is oracle.Mode.PAE
        refused = False
        kept = name == "cr0" and not (old.cr0 ^ new.cr0) & PG
        self.pdptes_kept = old.pdptes if kept and is_pae else None
        if is_pae and (name == "cr3" or oracle.reloads_pdptes(old, new)):
            pdptes = oracle.load_pdptes(self.read, new.cr3, self.processor)
            refused = pdptes is None
            if refused:
                self.note_accepted(new.cr3)
            new = old if refused else new._replace(pdptes=pdptes)
        self.vcpus[vcpu] = new
        self.segment.refusals[len(self.segment.rows)] = refused
        self.row(REGISTERS[name], vcpu=vcpu, a=value)

    def note_accepted(self, cr3):
        """A processor refuses these PDPTEs; does a kernel take them? Boot the vCPU anew then."""
        table = cr3 & 0xFFFF_FFE0
        pdptes = [self.read(table + 8 * i, 8) for i in range(4)]
        for defect in self.defects:
            if isinstance(defect, defects.PdpteBits5And6) and defect.accepts(pdptes):
                self.segment.accepted.setdefault(defect.name, set()).add(len(self.segment.rows))

    def access(self, gva, access, vcpu=0, value=None):
        """One load, store or fetch; its outcome follows from memory and registers now."""
        segment, registers = self.segment, self.vcpus[vcpu]
        if not segment.demands:
            segment.first_access = len(segment.rows)
        outcome = oracle.walk(self.read, registers, gva, access, self.processor)
        number, place = defects.as_number(outcome), len(segment.demands)
        asked = defects.Asked(self, registers, gva, access, outcome)
        for defect in self.deviations:
            other = defect.instead(asked)
            if other is not None and other != number:
                segment.instead.setdefault(defect.name, {})[place] = other
                if max(other, number) >= 0:
                    words = {entry.gpa & ~7 for entry in outcome.entries} | {other, number}
                    self.excused.setdefault(defect.name, set()).update(words)
        if access.kind == "fetch":
            for defect in self.fetch_flags:
                flags = defect.flags(asked)
                if flags:
                    segment.flags.setdefault(defect.name, {})[place] = flags
        if access.kind == "write" and value is None:
            self.counter += 1
            value = self.counter << 16
        self.carry_out(outcome, access, value)
        segment.rows_of.append(len(segment.rows))
        segment.demands.append(number)
        segment.accesses.append((gva, access))
        self.row(KINDS[access.kind], vcpu=vcpu, user=int(access.user), a=gva, b=value or 0)

    def shadow_shift(self, outcome):
        """The size of the shadow mapping of a page: the host's, or the guest's if that is less."""
        return min(SHADOW_SHIFTS[self.slots[0][2]], SHADOW_SHIFTS[outcome.entries[-1].level])

    def inside(self, outcome):
        """The bits of an address inside the page that the last entry maps."""
        mode = oracle.mode_of(self.vcpus[0])
        wide = mode is oracle.Mode.BITS_32 and outcome.entries[-1].level == 2
        return (1 << (22 if wide else SHADOW_SHIFTS[outcome.entries[-1].level])) - 1

    def holds(self, gpa):
        """Is there memory at this address?"""
        return any(base <= gpa < base + size for base, size, _ in self.slots)

    def carry_out(self, outcome, access, value):
        """What a processor makes of memory."""
        if isinstance(outcome, oracle.Fault):
            for entry in outcome.entries:
                word, flag = entry.gpa & ~7, 0x20 << 8 * (entry.gpa & 7)
                self.may_be_accessed[word] = self.may_be_accessed.get(word, 0) | flag
            return
        for gpa, flags in outcome.marks:
            self.write(gpa, self.read(gpa & ~7, 8) >> 8 * (gpa & 7) & 0xFF | flags, 1)
        if not self.holds(outcome.gpa):
            return
        if access.kind == "write":
            self.write(outcome.gpa, value)
            self.stored.add(outcome.gpa)
        elif access.kind == "read":
            self.segment.values[len(self.segment.demands)] = self.read(outcome.gpa, 8)

    def end(self):
        """Close the segment: remember what memory must hold after it."""
        if not self.segment.demands:
            self.segment.first_access = len(self.segment.rows)
        words = self.changed.keys() | self.may_be_accessed.keys()
        self.segment.memory = {word: self.memory.get(word, 0) for word in words}
        self.segment.may_be_accessed = dict(self.may_be_accessed)
        self.segment.stored = set(self.stored)
        self.segment.excused = {name: set(words) for name, words in self.excused.items()}
        self.begin()


def signed(value):
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
