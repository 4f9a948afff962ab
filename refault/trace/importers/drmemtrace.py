"""Memory traces of DynamoRIO (drmemtrace), as its analysis tools read them.

Little-endian records of 12 bytes (``trace_entry_t`` of DynamoRIO's
``clients/drcachesim/common/trace_entry.h``, whose enumerations give the numbers below)::

    type u16 │ size u16 │ address u64

    0 1        a load, a store                      22, 24, 23  thread, process, end of a thread
    10–16, 31, 48, 49  an instruction               25, 26      header (version), footer
    17         more instructions, their lengths     28          marker: its kind in ``size``
    29, 30     an instruction that is fetched no more (rep), or perhaps
    2–9, 18–21, 27, 32–46  prefetches, flushes      47          bytes of an instruction

Builds for 32 bits write an address of 4 bytes, so records of 8. A file holds one thread, or one
core with its threads by turns; it begins with a header and ends with a footer, and is plain, gzip,
or a zip of chunks that follow one another. A folder has a file for each thread or core; they are
merged by their timestamps. Markers 15 and 17 give the physical page of a virtual one;
``v2p.textproto`` beside a trace does so for all of it.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refault.errors import ImportFailed
from refault.trace.importers.drmemtrace_files import (
    PAGE_BITS,
    ZIP,
    content_of,
    first_of_zip,
    mapping_beside,
)
from refault.trace.importers.streams import (
    FETCH,
    LOSES,
    READ,
    USER_END,
    WRITE,
    Aliases,
    References,
    Stream,
)

RECORD: Final = np.dtype([("type", "<u2"), ("size", "<u2"), ("address", "<u8")])
#: What builds for 32 bits write.
SHORT_RECORD: Final = np.dtype([("type", "<u2"), ("size", "<u2"), ("address", "<u4")])
VERSIONS: Final = range(1, 8)
CHUNK_RECORDS: Final = 1 << 18
THREAD: Final = 22
THREAD_EXIT: Final = 23
PROCESS: Final = 24
HEADER: Final = 25
FOOTER: Final = 26
MARKER: Final = 28
BUNDLE: Final = 17
LAST_TYPE: Final = 49
M_TIMESTAMP: Final = 2
M_FILE_TYPE: Final = 9
M_PHYSICAL: Final = 15
M_VIRTUAL: Final = 17
M_PAGE_SIZE: Final = 18
#: Files of one trace that are looked at, and what DynamoRIO writes beside them.
FILES_MAX: Final = 1 << 10
SIDE_FILES: Final = frozenset(
    {"cpu_schedule", "encodings", "funclist", "modules", "serial_schedule", "v2p"}
)
#: Bits of the marker M_FILE_TYPE: references that a cache of the recorder had were left out; one
#: file for each core; and machines other than x86.
FILTERED: Final = 0x1 | 0x80 | 0x100 | 0x2000
CORE_SHARDED: Final = 0x10000
MACHINES: Final = {0x8: "AArch64", 0x10: "ARM", 0x20: "x86, 32 bits", 0x40: "x86-64"}
_HEAD_RECORDS: Final = 64
_NOTHING: Final = 255
#: What a type is: READ, WRITE, FETCH, or nothing that touches memory.
_MEANS: Final = np.full(1 << 16, _NOTHING, np.uint8)
_MEANS[0], _MEANS[1] = READ, WRITE
_MEANS[[*range(10, 17), BUNDLE, 29, 30, 31, 48, 49]] = FETCH


def record_of(first: bytes) -> np.dtype[np.void] | None:
    """The records of a file that begins with a header record of a known version, else None.

    In one of short records the type of the next stands where the long ones have zeros.
    """
    if len(first) < RECORD.itemsize:
        return None
    kind, size, version = struct.unpack_from("<HHQ", first)
    if kind != HEADER or size:
        return None
    if version in VERSIONS:
        return RECORD
    following = version >> 32 & 0xFFFF
    is_short = following in {THREAD, PROCESS, MARKER} and version & 0xFFFF_FFFF in VERSIONS
    return SHORT_RECORD if is_short else None


def is_header(first: bytes) -> bool:
    """Whether bytes begin with a header record of a known version."""
    return record_of(first) is not None


def recognises(first: bytes) -> bool:
    """Whether a file that begins so is such a trace; of a zip the first chunk says it."""
    if first.startswith(ZIP):
        first = first_of_zip(first)
    return is_header(first)


def open_trace(path: Path, progress: Callable[[int], None] | None = None) -> Stream:
    """The references of a trace: a file, or a folder of one file for each thread.

    Raises:
        ImportFailed: it is no such trace, or (while references are read) it is cut or damaged.
    """
    first = path
    files = [path]
    if path.is_dir():
        files = files_in(path)
        if not files:
            raise ImportFailed(f"{path}: no trace of DynamoRIO is in this folder")
        first = files[0]
    with content_of(first, None) as source:
        head = source.read_exactly(RECORD.itemsize * _HEAD_RECORDS)
    record = record_of(head)
    if record is None:
        raise ImportFailed(
            f"{first}: byte 0: no header of a drmemtrace of version {VERSIONS[0]} to {VERSIONS[-1]}"
        )
    mapping = mapping_beside(path)
    told = _file_type(np.frombuffer(head[: len(head) // record.itemsize * record.itemsize], record))
    machine = next((name for bit, name in MACHINES.items() if told & bit), "")
    return Stream(
        facts={
            "format": "DynamoRIO drmemtrace",
            "format_version": int.from_bytes(head[4:8], "little"),
            **({"machine": machine} if machine else {}),
            "files": len(files),
            **({"mapped_pages": len(mapping)} if mapping else {}),
        },
        loses=(
            *LOSES,
            "prefetches, cache flushes and what markers say of system calls and signals",
            *_losses(told, machine),
        ),
        references=_merged(files, mapping, progress),
        knows_frames=True,
    )


def _file_type(head: NDArray[np.void]) -> int:
    """The bits of the marker that says what a trace is of; 0 of a trace without one."""
    found = head["address"][(head["type"] == MARKER) & (head["size"] == M_FILE_TYPE)]
    return int(found[0]) if len(found) else 0


def _losses(told: int, machine: str) -> Iterator[str]:
    if told & FILTERED:
        yield "references that hit in a cache of the recorder, which filtered the trace"
    if machine in {"AArch64", "ARM"}:
        yield f"the tables of {machine}: the addresses are run through a guest of x86-64"


def is_folder_of(path: Path) -> bool:
    """Whether a folder holds one such trace, a file for each thread, and nothing else.

    That is a folder as DynamoRIO leaves it, or its ``trace`` folder.
    """
    if _traces_in(path / "trace"):
        return True
    found = _traces_in(path)
    others = {each.name.split(".")[0] for each in path.iterdir() if each.is_file()}
    return len(found) > 1 and not others - {each.name.split(".")[0] for each in found} - SIDE_FILES


def files_in(folder: Path) -> list[Path]:
    """The traces in a folder, or in the ``trace`` folder inside it, by name."""
    return _traces_in(folder / "trace") or _traces_in(folder)


def _traces_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    names = sorted(each for each in folder.iterdir() if ".trace" in each.name)
    return [each for each in names[:FILES_MAX] if each.is_file() and _begins_as_one(each)]


def _begins_as_one(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first = file.read(1 << 10)
        if first.startswith(b"\x1f\x8b"):
            first = zlib.decompressobj(wbits=31).decompress(first, RECORD.itemsize)
    except (OSError, zlib.error):
        return False
    return recognises(first)


def _merged(
    files: list[Path], mapping: dict[int, int], progress: Callable[[int], None] | None
) -> Iterator[References]:
    """The references of all files, those of several in the order of their timestamps."""
    if len(files) == 1:
        for _, part in _Reader(files[0], mapping, progress, cuts=False).parts():
            yield part
        return
    streams = [_Reader(each, mapping, None, cuts=True).parts() for each in files]
    for _, part in heapq.merge(*streams, key=lambda stamped: stamped[0]):
        yield part


class _Reader:
    """One file's references, with its thread and process where they last were."""

    def __init__(
        self,
        path: Path,
        mapping: dict[int, int],
        progress: Callable[[int], None] | None,
        *,
        cuts: bool,
    ) -> None:
        self._path = path
        self._progress = progress
        self._cuts = cuts
        self._thread = 0
        self._process = 0
        self._physical = -1
        self._stamp = 0
        self._mapping = mapping
        self._mapped: set[int] = set()
        self._record = RECORD
        self._is_core = False

    def parts(self) -> Iterator[tuple[int, References]]:
        """References with the timestamp before them; cut at each if several files are merged."""
        at = 0
        ended = False
        with content_of(self._path, self._progress) as source:
            first = source.read_exactly(RECORD.itemsize)
            self._record = record_of(first) or RECORD
            size = self._record.itemsize
            while data := first + source.read_exactly(CHUNK_RECORDS * size - len(first)):
                first = b""
                if len(data) % size:
                    raise self._cut(at + len(data) // size, "inside a record")
                records = np.frombuffer(data, self._record).astype(RECORD, copy=False)
                if not at:
                    told = _file_type(records[:_HEAD_RECORDS])
                    self._is_core = bool(told & CORE_SHARDED)
                self._check(records, at, ended=ended)
                ended = int(records["type"][-1]) == FOOTER
                for part in self._split(records):
                    found = self._references(part)
                    if len(found.address) or found.left_out or found.aliases is not None:
                        yield self._stamp, found
                at += len(records)
        if not ended:
            raise self._cut(at, "without its footer")

    def _cut(self, record: int, where: str) -> ImportFailed:
        return ImportFailed(
            f"{self._path}: byte {record * self._record.itemsize} of the content: the trace ends "
            f"{where} after {record} records; copy it again"
        )

    def _check(self, records: NDArray[np.void], first: int, *, ended: bool) -> None:
        """Refuse types that no version has, headers of unknown versions, records behind the end."""
        kind = records["type"]
        after = np.concatenate((np.array([ended or first == 0]), kind[:-1] == FOOTER))
        if self._is_core:  # put together of the files of threads, each with its footer
            after[int(first == 0) :] = False
        for broken, why in (
            (kind > LAST_TYPE, "is of no known type; the trace is damaged, copy it again"),
            (
                (kind == HEADER) & ((records["address"] - 1) >= len(VERSIONS)),
                f"is a header of a version other than {VERSIONS[0]} to {VERSIONS[-1]}",
            ),
            (after & (kind != HEADER), "stands where a header must; the trace is damaged"),
        ):
            if broken.any():
                at = int(broken.argmax())
                byte = (first + at) * self._record.itemsize
                raise ImportFailed(
                    f"{self._path}: byte {byte} of the content: record "
                    f"{first + at} (type {kind[at]}, {int(records['address'][at]):#x}) {why}"
                )
        sizes = records["address"][(kind == MARKER) & (records["size"] == M_PAGE_SIZE)]
        if len(sizes) and (sizes != 1 << PAGE_BITS).any():
            raise ImportFailed(
                f"{self._path}: pages of {int(sizes[0])} bytes; only traces of machines with "
                "pages of 4096 can be run through an x86 guest"
            )

    def _split(self, records: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
        """The records, cut before each timestamp where files are merged."""
        if not self._cuts:
            yield records
            return
        stamps = (records["type"] == MARKER) & (records["size"] == M_TIMESTAMP)
        begin = 0
        for end in [*np.flatnonzero(stamps).tolist(), len(records)]:
            if end > begin:
                yield records[begin:end]
            if end < len(records):
                self._stamp = int(records["address"][end])
            begin = end

    def _references(self, records: NDArray[np.void]) -> References:
        kind = records["type"]
        address = records["address"].astype(np.int64)
        size = records["size"]
        means = _MEANS[kind]
        thread = _carried(address, kind == THREAD, self._thread)
        process = _carried(address, kind == PROCESS, self._process)
        self._thread, self._process = int(thread[-1]), int(process[-1])
        is_bundle = kind == BUNDLE
        if is_bundle.any():
            address, size = self._unbundled(records, address, is_bundle)
        touches = means != _NOTHING
        inside = touches & (address >= 0) & (address < USER_END)
        aliases = self._aliases(kind, records["size"], address, process, inside)
        at = np.flatnonzero(inside)
        return References(
            process[at],
            thread[at],
            address[at],
            means[at],
            size[at],
            aliases,
            int(np.count_nonzero(touches)) - len(at),
        )

    def _unbundled(
        self, records: NDArray[np.void], address: NDArray[np.int64], is_bundle: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
        """A bundle's instructions follow the one before; taken as one fetch of all their bytes."""
        size = records["size"].copy()
        lengths = records["address"][is_bundle].copy().view(np.uint8).reshape(-1, 8)
        counts = records["size"][is_bundle]
        size[is_bundle] = np.where(np.arange(8) < counts[:, None], lengths, 0).sum(axis=1)
        fetches = _MEANS[records["type"]] == FETCH
        place = np.arange(len(records))
        base = np.maximum.accumulate(np.where(fetches & ~is_bundle, place, -1))
        passed = np.cumsum(np.where(fetches, size, 0), dtype=np.int64)
        length = size.astype(np.int64)
        begins = address[base] + passed - length - (passed[base] - length[base])
        address = np.where(is_bundle, np.where(base < 0, -1, begins), address)
        return address, size

    def _aliases(
        self,
        kind: NDArray[np.uint16],
        size: NDArray[np.uint16],
        address: NDArray[np.int64],
        process: NDArray[np.int64],
        inside: NDArray[np.bool_],
    ) -> Aliases | None:
        """Physical pages that markers tell, and those of the mapping file, once a process."""
        marks = np.flatnonzero((kind == MARKER) & ((size == M_PHYSICAL) | (size == M_VIRTUAL)))
        rows: list[tuple[int, int, int, int]] = []
        fresh = set(np.unique(process[inside]).tolist()) - self._mapped if self._mapping else set()
        for each in sorted(fresh):
            rows += [(0, each, page, frame) for page, frame in self._mapping.items()]
        self._mapped |= fresh
        if len(marks):
            before = np.cumsum(inside)
            for at in marks.tolist():
                if size[at] == M_PHYSICAL:
                    self._physical = int(address[at])
                elif self._physical >= 0 and 0 <= address[at] < USER_END:
                    page, frame = int(address[at]) >> PAGE_BITS, self._physical >> PAGE_BITS
                    rows.append((int(before[at]), int(process[at]), page, frame))
                    self._physical = -1
        if not rows:
            return None
        columns = np.array(rows, np.int64).T.copy()
        return Aliases(*columns)


def _carried(values: NDArray[np.int64], sets: NDArray[np.bool_], before: int) -> NDArray[np.int64]:
    """For each record the value of the latest one that sets it."""
    at = np.flatnonzero(sets)
    if not len(at):
        return np.full(len(values), before, np.int64)
    counts = np.diff(np.concatenate((np.zeros(1, np.int64), at, np.array([len(values)]))))
    return np.repeat(np.concatenate((np.array([before]), values[at])), counts)
