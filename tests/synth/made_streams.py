"""Address streams written for tests, byte by byte as their tools write them."""

import struct
import zipfile

import numpy as np

READ, WRITE, INSTRUCTION, MARKER = 0, 1, 10, 28
M_TIMESTAMP, M_FILE_TYPE, M_PHYSICAL, M_VIRTUAL, M_PAGE_SIZE = 2, 9, 15, 17, 18


def record(kind, size, address):
    return struct.pack("<HHQ", kind, size, address & (1 << 64) - 1)


def short_record(kind, size, address):
    """The same as a build for 32 bits writes it."""
    return struct.pack("<HHI", kind, size, address & 0xFFFF_FFFF)


def drmemtrace(*records, version=7, thread=11, process=10, footer=True, pack=record):
    """A whole file of one thread around the records, each (type, size, address)."""
    parts = [pack(25, 0, version), pack(22, 4, thread), pack(24, 4, process)]
    parts += [pack(*each) for each in records]
    if footer:
        parts.append(pack(26, 0, 0))
    return b"".join(parts)


def cloudsuite(rows):
    """Records of (ip, loads, stores, address space)."""
    parts = []
    for ip, loads, stores, space in rows:
        written = [*stores, 0, 0, 0, 0][:4]
        read = [*loads, 0, 0, 0, 0][:4]
        head = struct.pack("<QBB4s4s6x", ip, 0, 0, b"\1\2\3\4", b"\5\6\7\x08")
        parts.append(head + struct.pack("<4Q4QH6x", *written, *read, space))
    return b"".join(parts)


def marker(kind, value):
    return (MARKER, kind, value)


def many_references(count, *, pages=64, seed=1):
    """References of a program: instructions, with loads and stores between them."""
    roll = np.random.default_rng(seed)
    kinds = roll.choice([INSTRUCTION, INSTRUCTION, READ, WRITE], count)
    place = roll.integers(0, pages, count) * 4096 + roll.integers(0, 500, count) * 8
    base = np.where(kinds == INSTRUCTION, 0x40_0000, 0x7F00_0000_0000)
    return [
        (int(kind), 4, int(at)) for kind, at in zip(kinds, (base + place).tolist(), strict=True)
    ]


def as_array(records):
    """The same records as one array, for long files."""
    shape = np.dtype([("type", "<u2"), ("size", "<u2"), ("address", "<u8")])
    return np.array(records, shape)


def zipped(path, data, *, chunk=2400, method=zipfile.ZIP_DEFLATED):
    """The file as a zip of chunks."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, at in enumerate(range(0, len(data), chunk)):
            archive.writestr(f"chunk.{number:04}", data[at : at + chunk])


def champsim(rows, *, size=64):
    """Records of (ip, loads, stores)."""
    parts = []
    for ip, loads, stores in rows:
        written = [*stores, 0, 0][:2]
        read = [*loads, 0, 0, 0, 0][:4]
        data = struct.pack("<QBB6s2Q4Q", ip, 0, 0, b"\1\2\3\4\5\6", *written, *read)
        parts.append(data.ljust(size, b"\0"))
    return b"".join(parts)


LACKEY = """==777== Lackey, an example Valgrind tool
==777== Command: ./sample
==777==
I  0401b770,1
 S 1fff000760,8
I  0401b771,7
 L 04222cac,4
 M 0421c7cc,4
hello from the traced program, 12
 L not-hex,4
 S 0421c000
I  00401ffe,4
 L 04222ffc,16
==777== Counted 0 calls to main()
"""
