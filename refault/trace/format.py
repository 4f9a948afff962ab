"""The format of a trace file, drawn; ``docs/TRACE_FORMAT.md`` describes it in full.

::

    ┌──────────┬──────┬───────┬───────┬─ … ─┬───────┬─────────┐
    │ preamble │ HEAD │ BLCK  │ BLCK  │     │ INDX  │ trailer │
    │ 16 bytes │ once │ events│ events│     │ once  │ 16 bytes│
    └──────────┴──────┴───────┴───────┴─ … ─┴───────┴─────────┘

    preamble   magic 8 │ version u16 │ zero u16 │ crc32 of these 12 bytes u32
    frame      tag 4   │ body size u32 │ crc32 of the body u32 │ crc32 of these 12 bytes u32 │ body
    trailer    magic 8 │ size of the INDX frame u32 │ crc32 of these 12 bytes u32

All integers of preamble, frame and trailer are little-endian; a body is one msgpack map.
An event is one row of seven columns::

    kind u8 │ vcpu u8 │ flags u8 │ aux u8 │ insns u32 │ a u64 │ b u64

``a`` and ``b`` are held as int64 with the same bits, because kernels use no other integer.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

MAGIC: Final = b"\x89RFT\r\n\x1a\n"
TRAILER_MAGIC: Final = b"RFTEND\r\n"
VERSION: Final = 2
#: Older versions that are still read. A header without what version 2 adds is written as version 1,
#: so that the same capture keeps its bytes, and so its name.
VERSIONS: Final = (1, VERSION)
SUFFIX: Final = ".rft"

PREAMBLE: Final = struct.Struct("<8sHHI")
FRAME_PREFIX: Final = struct.Struct("<4sIII")
TRAILER: Final = struct.Struct("<8sII")
SEALED_BYTES: Final = 12  # of preamble, frame prefix and trailer: what their last crc32 covers

TAG_HEADER: Final = b"HEAD"
TAG_BLOCK: Final = b"BLCK"
TAG_INDEX: Final = b"INDX"

# Bounds, checked before memory is allocated. A block of MAX_BLOCK_EVENTS is 50 MB decoded.
MAX_BLOCK_EVENTS: Final = 1 << 21
MAX_BLOCK_BYTES: Final = 64 << 20
MAX_UNPACKED_BYTES: Final = 32 << 20  # all streams of a block
MAX_HEADER_BYTES: Final = 1 << 20
MAX_INDEX_BYTES: Final = 4 << 20
MAX_BLOCKS: Final = 1 << 16
MAX_EVENTS: Final = 1 << 40
MAX_NOTES: Final = 1 << 14
MAX_TEXT: Final = 1 << 12  # characters of one text
MAX_GUEST_TEXT: Final = 1 << 14  # characters of all of ``guest``, which lists show
MAX_MAP_ENTRIES: Final = 1 << 10
MAX_LOSSES: Final = 64
MAX_UNKNOWN_KEYS: Final = 64  # of a header

# Limits of a simulated host. They are only here, so that an upload which no engine could replay is
# refused; engines use them, and their digests cover this file.
MAX_SLOTS: Final = 36  # of memory: KVM's own 32 and its private ones
MAX_VCPUS: Final = 64
MAX_GFN: Final = 1 << 28  # guest-physical addresses have 40 bits
MAX_GUEST_PAGES: Final = 1 << 24  # 64 GiB, of all slots together

BODY_LIMITS: Final = {
    TAG_HEADER: MAX_HEADER_BYTES,
    TAG_BLOCK: MAX_BLOCK_BYTES,
    TAG_INDEX: MAX_INDEX_BYTES,
}


class EventKind(enum.IntEnum):
    """What an event is, and so what its fields mean: see the table in TRACE_FORMAT.md."""

    # What a capture saw of the guest.
    ACCESS = 1
    TABLE_STORE = 2
    CR = 3
    MSR = 4
    INVLPG = 5
    PAGE_FAULT = 6
    TABLE_SNAPSHOT = 7
    TABLE_ENTRY = 8
    TABLE_DROP = 9
    MARK = 10
    FILTER_FLUSH = 11
    INVPCID = 12
    # Operations, executed as they are.
    OP_VM = 32
    OP_NOTE = 33
    OP_MEM = 34
    OP_LOG = 35
    OP_POKE = 36
    OP_BOOT_CR = 37
    OP_BOOT = 38
    OP_CR0 = 39
    OP_CR3 = 40
    OP_CR4 = 41
    OP_EFER = 42
    OP_LD = 43
    OP_EX = 44
    OP_ST = 45
    OP_ST4 = 46
    OP_ST2 = 47
    OP_ST1 = 48
    OP_INVLPG = 49
    OP_NR_PAGES = 50
    OP_DIRTYLOG = 51
    OP_UNMAP = 52
    OP_AGE = 53
    OP_SHRINK = 54
    OP_ZAPALL = 55
    OP_UNSHADOW = 56
    OP_UNPROTECT = 57
    OP_CHANGE_PTE = 58
    OP_MEM_DELETE = 59
    OP_UNMAP_RANGE = 60
    OP_LOG_OFF = 61
    OP_GET_DIRTY_LOG = 62
    OP_SREGS_CR = 63
    OP_SREGS = 64


KIND_NAMES: Final[dict[int, str]] = {int(kind): kind.name for kind in EventKind}
OPERATION_KINDS: Final = frozenset(int(kind) for kind in EventKind if kind >= EventKind.OP_VM)
# Actions of the host; a capture tool that sees the host records them with the same kinds.
HOST_KINDS: Final = frozenset(
    int(kind)
    for kind in (
        EventKind.OP_NOTE,
        EventKind.OP_MEM,
        EventKind.OP_LOG,
        EventKind.OP_NR_PAGES,
        EventKind.OP_DIRTYLOG,
        EventKind.OP_UNMAP,
        EventKind.OP_AGE,
        EventKind.OP_SHRINK,
        EventKind.OP_ZAPALL,
        EventKind.OP_CHANGE_PTE,
        EventKind.OP_MEM_DELETE,
        EventKind.OP_UNMAP_RANGE,
        EventKind.OP_LOG_OFF,
        EventKind.OP_GET_DIRTY_LOG,
    )
)
CAPTURE_KINDS: Final = HOST_KINDS | {int(kind) for kind in EventKind} - OPERATION_KINDS


class Flag(enum.IntFlag):
    """Bits of ``flags``, the same for every kind that describes an access."""

    WRITE = 1
    FETCH = 2
    USER = 4  # CPL 3
    IO = 8  # the target is a device, not memory
    NOGPA = 16  # b is unknown
    INIT = 32  # state at the start of the capture, not something the guest did


# flags of OP_MEM: bits 0-1 host level 1..3; bit 2 says that level 1, the default, was written out.
MEM_LEVEL_MASK: Final = 3
MEM_LEVEL_STATED: Final = 4
