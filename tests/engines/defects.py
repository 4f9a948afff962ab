"""Where the old kernels are known to differ from a processor, each by its exact condition.

A defect answers, for an access, the outcome the kernel has instead of the architecture's.
Where it answers nothing the kernel must agree; where it answers, the kernel must do just
that, so a defect that stops showing is noticed as surely as a new one.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests import oracle
from tests.engines.entries import NX, NXE, PS, PSE, WP, G, P, U, W

#: Kernels of the simulated bases: before April 2010's review fixes, April's, and 2.6.35.
LINUX_34, APRIL, LINUX_35 = "2.6.34", "April 2010", "2.6.35"
ALL = frozenset({LINUX_34, APRIL, LINUX_35})
FETCH = 1 << 4
PAE_RESERVED = 0x7FF << 52
PDPTE_RESERVED = 0x1E6 | 0xFF_FFFF << 40


class Asked(NamedTuple):
    """An access and what the oracle says of it."""

    script: Any  # the Script, with its memory
    registers: oracle.Registers
    gva: int
    access: oracle.Access
    outcome: oracle.Translation | oracle.Fault


@dataclass
class Defect:
    """A known deviation: which kernels have it, and whether their guest walk has it too.

    A kind of defect has ``instead(asked)``, which answers the outcome in place of the oracle's
    (an address, or -1 - error code) or None; or ``flags(asked)``, what it adds to the error
    code of a fetch that faults.
    """

    name: str = ""
    kernels: frozenset[str] = ALL
    in_guest_walk: bool = True
    only_with_bypass: bool = False

    def forget(self):
        """Every shadow page is gone."""


def as_number(outcome):
    """The address reached, or -1 - error code."""
    return outcome.gpa if isinstance(outcome, oracle.Translation) else -1 - outcome.code


def stopped_early(registers, access, outcome):
    """The fault of a walk that ends at the first entry which alone denies the access."""
    if isinstance(outcome, oracle.Fault):
        for entry in outcome.entries[:-1]:
            if entry.denies:
                tells_fetch = registers.cr4 & 0x20 and registers.efer & NXE
                return -1 - (
                    1
                    | (access.kind == "write") << 1
                    | access.user << 2
                    | bool(access.kind == "fetch" and tells_fetch) << 4
                )
    return None


class DeniedTooEarly(Defect):
    """Rights are judged level by level, so an upper entry hides an absent or reserved lower one.

    walk_addr() until "KVM: MMU: Keep going on permission error" (f59c1d2ded5, 2.6.36).
    """

    def instead(self, asked):
        return stopped_early(asked.registers, asked.access, asked.outcome)


class PatHidesReserved(Defect):
    """A last-level entry of a 64-bit format with bit 7 (PAT) is not checked for reserved bits.

    reset_rsvds_bits_mask() copies that row onto itself before it is filled; 2.6.34 only.
    """

    def instead(self, asked):
        registers, gva, outcome = asked.registers, asked.gva, asked.outcome
        if not isinstance(outcome, oracle.Fault) or not outcome.entries:
            return None
        last = outcome.entries[-1]
        if last.level != 1 or not last.reserved or not last.value & PS or not registers.cr4 & 0x20:
            return None
        if any(entry.denies for entry in outcome.entries):
            return -1 - (outcome.code & ~8)
        return last.value & 0xF_FFFF_FFFF_F000 | gva & 0xFFF


class LargeBitWithoutPse(Defect):
    """With CR4.PSE off a directory entry with bit 7 and any of bits 17-21 counts as reserved.

    2.6.34 applies the mask of a 4 MiB entry to it; a processor takes it as a table's.
    """

    def instead(self, asked):
        registers, access, outcome = asked.registers, asked.access, asked.outcome
        entries = outcome.entries
        if not entries or registers.cr4 & (0x20 | PSE) or not entries[0].value & PS:
            return None
        if not entries[0].value & P or not entries[0].value & 0x3E_0000:
            return None
        return reserved_fault(registers, access)


class Pse36HasFourBits(Defect):
    """Bits 17-20 of a 4 MiB entry count as reserved: 36 address bits, whatever MAXPHYADDR is.

    A processor with 40 takes them as address bits 36-39 (SDM table 4-4).
    """

    def instead(self, asked):
        registers, access, outcome = asked.registers, asked.access, asked.outcome
        entries = outcome.entries
        if not entries or registers.cr4 & 0x20 or not registers.cr4 & PSE:
            return None
        if entries[0].value & (P | PS) != P | PS or not entries[0].value & 0x1E_0000:
            return None
        return reserved_fault(registers, access)


class Bit8IsReserved(Defect):
    """Bit 8 of a PML4E, or of a PDPTE that references a table, counts as reserved.

    That is AMD's rule; Intel's processors ignore the bit. The kernel has one mask for both.
    """

    def instead(self, asked):
        script, registers, gva, access, outcome = asked
        entries = outcome.entries
        if script.processor.reserves_bit_8 or not entries or entries[0].level != 4:
            return None
        links = [entry.value for entry in entries[:2] if entry.value & P]
        if not any(value & G for value in links):
            return None
        outcome = oracle.walk(script.read, registers, gva, access, oracle.AMD)
        early = stopped_early(registers, access, outcome)
        return as_number(outcome) if early is None else early


class FetchFlagIn32Bit(Defect):
    """The error code of a fetch has I/D set in 32-bit paging too, if EFER.NXE is.

    The guest has no way to forbid execution there, and a processor does not set it.
    """

    def flags(self, asked):
        is_32_bit = not asked.registers.cr4 & 0x20
        return FETCH if is_32_bit and asked.registers.efer & NXE else 0


class FetchFlagUnderBypass(Defect):
    """With bypass_guest_pf the host's NXE is on, and the guest sees I/D although its own is off."""

    def flags(self, asked):
        return 0 if asked.registers.efer & NXE else FETCH


