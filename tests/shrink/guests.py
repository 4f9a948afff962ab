"""Small captures of guests outside long mode, whose witnesses are right by construction."""

from refault.shrink.program import block_of
from refault.trace.contents import MemorySlot, TraceHeader
from refault.trace.format import EventKind as K
from refault.trace.writer import TraceWriter

SLOT = MemorySlot(0, 0, 1024)
INIT = 32
EFER = 0xC000_0080
USER = 4
PGE = 0x80
PD, PT = 0x2000, 0x3000
PDPT = 0x1000  # of PAE
NOISE = 400


def _snapshot(gpa, level, entries):
    rows = [(K.TABLE_SNAPSHOT, 0, INIT, level, gpa, len(entries))]
    return rows + [
        (K.TABLE_ENTRY, 0, INIT, 0, gpa + place, entry) for place, entry in sorted(entries.items())
    ]


def _start(cr3, cr4):
    return [
        (K.MSR, 0, INIT, 0, EFER, 0),
        (K.CR, 0, INIT, 4, cr4, 0),
        (K.CR, 0, INIT, 0, 0x80010011, 0),
        (K.CR, 0, INIT, 3, cr3, 0),
    ]


def pae():
    """Three levels: entries of eight bytes, and four of them that CR3 leads to."""
    tables = [
        *_snapshot(PDPT, 3, {0: PD | 1, 8: 0x5001, 16: 0x6001, 24: 0x4001}),
        *_snapshot(PD, 2, {0: PT | 0x67, 8: 0x7067}),
        *_snapshot(PT, 1, {8 * n: 0x10_0000 + 0x1000 * n | 0x67 for n in range(16)}),
        *_snapshot(0x4000, 2, {0: 0x1E3, 8: 0x2001E3}),
        *_snapshot(0x7000, 1, {0: 0x30_0067}),
    ]
    return [*tables, *_start(PDPT, 0x20), *_life(8, PDPT, 0x20)]


def legacy():
    """Two levels: entries of four bytes, two in a word."""

    def words(entries):
        return {8 * n: entries[2 * n] | entries[2 * n + 1] << 32 for n in range(len(entries) // 2)}

    kernel = {0xC00: 0x1E3}  # 4 MiB from 0xC0000000 on
    tables = [
        *_snapshot(PD, 2, words([PT | 0x67, 0x7067]) | kernel),
        *_snapshot(PT, 1, words([0x10_0000 + 0x1000 * n | 0x67 for n in range(16)])),
        *_snapshot(0x7000, 1, {0: 0x30_0067}),
    ]
    return [*tables, *_start(PD, 0x10), *_life(4, PD, 0x10)]


def _life(size, cr3, cr4):
    """A user reads its pages; the kernel moves some of them, reloads CR3 and switches CR4.PGE."""
    pages = [0x10_0000 + 0x1000 * n for n in range(16)]
    rows = [(K.ACCESS, 0, USER, 2, 0x1000 * (n % 16), pages[n % 16]) for n in range(NOISE)]
    for moved in range(3):
        pages[moved] += 0x10_0000
        rows += [
            (
                K.TABLE_STORE,
                0,
                0,
                0x13 if size == 8 else 0x12,
                PT + size * moved,
                pages[moved] | 0x67,
            ),
            (K.CR, 0, 0, 3, cr3, 0),
            (K.ACCESS, 0, USER, 2, 0x1000 * moved, pages[moved]),
            (K.CR, 0, 0, 4, cr4 | PGE, 0),
            *((K.ACCESS, 0, USER, 2, 0x1000 * n, pages[n]) for n in range(16)),
            (K.CR, 0, 0, 4, cr4, 0),
            *((K.ACCESS, 0, USER, 2, 0x1000 * n, pages[n]) for n in range(16)),
        ]
    return rows


def write(trace, mode, rows):
    """A capture of a guest in that mode."""
    header = TraceHeader("capture", "guest", mode, 1, slots=(SLOT,))
    with TraceWriter(trace, header, level=1) as writer:
        writer.append_block(block_of(rows))
    return trace


def registers_first(rows):
    """The same guest with EFER, CR4 and CR0 before the tables."""
    at = next(place for place, row in enumerate(rows) if row[0] == K.MSR)
    return [*rows[at : at + 3], *rows[:at], *rows[at + 3 :]]
