"""Bits, levels and masks of x86 paging (Intel SDM 3A, chapter 4), for engines and lowering.

Integers are signed 64-bit: bit 63 is the sign, so mask after a right shift::

     63 62      52 51                      12 11  9 8 7 6 5 4 3 2 1 0
    ┌──┬──────────┬──────────────────────────┬─────┬─┬─┬─┬─┬─┬─┬─┬─┬─┐
    │NX│ ignored  │ frame, 4 KiB units       │ avl │G│S│D│A│ │ │U│W│P│
    └──┴──────────┴──────────────────────────┴─────┴─┴─┴─┴─┴─┴─┴─┴─┴─┘
      S (bit 7): large leaf at levels 2 and 3.

Physical addresses have 40 bits (MAXPHYADDR) in every engine.
"""

from __future__ import annotations

# --- Page-table entry bits -------------------------------------------------------
PRESENT = 1
WRITABLE = 2
USER = 4
ACCESSED = 0x20
DIRTY = 0x40
LARGE = 0x80
GLOBAL = 0x100
NX = -0x8000000000000000
FRAME_MASK = 0x000F_FFFF_FFFF_F000
PERMISSIONS = WRITABLE | USER

# --- #PF error code (SDM 3A, 4.7) -----------------------------------------------
PF_PRESENT = 1
PF_WRITE = 2
PF_USER = 4
PF_RSVD = 8
PF_FETCH = 16

# --- Control registers -----------------------------------------------------------
CR0_PE = 1
CR0_ET = 0x10
CR0_WP = 0x10000
CR0_NW = 0x2000_0000
CR0_CD = 0x4000_0000
CR0_PG = 0x8000_0000
CR4_PSE = 0x10
CR4_PAE = 0x20
CR4_PGE = 0x80
CR4_LA57 = 0x1000
CR4_VMXE = 0x2000
EFER_LME = 0x100
EFER_LMA = 0x400
EFER_NX = 0x800

# --- Reserved bits of an entry (SDM 3A, 4.3 to 4.5) ----------------------------------
RSVD_PHYS = 0x000F_FF00_0000_0000
RSVD_7_8 = 0x180
RSVD_2M = 0x001F_E000
RSVD_1G = 0x3FFF_E000
RSVD_4M = 0x0020_0000  # 32-bit: bit 21; bits 13..20 are address bits 32..39 (PSE-36)
RSVD_PAE_PHYS = 0x7FFF_FF00_0000_0000
RSVD_PDPTE = -0x100_0000_0000 | 0x186  # bits 40..63, 7..8 and 1..2

# --- Paging modes by their levels ------------------------------------------------------
LONG_LEVELS = 4  # and one more with CR4.LA57
PAE_LEVELS = 3
LEGACY_LEVELS = 2
NONPAGING = 0

PAGE_SHIFT = 12
ENTRIES = 512
FRAME32_MASK = 0xFFFF_F000
U32 = 0xFFFF_FFFF
