r"""Logs of valgrind's lackey with ``--trace-mem=yes``.

One line a reference: the kind, a virtual address in hex, a size in decimal::

    I  04001090,3     an instruction           (columns as valgrind's lackey/lk_main.c prints them)
     L 1fff000760,8   a load
     S 1fff000758,8   a store
     M 0421c7cc,4     a load and a store of the same place

Between them stand valgrind's own lines (``==777== …``) and what the program printed, which are
left out. No line says which process it is of, so a log of several is refused. The course CS:APP
gives out logs with one space less after ``I``, which are read too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refault.errors import ImportFailed
from refault.trace.importers.source import MAX_LINE_BYTES, Source, open_source
from refault.trace.importers.streams import (
    FETCH,
    LOSES,
    READ,
    WRITE,
    References,
    Stream,
    of_one_process,
)

CHUNK_BYTES: Final = 1 << 20
HEX_DIGITS_MAX: Final = 16
SIZE_DIGITS_MAX: Final = 4
_RECORD: Final = re.compile(rb"^(?:I {1,2}| [LSM] )[0-9a-f]{1,16},\d{1,4}\r?$", re.MULTILINE)
_BANNER: Final = re.compile(rb"\A(?:==\d+== .*\n)*?==\d+== Lackey")
_MAIL: Final = re.compile(rb"\A(?:[A-Z][\w-]*: |From )")
LOOK_BYTES: Final = 4096
LEAST_RECORDS: Final = 2
_PROCESS: Final = re.compile(rb"==(?:[\d:.]{12,20} )?(\d{1,10})== ")
_BAD: Final = 255
_DIGIT: Final = np.full(256, _BAD, np.uint8)
_DIGIT[ord("0") : ord("9") + 1] = np.arange(10)
_DIGIT[ord("a") : ord("f") + 1] = np.arange(10, 16)
_DIGIT[ord("A") : ord("F") + 1] = np.arange(10, 16)


def recognises(first: bytes) -> bool:
    """Whether a file that begins so is such a log."""
    first = first[:LOOK_BYTES]
    if _BANNER.match(first):
        return True
    if _MAIL.match(first):
        return False
    found = _RECORD.findall(first)
    return len(found) >= LEAST_RECORDS or (bool(found) and first.strip() == found[0].strip())


def open_log(path: Path, progress: Callable[[int], None] | None = None) -> Stream:
    """The references of a log.

    Raises:
        ImportFailed: while they are read: the log is cut, damaged or holds no reference.
    """
    return Stream(
        facts={"format": "valgrind lackey --trace-mem=yes"},
        loses=(
            *LOSES,
            "threads: lackey runs them one at a time and does not name them",
            "system calls' own accesses to memory",
        ),
        references=_references(path, progress),
    )


def _references(path: Path, progress: Callable[[int], None] | None) -> Iterator[References]:
    found = 0
    processes: set[bytes] = set()
    with open_source(path, progress) as source:
        for text in _whole_lines(source):
            _refuse_several(path, text, processes)
            part = parse(text)
            found += len(part.address) + part.left_out
            if len(part.address) or part.left_out:
                yield part
    if not found:
        raise ImportFailed(
            f"{path}: no reference in this log; run valgrind --tool=lackey with --trace-mem=yes"
        )


def _refuse_several(path: Path, text: bytes, processes: set[bytes]) -> None:
    """Note the processes that valgrind's own lines name, and refuse a second one."""
    at = 0 if text.startswith(b"==") else text.find(b"\n==") + 1
    while at or text.startswith(b"=="):
        if told := _PROCESS.match(text, at):
            processes.add(told[1])
        following = text.find(b"\n==", at)
        if following < 0:
            break
        at = following + 1
    if len(processes) > 1:
        names = b" and ".join(sorted(processes)[:2]).decode()
        raise ImportFailed(
            f"{path}: lines of processes {names} stand in one log, and do not say which they are "
            "of; record a log of each: valgrind --tool=lackey --trace-mem=yes "
            "--log-file=lackey.%p.log"
        )


