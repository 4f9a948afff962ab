r"""Captures of the "ptt" kind, version 1, as the QEMU plugin of the capture prototype writes them.

Little-endian, unpadded, usually inside one zstd stream: a header of 64 bytes, then records of 24
up to the end::

    header  magic "PTTRACE\0" │ version u32 = 1 │ record size u32 = 24 │ vcpus u32 │
            filter slots u32 │ refresh instructions u64 │ 32 zero bytes
    record  kind u8 │ vcpu u8 │ flags u8 │ aux u8 │ d u32 │ a u64 │ b u64

A record becomes the event of the same number, column by column, with two exceptions. ``d`` of a
table entry is its index in the table, so the event's ``a`` is the address of the entry itself and
its ``insns`` are 0. The END record is no event: its counts go to the closing index.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from refault.errors import ImportFailed
from refault.trace.contents import PAGE_BYTES, Block, MemorySlot, TraceHeader, TraceSummary
from refault.trace.format import MAX_VCPUS, EventKind
from refault.trace.importers.source import Source, broken_rules_named, open_source
from refault.trace.writer import TraceWriter

MAGIC: Final = b"PTTRACE\0"
HEADER: Final = struct.Struct("<8sIIIIQ32s")
RECORD: Final = np.dtype(
    [
        ("kind", "u1"),
        ("vcpu", "u1"),
        ("flags", "u1"),
        ("aux", "u1"),
        ("d", "<u4"),
        ("a", "<i8"),
        ("b", "<i8"),
    ]
)
FIRST_KIND: Final = int(EventKind.ACCESS)
LAST_KIND: Final = int(EventKind.FILTER_FLUSH)
END: Final = 12  # which is INVPCID among events; ptt records those as FILTER_FLUSH
CHUNK_RECORDS: Final = 1 << 16
KEEPS: Final = (
    "per vCPU the first access of a kind to a page since CR0, CR3 or CR4 was loaded, the page "
    "invalidated, its entry changed, or a slot of the filter reused"
)
LOSES: Final = (
    "further accesses of the same kind; implicit accesses (page walks, descriptor tables, pushes "
    "of exceptions); accessed and dirty bits set by hardware; the bus order between vCPUs"
)
MARKS: Final = {"1": "the workload begins", "2": "the workload ends"}


def import_ptt(
    path: Path,
    destination: Path | BinaryIO,
    *,
    ram_mib: int,
    name: str = "",
    level: int = 19,
    progress: Callable[[int], None] | None = None,
) -> TraceSummary:
    """Convert a capture to a trace, losslessly and in bounded memory.

    ``ram_mib`` is the guest's memory, which the capture does not say. ``progress`` is told how many
    bytes of ``path`` were read.

    Raises:
        ImportFailed: the file is not such a capture, or a record is invalid; names the place.
        TraceError: the trace cannot be written.
    """
    with open_source(path, progress) as source, broken_rules_named(path):
        header = _read_header(source, name or trace_name(path), ram_mib)
        with TraceWriter(destination, header, level=level) as writer:
            event_count = 0
            for records in _records(source):
                end = int(np.append(np.flatnonzero(records["kind"] == END), len(records))[0])
                _check(source, records[:end], event_count, header.vcpu_count)
                writer.append_block(events_of(records[:end]))
                event_count += end
                if end < len(records):
                    recorded = recorded_at(records[end])
                    if end + 1 < len(records) or source.read_exactly(1):
                        raise ImportFailed(f"{path}: records follow the END record; cut them off")
                    break
            else:
                raise ImportFailed(
                    f"{path}: the capture has no END record after {event_count} records, so it is "
                    "not whole; capture it again"
                )
            if recorded["records"] != event_count:
                raise ImportFailed(
                    f"{path}: the capture tool wrote {recorded['records']} records, "
                    f"the file holds {event_count}; copy it again"
                )
            return writer.close(recorded)


def recognises(first: bytes) -> bool:
    """Whether a file with these first bytes is a capture."""
    return first.startswith(MAGIC)


def trace_name(path: Path) -> str:
    """The name a capture gives its trace: its file name without the endings."""
    name = re.sub(r"\.(zst|gz|xz|bz2)$", "", path.name)
    return re.sub(r"(?<=.)\.(ptt|ops\.jsonl|ops|jsonl|dat|txt|log)$", "", name)


def _read_header(source: Source, name: str, ram_mib: int) -> TraceHeader:
    data = source.read_exactly(HEADER.size)
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise ImportFailed(f"{source.path}: byte 0: {data[:8]!r} is not the start of a ptt capture")
    _, version, record_size, vcpu_count, filter_slots, refresh, zero = HEADER.unpack(data)
    if version != 1 or record_size != RECORD.itemsize or any(zero):
        raise ImportFailed(
            f"{source.path}: byte 8: ptt version {version} with records of {record_size} bytes; "
            f"version 1 with {RECORD.itemsize} is known"
        )
    if not 1 <= vcpu_count <= MAX_VCPUS:
        raise ImportFailed(
            f"{source.path}: byte 16: {vcpu_count} vCPUs, a trace has 1 to {MAX_VCPUS}"
        )
    return TraceHeader(
        content="capture",
        name=name,
        guest_mode="long",
        vcpu_count=vcpu_count,
        slots=(MemorySlot(slot=0, base_gfn=0, page_count=(ram_mib << 20) // PAGE_BYTES),),
        capture_tool="ptt 1",
        capture_filter={
            "slots": filter_slots,
            "refresh_instructions": refresh,
            "keeps": KEEPS,
            "loses": LOSES,
        },
        time_unit="guest instructions of all vCPUs together, exact to one translation block",
        workload_marks=MARKS,
    )


def _records(source: Source) -> Iterator[NDArray[np.void]]:
    offset = HEADER.size
    while data := source.read_exactly(CHUNK_RECORDS * RECORD.itemsize):
        if len(data) % RECORD.itemsize:
            raise ImportFailed(
                f"{source.path}: byte {offset + len(data)}: the capture ends inside a record; "
                "copy it again"
            )
        yield np.frombuffer(data, RECORD)
        offset += len(data)


def _check(source: Source, records: NDArray[np.void], first_index: int, vcpu_count: int) -> None:
    """Check what the rules for events cannot, because the events would not show it."""
    entry = records["kind"] == EventKind.TABLE_ENTRY
    astray = entry & ((records["d"] > 511) | ((records["a"] & (PAGE_BYTES - 1)) != 0))
    kind = records["kind"]
    for broken, message in (
        ((kind < FIRST_KIND) | (kind > LAST_KIND), "no ptt record is of kind {kind}"),
        (records["vcpu"] >= vcpu_count, f"a vCPU the header does not have ({vcpu_count})"),
        (astray, "a table entry outside its page"),
    ):
        if broken.any():
            at = int(broken.argmax())
            index = first_index + at
            raise ImportFailed(
                f"{source.path}: record {index}, byte {HEADER.size + index * RECORD.itemsize} of "
                f"the capture: {message.format(kind=kind[at])}; it is damaged, capture it again"
            )


def events_of(records: NDArray[np.void]) -> Block:
    """The events that records without END become."""
    index = records["d"] * (records["kind"] == EventKind.TABLE_ENTRY)
    return Block(
        first_event_index=0,
        kind=records["kind"],
        vcpu=records["vcpu"],
        flags=records["flags"],
        aux=records["aux"],
        insns=records["d"] - index,
        a=records["a"] | (index.astype(np.int64) << 3),
        b=records["b"],
    )


def recorded_at(end: np.void) -> dict[str, int]:
    """The fields of the END record by name, enough to write it again."""
    return {
        "records": int(end["a"]),
        "instructions": int(end["b"]),
        "last_insns": int(end["d"]),
        "end_vcpu": int(end["vcpu"]),
        "end_flags": int(end["flags"]),
        "end_aux": int(end["aux"]),
    }


def to_records(block: Block) -> NDArray[np.void]:
    """The records that a block of a capture was made from: the inverse of the import."""
    records = np.empty(block.event_count, RECORD)
    entry = block.kind == EventKind.TABLE_ENTRY
    index = np.where(entry, (block.a & (PAGE_BYTES - 1)) >> 3, 0)
    for column in ("kind", "vcpu", "flags", "aux", "b"):
        records[column] = getattr(block, column)
    records["d"] = block.insns + index
    records["a"] = block.a & ~(index << 3)
    return records
