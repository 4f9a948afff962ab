"""Regions of a guest's linear addresses, as Linux lays them out.

Where a program's parts lie is drawn anew each time it starts (ASLR), within ranges that do not
overlap: a program and its heap lie low, its mappings and libraries high, its stack above them.
"""

from __future__ import annotations

#: First address of each region of a 4-level Linux guest (x86_64/mm.rst; the direct map is where
#: releases since 2.6.25 had it, without randomisation), in signed order. A stack begins at most
#: 16 GiB below the end of user space, and mmap_base another 128 MiB below (arch/x86/mm/mmap.c).
LONG: tuple[tuple[int, str], ...] = (
    (-1 << 63, "other"),
    (-0x8000_0000_0000, "other"),  # guard hole, hypervisor, LDT
    (-0x7800_0000_0000, "direct map"),
    (-0x3780_0000_0000, "other"),
    (-0x3700_0000_0000, "vmalloc"),
    (-0x1700_0000_0000, "other"),
    (-0x8000_0000, "kernel text"),
    (-0x6000_0000, "modules, fixmap"),
    (0, "user code, heap"),
    (0x7000_0000_0000, "user mmap"),
    (0x7FFB_F800_0000, "user stack"),
    (1 << 47, "other"),
)
#: The same of a 32-bit one with 3 GiB for programs (PAE or not); its kernel's text is in the
#: direct map.
SHORT: tuple[tuple[int, str], ...] = (
    (-1 << 63, "other"),
    (0, "user code, heap"),
    (0x9000_0000, "user mmap"),
    (0xB800_0000, "user stack"),
    (0xC000_0000, "direct map"),
    (0xF800_0000, "vmalloc"),
    (1 << 32, "other"),
)
NOWHERE = "no address"


def regions_of(mode: str) -> tuple[tuple[int, str], ...]:
    """First addresses and names, ascending; ``mode`` is the paging mode of a trace's header."""
    return LONG if mode == "long" else SHORT
