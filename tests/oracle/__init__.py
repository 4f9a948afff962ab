"""What a processor does with an address: the x86 paging rules, read from the manuals alone.

A judge of the simulator, so it shares nothing with it: no import, no constant, no reading
of KVM. It models the machines KVM presented to guests in 2010: paging is off, 32-bit, PAE
or 4-level; there is no SMEP, SMAP, PCID, protection key or fifth level, and PAT is there.

    walk(memory, registers, gva, access) → Translation(gpa, …) or Fault(code, …)

There is no TLB in it: it says what the tables mean now.

Sources, cited in the docstrings: Intel SDM volume 3A, chapter 4 ("SDM", with section),
and AMD64 APM volume 2, chapter 5 ("APM"), where the two differ.
"""

from __future__ import annotations

from tests.oracle.paging import Access, Entry, Fault, Memory, Translation, walk
from tests.oracle.registers import (
    Mode,
    Registers,
    load_pdptes,
    mode_of,
    reloads_pdptes,
)
from tests.oracle.structures import AMD, INTEL, Level, Processor, levels_of

__all__ = [
    "AMD",
    "INTEL",
    "Access",
    "Entry",
    "Fault",
    "Level",
    "Memory",
    "Mode",
    "Processor",
    "Registers",
    "Translation",
    "levels_of",
    "load_pdptes",
    "mode_of",
    "reloads_pdptes",
    "walk",
]
