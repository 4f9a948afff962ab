"""The paging structures of each mode: what indexes them, how large an entry is, what is reserved.

Walked from the top, each level has entries that reference a table ("link") and may have
entries that map a page. The masks come from the manuals' format tables, with M standing
for MAXPHYADDR::

    mode     level            link reserves               page reserves
    32-bit   2  PDE           -                 (4-5)     21:(M-19), 4 MiB, PSE on   (4-4)
             1  PTE                                       -                          (4-6)
    PAE      2  PDE           62:M              (4-10)    62:M, 20:13, 2 MiB         (4-9)
             1  PTE                                       62:M                       (4-11)
    4-level  4  PML4E         51:M, 7           (4-15)    -
             3  PDPTE         51:M              (4-17)    51:M, 29:13, 1 GiB         (4-16)
             2  PDE           51:M              (4-19)    51:M, 20:13, 2 MiB         (4-18)
             1  PTE                                       51:M                       (4-20)

Bit 63 is reserved everywhere in the two 64-bit formats while EFER.NXE is 0. The PDPTEs of
PAE paging are registers, not a level (:func:`tests.oracle.registers.load_pdptes`).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple


def bits(high: int, low: int) -> int:
    """The mask of bits ``high`` to ``low``, as the manuals write it; empty if high < low."""
    return ((1 << (high + 1)) - 1) & ~((1 << low) - 1) if high >= low else 0


class Processor(NamedTuple):
    """What CPUID says, as far as paging depends on it."""

    physical_bits: int = 40  # MAXPHYADDR
    gigabyte_pages: bool = True
    # AMD reserves bit 8 (where a page has its G flag) in PML4Es and in PDPTEs that
    # reference a table (APM 5.3.3); Intel ignores it (SDM tables 4-15 and 4-17).
    reserves_bit_8: bool = False


INTEL = Processor()
AMD = Processor(reserves_bit_8=True)


class Level(NamedTuple):
    """One level of paging structures."""

    number: int
    index_shift: int  # the lowest bit of the address that indexes it
    index_mask: int
    entry_bytes: int
    link_reserved: int
    page_reserved: int
    may_map: bool  # an entry with PS = 1 maps a page
    is_last: bool  # every entry maps a page


@cache
def levels_of(mode: str, processor: Processor, *, pse: bool, nxe: bool) -> tuple[Level, ...]:
    """The levels of a mode ("32-bit", "PAE", "4-level"), from the top; none without paging."""
    m = processor.physical_bits
    if mode == "32-bit":
        # SDM table 4-4 and 4.3: with PSE-36, M in the table is min(40, MAXPHYADDR).
        large = bits(21, min(40, m) - 19)
        return (
            Level(2, 22, 1023, 4, 0, large, may_map=pse, is_last=False),
            Level(1, 12, 1023, 4, 0, 0, may_map=True, is_last=True),
        )
    no_execute = 0 if nxe else bits(63, 63)
    if mode == "PAE":
        high = bits(62, m) | no_execute
        return (
            Level(2, 21, 511, 8, high, high | bits(20, 13), may_map=True, is_last=False),
            Level(1, 12, 511, 8, high, high, may_map=True, is_last=True),
        )
    if mode == "4-level":
        high = bits(51, m) | no_execute
        bit_8 = bits(8, 8) if processor.reserves_bit_8 else 0
        giant = processor.gigabyte_pages
        # Without 1 GiB pages bit 7 of a PDPTE is reserved (SDM 4.5, APM 5.3.3).
        pdpte = high | bit_8 | (0 if giant else bits(7, 7))
        return (
            Level(4, 39, 511, 8, high | bit_8 | bits(7, 7), 0, may_map=False, is_last=False),
            Level(3, 30, 511, 8, pdpte, high | bits(29, 13), may_map=giant, is_last=False),
            Level(2, 21, 511, 8, high, high | bits(20, 13), may_map=True, is_last=False),
            Level(1, 12, 511, 8, high, high, may_map=True, is_last=True),
        )
    return ()
