"""The state of a synthetic guest: every word named, in flat arrays as kernels take them.

::

    state    counters, the paging mode, where the kernel lies, then the vCPUs
    memory   the guest's memory as 64-bit words; only page tables are ever written, so the
             operating system backs no more of it
    frames   per guest frame: who uses it, and the list of free frames
    blocks   per aligned block of a large page: how many of its frames are free
    procs    per process: its roots, kernel stack and number of areas
    vmas     per process: its areas, as ranges of pages
    seen     the capture filter: per vCPU a table of pages with the kinds of access recorded
    cache    per page of a file: its frame + 1 while it is in memory
    alias    a hash table: frames that two virtual pages share, as an address stream told
    the rest events, one array a column
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Guest(NamedTuple):
    """All state of one synthetic guest."""

    state: Any
    memory: Any
    frames: Any
    blocks: Any
    procs: Any
    vmas: Any
    seen: Any
    cache: Any
    alias: Any
    kind: Any
    vcpu: Any
    flags: Any
    aux: Any
    insns: Any
    a: Any
    b: Any


# --- state ---------------------------------------------------------------------------
EVENTS = 0  # in the columns
CAPACITY = 1  # of the columns
CLOCK = 2  # instructions since the previous event
STOPPED = 3  # why the guest cannot go on, or 0
DICE = 4  # what the guest's own programs draw from
LEVELS = 5
INDEX_BITS = 6  # of one level: 9, or 10 with entries of 4 bytes
ENTRY_SHIFT = 7  # log2 of the size of an entry
NX = 8  # the bit that forbids fetches, 0 where there is none
DIRECT = 9  # virtual address of frame 0 in the kernel's map of all memory
USER_END = 10  # first virtual page that is not a program's
USER_TOP = 11  # entries of a root that are a program's
VCPU_COUNT = 12
FREE_HEAD = 13  # first free frame, 0: none
FREE_COUNT = 14
HUGE_HEAD = 15  # first free block + 1
HUGE_COUNT = 16
HUGE_FRAMES = 17  # frames of a large page: 512, or 1024 without PAE
WANTS_HUGE = 18  # free blocks are kept whole
ZERO_FRAME = 19
KERNEL_ROOT = 20
TEXT = 21  # virtual addresses of the kernel
DATA = 22
VMALLOC = 23
TRAMPOLINE = 24  # what a root without the kernel's half still maps (PTI)
TRAMPOLINE_INDEX = 25
TRAMPOLINE_ENTRY = 26
PTI = 27
HAND = 28  # the frame that reclaim looks at next
FIRST_FRAME = 29  # of those that are handed out
FRAME_COUNT = 30
FILE_PAGES = 31
ALIAS_SLOTS = 32
LOW_WATER = 33  # free frames below which pages are reclaimed
RECLAIMED = 34
LEAVES_ROOTS = 35  # a freed root is dropped when its frame is cleared, as 4-level captures show
FAULTS = 36
SOURCE = 37
PAUSE = 38  # commands before reclaim is tried again
PAIR_HEAD = 39  # first free pair of frames for roots (PTI), 0: none
PATH = 40  # per level: the table that the latest descent passed
WALKED = 48  # per level: the table that the latest walk of the processor passed
DEPTH = 56  # per level: where a snapshot is, and in which table
SNAPPED = 64
VCPUS = 72

# words of a vCPU
CR0 = 0
CR3 = 1  # as a frame number
CR4 = 2
EFER = 3
EPOCH = 4
PROC = 5
IN_USER = 6
VCPU_WORDS = 8
MAX_VCPUS = 64
STATE_WORDS = VCPUS + VCPU_WORDS * MAX_VCPUS

# --- frames ---------------------------------------------------------------------------
REF = 0  # mappings, and 1 for the page cache
LEVEL = 1  # of a page table; 0: it is none
TRACKED = 2  # its stores are recorded
BASE = 3  # first virtual address a table maps
LIVE = 4  # entries of a table that are not 0
PAIR = 5  # of a root: the one without the kernel's half
OWNER = 6  # process << 40 | virtual page + 1; -1 - place in the page cache
NEXT = 7
PREV = 8
IS_FREE = 9
FRAME_WORDS = 10

BLOCK_FREE = 0
BLOCK_NEXT = 1
BLOCK_WORDS = 2

# --- processes -------------------------------------------------------------------------
ALIVE = 0
ROOT = 1
USER_ROOT = 2  # the same as ROOT without PTI
STACK = 3  # frame of its kernel stack
VMA_COUNT = 4
PROC_WORDS = 8

FROM = 0  # first page
TO = 1  # first page behind it
HOW = 2
FILE = 3
OFFSET = 4  # page of the file that FROM shows
VMA_WORDS = 5
MAX_VMAS = 24

# HOW of an area
MAY_WRITE = 1
MAY_EXECUTE = 2
SHARED = 4
OF_FILE = 8
HUGE = 16
CHANGED = 32  # a private page of it was written, so a fork copies its tables
GROWS_ANYWHERE = 64  # of an address stream: all of user space

# --- the filter -------------------------------------------------------------------------
FILTER_SLOTS = 1 << 14

# --- why a guest stopped ------------------------------------------------------------------
OUT_OF_MEMORY = 1
NO_AREA = 2
REFUSED_ACCESS = 3
ENDLESS_FAULTS = 4
COLUMNS_FULL = 5
ALIASES_FULL = 6
BAD_PROCESS = 7
TOO_MANY_AREAS = 8


def empty_columns(capacity: int) -> dict[str, Any]:
    """Room for so many events."""
    small = {name: np.zeros(capacity, np.uint8) for name in ("kind", "vcpu", "flags", "aux")}
    wide = {name: np.zeros(capacity, np.int64) for name in ("a", "b")}
    return {**small, "insns": np.zeros(capacity, np.uint32), **wide}