@dataclass
class WriteProtectOff(Defect):
    """F-X1: a supervisor's store with CR0.WP = 0 leaves a writable shadow entry behind.

    While the shadow page lives, a user may store there (if the page is a user's), and a
    supervisor may after CR0.WP is set again. 2.6.35 has WP in the role and takes U away.
    """

    weak: set[tuple[int, int, bool]] = field(default_factory=set)

    def forget(self):
        self.weak.clear()

    def instead(self, asked):
        script, registers, gva, access, outcome = asked
        if access.kind != "write" or not outcome.entries:
            return None
        if isinstance(outcome, oracle.Fault) and outcome.code & 9 != 1:
            return None
        # The same entry may be reached by several addresses; its shadow is one.
        page = (
            outcome.entries[-1].gpa,
            (gva & script.inside(outcome)) >> script.shadow_shift(outcome),
            bool(registers.efer & NXE),
        )
        if isinstance(outcome, oracle.Translation):
            denied = not all(entry.value & W for entry in outcome.entries)
            if denied and script.holds(outcome.gpa):
                self.weak.add(page)
            return None
        if page not in self.weak:
            return None
        if access.user and not all(entry.value & U for entry in outcome.entries):
            return None
        allowed = oracle.Access("write", user=False)
        registers = registers._replace(cr0=registers.cr0 & ~WP)
        return as_number(oracle.walk(script.read, registers, gva, allowed))


class SharedShadowPage(Defect):
    """F-X2 and F-X3: two paths with different rights end in one shadow page.

    F-X2: a large guest page split into small ones is keyed by frame and by the rights above
    it, so two entries that map one frame share it, whatever their own rights. F-X3: an upper
    table is keyed by the rights of the whole walk that made it, so it can be shared by a path
    that grants more. Either way what one path may do, the other may once the first has.
    """

    def instead(self, asked):
        script, registers, gva, access, outcome = asked
        twin = script.twins.get((self.name, gva))
        if twin is None or not isinstance(outcome, oracle.Fault) or outcome.code & 9 != 1:
            return None
        other = oracle.walk(script.read, registers, twin, access)
        return other.gpa if isinstance(other, oracle.Translation) else None


class StoredUnchecked(Defect):
    """An emulated store into a table puts the entry into all its shadow pages, unchecked.

    So an entry with bit 63, stored by a vCPU with EFER.NXE = 1, serves one with NXE = 0, where
    the bit is reserved. It cannot be fetched from: the shadow entry has NX.
    """

    def instead(self, asked):
        script, registers, gva, access, outcome = asked
        if not isinstance(outcome, oracle.Fault) or access.kind == "fetch":
            return None
        last = outcome.entries[-1]
        if last.gpa not in script.stored_entries or last.reserved != NX:
            return None
        registers = registers._replace(efer=registers.efer | NXE)
        other = oracle.walk(script.read, registers, gva, access)
        return other.gpa if isinstance(other, oracle.Translation) else None


