"""Control registers, the paging mode they choose, and the four PDPTEs of PAE paging."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from tests.oracle.structures import INTEL, Processor, bits

CR0_WP = 1 << 16
CR0_NW = 1 << 29
CR0_CD = 1 << 30
CR0_PG = 1 << 31
CR4_PSE = 1 << 4
CR4_PAE = 1 << 5
CR4_PGE = 1 << 7
EFER_LMA = 1 << 10
EFER_NXE = 1 << 11


class Mode(enum.Enum):
    """How linear addresses are translated (SDM 4.1.1, table 4-1)."""

    NO_PAGING = "non-paging"
    BITS_32 = "32-bit"
    PAE = "PAE"
    LONG = "4-level"


class Registers(NamedTuple):
    """What a translation depends on; ``pdptes`` are the PDPTE registers of PAE paging."""

    cr0: int
    cr3: int
    cr4: int
    efer: int
    pdptes: tuple[int, int, int, int] = (0, 0, 0, 0)


def mode_of(registers: Registers) -> Mode:
    """SDM 4.1.1: PG, then PAE, then LMA (which the processor keeps equal to LME and PG)."""
    if not registers.cr0 & CR0_PG:
        return Mode.NO_PAGING
    if not registers.cr4 & CR4_PAE:
        return Mode.BITS_32
    return Mode.LONG if registers.efer & EFER_LMA else Mode.PAE


def reloads_pdptes(old: Registers, new: Registers) -> bool:
    """Does a MOV to CR0 or CR4 that takes ``old`` to ``new`` load the PDPTEs? (SDM 4.4.1).

    It does if PAE paging is used afterwards and it changes any of CR0.CD, CR0.NW, CR0.PG,
    CR4.PAE, CR4.PGE, CR4.PSE. A MOV to CR3 in PAE paging always does.
    """
    if mode_of(new) is not Mode.PAE:
        return False
    return bool(
        (old.cr0 ^ new.cr0) & (CR0_CD | CR0_NW | CR0_PG)
        or (old.cr4 ^ new.cr4) & (CR4_PAE | CR4_PGE | CR4_PSE)
    )


def load_pdptes(
    read: Callable[[int, int], int], cr3: int, processor: Processor = INTEL
) -> tuple[int, int, int, int] | None:
    """The PDPTEs at CR3 bits 31:5, or None: #GP(0), and nothing is loaded (SDM 4.4.1).

    Reserved in a PDPTE whose P flag is set: bits 2:1, 8:5 and 63:MAXPHYADDR (table 4-8).
    """
    reserved = bits(2, 1) | bits(8, 5) | bits(63, processor.physical_bits)
    table = cr3 & bits(31, 5)
    a, b, c, d = (read(table + 8 * i, 8) for i in range(4))
    if any(pdpte & 1 and pdpte & reserved for pdpte in (a, b, c, d)):
        return None
    return a, b, c, d
