"""Traces of a few KiB that ask for very much memory, or very much work."""

import io

import numpy as np

from refault.trace import EventKind, MemorySlot, TraceHeader, TraceReader, TraceWriter
from tests.engines.guests import PS, A, D, P, U, W

FLAGS = P | W | U | A | D
GIB_FRAMES = 1 << 18


class Rows:
    """Events by the thousand; a column is one value for all of a call, or an array."""

    def __init__(self, header=None):
        self.header = header or TraceHeader("operations", "an exhausting guest", "long", 1)
        self.calls = []

    def add(self, kind, count=1, **columns):
        self.calls.append((kind, count, columns))
        return self

    def bytes(self):
        file = io.BytesIO()
        with TraceWriter(file, self.header, level=19) as writer:
            for kind, count, columns in self.calls:
                writer.append(kind=np.full(count, int(kind), np.uint8), **columns)
        return file.getvalue()

    def trace(self):
        return TraceReader(io.BytesIO(self.bytes()))


def guest(pages):
    return Rows().add(EventKind.OP_VM, a=1).add(EventKind.OP_MEM, flags=1, b=pages)


def written(frames):
    """Memory of its own for each of so many frames: 4 KiB."""
    return guest(frames).add(EventKind.OP_POKE, frames, a=np.arange(frames) << 12, b=1)


def shadowed(pages, memory=16 * GIB_FRAMES):
    """So many shadow pages, each one region of 2 MiB that was touched."""
    rows = guest(memory)
    rows.add(EventKind.OP_POKE, a=1 << 12, b=2 << 12 | FLAGS)
    directories = np.arange(-(-pages // 512))
    rows.add(
        EventKind.OP_POKE,
        len(directories),
        a=(2 << 12) + 8 * directories,
        b=(16 + directories) << 12 | FLAGS,
    )
    regions = np.arange(pages)
    rows.add(EventKind.OP_POKE, pages, a=(16 << 12) + 8 * regions, b=(regions << 21) | FLAGS | PS)
    rows.add(EventKind.OP_NR_PAGES, a=1 << 20)
    rows.add(EventKind.OP_BOOT_CR, a=0x80010033, b=1 << 12)
    rows.add(EventKind.OP_BOOT, a=0x20, b=0x500)
    return rows.add(EventKind.OP_LD, pages, flags=4, a=regions << 21)


def mapped_twice(frames):
    """So many frames under two addresses each: a node of the reverse map for each."""
    rows = guest(GIB_FRAMES)
    regions = np.arange(frames // 512)
    rows.add(EventKind.OP_POKE, a=1 << 12, b=2 << 12 | FLAGS)
    # Read-only the second time, so that other shadow pages map them.
    for directory, flags in ((0, FLAGS), (1, FLAGS & ~W)):
        table = (3 + directory) << 12
        rows.add(EventKind.OP_POKE, a=(2 << 12) + 8 * directory, b=table | flags)
        rows.add(
            EventKind.OP_POKE, len(regions), a=table + 8 * regions, b=regions << 21 | FLAGS | PS
        )
    rows.add(EventKind.OP_NR_PAGES, a=1 << 20)
    rows.add(EventKind.OP_BOOT_CR, a=0x80010033, b=1 << 12)
    rows.add(EventKind.OP_BOOT, a=0x20, b=0x500)
    for directory in (0, 1):
        addresses = (directory << 30) + (np.arange(frames) << 12)
        rows.add(EventKind.OP_LD, frames, flags=4, a=addresses)
    return rows


def slots(pages):
    """A record for each frame of a memory slot."""
    return guest(pages)


def deleted_slots(count):
    """Slots that come, and leave their records behind when they go."""
    rows = Rows().add(EventKind.OP_VM, a=1)
    for pages in range(GIB_FRAMES, GIB_FRAMES + count):
        rows.add(EventKind.OP_MEM, flags=1, b=pages).add(EventKind.OP_MEM_DELETE)
    return rows


def capture(pages, vcpus=1):
    header = TraceHeader(
        "capture", "an exhausting capture", "long", vcpus, (MemorySlot(0, 0, pages),)
    )
    return Rows(header)


def tables(count):
    """A capture of so many page tables with one entry each."""
    pages = np.arange(1, count + 1) << 12
    rows = capture(count + 1)
    for gpa in pages.tolist():
        rows.add(EventKind.TABLE_SNAPSHOT, aux=1, a=gpa, b=1)
        rows.add(EventKind.TABLE_ENTRY, a=gpa, b=0x1000 | FLAGS)
    return rows


def stores_of_many_vcpus(pages):
    """A capture whose header alone asks for a word for each frame and vCPU."""
    return capture(pages, vcpus=64).add(EventKind.MARK, a=1)


def dirty_logs(count, pages=4096):
    """So many reads of the dirty log, each through the entries of so many shadow pages."""
    return shadowed(pages).add(EventKind.OP_DIRTYLOG, count)