def _whole_lines(source: Source) -> Iterator[bytes]:
    """Chunks of the log that end at line ends."""
    rest = b""
    offset = 0
    while data := source.read_exactly(CHUNK_BYTES):
        offset += len(data)
        whole, end, behind = data.rpartition(b"\n")
        if end:
            yield rest + whole + end
            rest = behind
        else:
            rest += behind
        if len(rest) > MAX_LINE_BYTES:
            raise ImportFailed(
                f"{source.path}: byte {offset - len(rest)}: a line longer than {MAX_LINE_BYTES} "
                "bytes, so this is no log of lackey, or a damaged one"
            )
    if rest:
        raise ImportFailed(
            f"{source.path}: byte {offset - len(rest)}: the last line has no line end, so the "
            "file is cut; copy it again"
        )


def parse(text: bytes) -> References:
    """The references in whole lines; other lines are left out."""
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    padded = np.concatenate((data, np.zeros(4, np.uint8)))
    first, second, third = (padded[starts + at] for at in range(3))
    fetches = (first == ord("I")) & (second == ord(" "))
    loads = second == ord("L")
    stores = second == ord("S")
    both = second == ord("M")
    is_data = (first == ord(" ")) & (loads | stores | both) & (third == ord(" "))
    begin = starts + 2 + (is_data | (fetches & (third == ord(" "))))
    rows = np.flatnonzero(fetches | is_data)
    begin, ends = begin[rows], ends[rows]
    ends = ends - (data[ends - 1] == ord("\r"))
    comma = _first_commas(data, begin)
    good = (comma > begin) & (comma < ends)
    good &= (comma - begin <= HEX_DIGITS_MAX) & (ends - comma - 1 <= SIZE_DIGITS_MAX)
    good &= ends - comma > 1
    rows, begin, ends, comma = rows[good], begin[good], ends[good], comma[good]
    address, is_hex = _number(data, begin, comma, 4)
    size, is_decimal = _decimal(data, comma + 1, ends)
    good = is_hex & is_decimal
    flags = np.where(fetches[rows], FETCH, np.where(stores[rows], WRITE, READ)).astype(np.uint8)
    return _with_modifies(address[good], flags[good], size[good], both[rows][good])


def _with_modifies(
    address: NDArray[np.int64],
    flags: NDArray[np.uint8],
    size: NDArray[np.uint16],
    modifies: NDArray[np.bool_],
) -> References:
    """A modify is a load and then a store."""
    if modifies.any():
        times = np.where(modifies, 2, 1)
        stores = np.cumsum(times)[modifies] - 1
        address, flags = np.repeat(address, times), np.repeat(flags, times)
        size = np.repeat(size, times)
        flags[stores] = WRITE
    return of_one_process(address, flags, size)


def _first_commas(data: NDArray[np.uint8], begin: NDArray[Any]) -> NDArray[np.int64]:
    """The first comma behind each place, or place 0."""
    commas = np.flatnonzero(data == ord(","))
    if not len(commas):
        return np.zeros(len(begin), np.int64)
    at = np.searchsorted(commas, begin)
    found = commas[np.minimum(at, len(commas) - 1)]
    return np.where(at < len(commas), found, 0)


def _number(
    data: NDArray[np.uint8], begin: NDArray[Any], end: NDArray[Any], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Hexadecimal numbers between two places, and which of them are such."""
    value = np.zeros(len(begin), np.int64)
    good = np.ones(len(begin), bool)
    lengths = end - begin
    for place in range(int(lengths.max(initial=0))):
        digit = _DIGIT[data[np.maximum(end - 1 - place, 0)]]
        inside = place < lengths
        good &= ~inside | (digit != _BAD)
        value |= np.where(inside, digit, 0).astype(np.int64) << (bits * place)
    return value, good


def _decimal(
    data: NDArray[np.uint8], begin: NDArray[Any], end: NDArray[Any]
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Decimal numbers of a few digits."""
    value = np.zeros(len(begin), np.int64)
    good = np.ones(len(begin), bool)
    lengths = end - begin
    for place in range(int(lengths.max(initial=0))):
        digit = _DIGIT[data[np.maximum(end - 1 - place, 0)]]
        inside = place < lengths
        good &= ~inside | (digit < 10)
        value += np.where(inside, digit, 0).astype(np.int64) * 10**place
    return value.astype(np.uint16), good