@dataclass
class PseIsInNoRole(Defect):
    """After CR4.PSE is switched a shadow page made before it is still used.

    A directory entry with bit 7 was a table's and is now a 4 MiB page's, or the other way
    round; what has been accessed before goes where it went.
    """

    accessed: dict[int, tuple[int, int]] = field(default_factory=dict)  # page → PSE, frame

    def forget(self):
        self.accessed.clear()

    def instead(self, asked):
        registers, gva, outcome = asked.registers, asked.gva, asked.outcome
        page = gva >> 12
        if registers.cr4 & 0x20 or not outcome.entries or not outcome.entries[0].value & PS:
            return None
        before = self.accessed.get(page)
        if before is None or before[0] == registers.cr4 & PSE:
            if isinstance(outcome, oracle.Translation):
                self.accessed[page] = registers.cr4 & PSE, outcome.gpa & ~0xFFF
            return None
        return before[1] | gva & 0xFFF


class PdpteBits5And6(Defect):
    """Bits 5 and 6 of a present PDPTE are not checked when the four are loaded.

    They are reserved (SDM table 4-8), so a processor answers the load with #GP.
    """

    def accepts(self, pdptes):
        """Would this kernel load what the architecture refuses?"""
        unchecked = 0x60
        return all(not pdpte & P or not pdpte & ~unchecked & PDPTE_RESERVED for pdpte in pdptes)


class PdptesKept(Defect):
    """A change of CR0.CD or CR0.NW does not load the PDPTEs again, as a processor's does."""

    def instead(self, asked):
        script, registers, gva, access = asked.script, asked.registers, asked.gva, asked.access
        if script.pdptes_kept is None:
            return None
        registers = registers._replace(pdptes=script.pdptes_kept)
        return as_number(oracle.walk(script.read, registers, gva, access))


@dataclass
class PaeUsesLongModePage(Defect):
    """A table used in PAE and in long mode has one shadow page for both (2.6.35's role).

    Bits 52-62 of an entry are ignored in long mode and reserved in PAE; an entry that has
    been used in long mode serves PAE as well.
    """

    used: set[tuple[int, bool]] = field(default_factory=set)

    def forget(self):
        self.used.clear()

    def instead(self, asked):
        script, registers, gva, access, outcome = asked
        if not outcome.entries or not registers.cr4 & 0x20:
            return None
        last = outcome.entries[-1]
        if isinstance(outcome, oracle.Translation):
            if oracle.mode_of(registers) is oracle.Mode.LONG:
                self.used.add((last.gpa, bool(registers.efer & NXE)))
            return None
        is_used = (last.gpa, bool(registers.efer & NXE)) in self.used
        if not is_used or last.reserved & ~PAE_RESERVED:
            return None
        return as_number(
            oracle.walk(
                lambda gpa, size: script.read(gpa, size) & ~PAE_RESERVED, registers, gva, access
            )
        )


def reserved_fault(registers, access):
    return -1 - (9 | (access.kind == "write") << 1 | access.user << 2)


def known():
    """All of them, fresh; a later one has the last word where two apply."""
    return [
        PatHidesReserved("PAT hides reserved bits", frozenset({LINUX_34})),
        DeniedTooEarly("denied too early"),
        Bit8IsReserved("bit 8 is reserved"),
        Pse36HasFourBits("PSE-36 has four bits"),
        LargeBitWithoutPse("large bit without PSE", frozenset({LINUX_34})),
        WriteProtectOff("write protect off", frozenset({LINUX_34, APRIL}), in_guest_walk=False),
        SharedShadowPage("shared direct page", frozenset({LINUX_34, APRIL}), in_guest_walk=False),
        StoredUnchecked("stored unchecked", in_guest_walk=False),
        PseIsInNoRole("PSE is in no role", in_guest_walk=False),
        PdpteBits5And6("PDPTE bits 5 and 6"),
        PdptesKept("PDPTEs kept"),
        PaeUsesLongModePage(
            "PAE uses long mode's page", frozenset({LINUX_35}), in_guest_walk=False
        ),
        SharedShadowPage("shared upper table", in_guest_walk=False),
        FetchFlagIn32Bit("fetch flag in 32-bit"),
        FetchFlagUnderBypass("fetch flag under bypass", only_with_bypass=True),
    ]
