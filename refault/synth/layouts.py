"""The paging modes of synthetic guests: where the kernel and programs lie in each.

As Linux has it (its ``x86_64/mm.rst``, without randomisation; 3 GiB for programs on 32 bits)::

    long   programs ── 0x8000_0000_0000 ┆ direct map -0x7780_… │ vmalloc -0x3700_… │
                                          trampoline -0x200_… │ text -0x8000_0000
    pae    programs ── 0xc000_0000 direct map, text in it │ 0xf800_0000 vmalloc │
                                          0xff80_0000 trampoline
    32bit  the same addresses, two levels, entries of 4 bytes, no NX

A guest with 5 levels is refused: its layout is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from refault.errors import InvalidParameter
from refault.replay import x86
from refault.trace.contents import GuestMode

CR0: Final = 0x8005_0033
CR4_COMMON: Final = 0x600 | x86.CR4_PSE | x86.CR4_PGE


@dataclass(frozen=True, slots=True)
class Layout:
    """One paging mode. Addresses are virtual; ``programs`` are first pages of areas."""

    mode: GuestMode
    levels: int
    index_bits: int
    entry_shift: int
    nx: int
    cr4: int
    efer: int
    direct: int
    text: int
    data: int
    vmalloc: int
    trampoline: int
    user_end: int
    user_top: int
    ram_mib_max: int
    code_page: int
    heap_page: int
    map_page: int
    library_page: int
    stack_page: int

    @property
    def huge_frames(self) -> int:
        """4 KiB frames of a large page at level 2."""
        return 1 << self.index_bits


LONG: Final = Layout(
    mode="long",
    levels=4,
    index_bits=9,
    entry_shift=3,
    nx=x86.NX,
    cr4=CR4_COMMON | x86.CR4_PAE,
    efer=0xD01,
    direct=-0x7780_0000_0000,
    text=-0x8000_0000 + 0x100_0000,
    data=-0x8000_0000 + 0x180_0000,
    vmalloc=-0x3700_0000_0000,
    trampoline=-0x200_0000_0000,
    user_end=1 << 35,
    user_top=256,
    ram_mib_max=3072,
    code_page=0x400,
    heap_page=0x1_0000,
    map_page=0x7_F000_0000,
    library_page=0x7_F700_0000,
    stack_page=0x7_FFF0_0000,
)
PAE: Final = Layout(
    mode="pae",
    levels=3,
    index_bits=9,
    entry_shift=3,
    nx=x86.NX,
    cr4=CR4_COMMON | x86.CR4_PAE,
    efer=x86.EFER_NX,
    direct=0xC000_0000,
    text=0xC100_0000,
    data=0xC180_0000,
    vmalloc=0xF800_0000,
    trampoline=0xFF80_0000,
    user_end=0xC_0000,
    user_top=3,
    ram_mib_max=768,
    code_page=0x8048,
    heap_page=0x1_0000,
    map_page=0x9_1000,
    library_page=0xB_0000,
    stack_page=0xB_F000,
)
LEGACY: Final = Layout(
    mode="32bit",
    levels=2,
    index_bits=10,
    entry_shift=2,
    nx=0,
    cr4=CR4_COMMON,
    efer=0,
    direct=PAE.direct,
    text=PAE.text,
    data=PAE.data,
    vmalloc=PAE.vmalloc,
    trampoline=PAE.trampoline,
    user_end=PAE.user_end,
    user_top=768,
    ram_mib_max=PAE.ram_mib_max,
    code_page=PAE.code_page,
    heap_page=PAE.heap_page,
    map_page=PAE.map_page,
    library_page=PAE.library_page,
    stack_page=PAE.stack_page,
)
LAYOUTS: Final[dict[str, Layout]] = {each.mode: each for each in (LONG, PAE, LEGACY)}
RAM_MIB_MIN: Final = 64


def get_layout(mode: str) -> Layout:
    """The layout of a paging mode, by the name that trace headers use.

    Raises:
        InvalidParameter: there is no guest in that mode; says why.
    """
    if mode == "5level":
        raise InvalidParameter(
            "mode 5level: no synthetic guest has five levels of tables; capture one "
            f"(refault capture --cpu qemu64,+la57), or choose one of {', '.join(LAYOUTS)}"
        )
    if mode not in LAYOUTS:
        raise InvalidParameter(f"mode {mode}: choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[mode]
