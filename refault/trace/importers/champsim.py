"""Traces of ChampSim: one record an instruction, without a header.

Little-endian, as ``inc/trace_instruction.h`` of ChampSim declares ``input_instr``::

    0   u64     instruction pointer
    8   u8 u8   is a branch, branch taken
    10  u8 × 2  registers written       12  u8 × 4  registers read
    16  u64 × 2 memory written          32  u64 × 4 memory read        (0: none)
    64  u8      kind of load, and padding to 72: newer versions of the header only

Traces of CloudSuite (``cloudsuite_instr``) have 4 registers and places written and an address
space, which is taken for a process::

    10  u8 × 4  registers written       14  u8 × 4  registers read, and padding to 24
    24  u64 × 4 memory written          56  u64 × 4 memory read
    88  u8 × 2  address space, and padding to 96
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refault.errors import ImportFailed
from refault.trace.importers.source import Source, open_source
from refault.trace.importers.streams import (
    FETCH,
    LOSES,
    READ,
    USER_END,
    WRITE,
    References,
    Stream,
    of_one_process,
)

CLOUDSUITE: Final = 96
SIZES: Final = (64, 72, CLOUDSUITE)
LOOK_RECORDS: Final = 64
LOOK_BYTES: Final = LOOK_RECORDS * max(SIZES)
CHUNK_RECORDS: Final = 1 << 15
_LOW_END: Final = 1 << 47
_HIGH: Final = 0xFFFF_8000_0000_0000
_STORES: Final = 2
_LOADS: Final = 4


def _layout(size: int) -> np.dtype[np.void]:
    if size == CLOUDSUITE:
        return np.dtype(
            {
                "names": ["ip", "branch", "taken", "stores", "loads", "space"],
                "formats": ["<u8", "u1", "u1", ("<u8", (4,)), ("<u8", (4,)), "<u2"],
                "offsets": [0, 8, 9, 24, 56, 88],
                "itemsize": CLOUDSUITE,
            }
        )
    fields = [
        ("ip", "<u8"),
        ("branch", "u1"),
        ("taken", "u1"),
        ("registers", "u1", (6,)),
        ("stores", "<u8", (_STORES,)),
        ("loads", "<u8", (_LOADS,)),
    ]
    if size > SIZES[0]:
        fields += [("load_type", "u1"), ("padding", "u1", (7,))]
    return np.dtype(fields)


_LAYOUTS: Final = {size: _layout(size) for size in SIZES}


def _flags(size: int) -> NDArray[np.uint8]:
    """What one instruction's references are, in the order in which they happen."""
    stores = 4 if size == CLOUDSUITE else _STORES
    return np.array([FETCH] + [READ] * _LOADS + [WRITE] * stores, np.uint8)


def record_size(first: bytes) -> int:
    """The size of the records of a trace that begins so, or 0 if it is no such trace.

    There is no magic: every record must have an address of x86 and two bytes that are 0 or 1.
    """
    found = [size for size in SIZES if len(first) >= size and _fits(first, size)]
    if len(found) > 1 and len(first) < LOOK_BYTES:  # all of a short trace
        found = [size for size in found if len(first) % size == 0] or found
    return found[0] if found else 0


def _fits(first: bytes, size: int) -> bool:
    count = min(len(first) // size, LOOK_RECORDS)
    return _are_instructions(np.frombuffer(first[: count * size], _LAYOUTS[size]))


def recognises(first: bytes) -> bool:
    """Whether a file that begins so is such a trace, of two instructions at least."""
    first = first[:LOOK_BYTES]
    return len(first) >= 2 * SIZES[0] and record_size(first) > 0


def _are_instructions(records: NDArray[np.void]) -> bool:
    ip = records["ip"]
    is_address = (ip >= _HIGH) | ((ip < _LOW_END) & (ip > 0))
    places = np.concatenate((records["stores"], records["loads"]), axis=1)
    are_addresses = (places >= _HIGH) | (places < _LOW_END)
    is_bit = (records["branch"] <= 1) & (records["taken"] <= 1)
    return bool((is_address & is_bit).all() and are_addresses.all())


def open_trace(path: Path, progress: Callable[[int], None] | None = None) -> Stream:
    """The references of a trace.

    Raises:
        ImportFailed: it is no such trace, or (while references are read) it is cut or damaged.
    """
    with open_source(path) as source:
        size = record_size(source.read_exactly(LOOK_BYTES))
    if not size:
        raise ImportFailed(f"{path}: byte 0: these are no records of ChampSim")
    return Stream(
        facts={"format": "ChampSim", "record_bytes": size},
        loses=(
            *LOSES,
            "sizes of accesses: each is taken as within one page",
            "threads: the trace has none"
            if size == CLOUDSUITE
            else "processes and threads: the trace has none",
        ),
        references=_references(path, size, progress),
    )


def _references(
    path: Path, size: int, progress: Callable[[int], None] | None
) -> Iterator[References]:
    offset = 0
    with open_source(path, progress) as source:
        for data in _chunks(source, size):
            if len(data) % size:
                raise ImportFailed(
                    f"{path}: byte {offset + len(data)}: the trace ends inside a record of {size} "
                    "bytes; copy it again"
                )
            records = np.frombuffer(data, _LAYOUTS[size])
            damaged = (records["branch"] > 1) | (records["taken"] > 1)
            if damaged.any():
                at = offset + int(damaged.argmax()) * size
                raise ImportFailed(
                    f"{path}: byte {at + 8}: a branch flag that is neither 0 nor 1; the trace is "
                    "damaged, copy it again"
                )
            yield _of(records)
            offset += len(data)


def _chunks(source: Source, size: int) -> Iterator[bytes]:
    while data := source.read_exactly(CHUNK_RECORDS * size):
        yield data


def _of(records: NDArray[np.void]) -> References:
    """Each instruction's fetch, its loads, then its stores."""
    address = np.concatenate(
        (records["ip"][:, None], records["loads"], records["stores"]), axis=1
    ).astype(np.int64)
    there = address != 0
    there[:, 0] = True
    flags = np.broadcast_to(_flags(records.dtype.itemsize), address.shape)[there]
    found = of_one_process(address[there], flags, np.ones(len(flags), np.uint16))
    if "space" not in (records.dtype.names or ()):
        return found
    space = np.broadcast_to(records["space"].astype(np.int64)[:, None], address.shape)[there]
    space = space[(address[there] >= 0) & (address[there] < USER_END)]
    return found._replace(process=space, thread=space)
