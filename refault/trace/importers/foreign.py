"""Formats that are recognised by their first bytes, to be named in errors; none can be read yet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_CHAMPSIM_SIZES: Final = (64, 72)
_CHAMPSIM_LOOK: Final = 8  # records
_LOW_HALF_END: Final = 1 << 47
_HIGH_HALF: Final = 0xFFFF_8000_0000_0000

A_DIFF: Final = "a diff, without the mail it came in"
COUNTERS: Final = "a list of counters of"
PERF_DATA: Final = "a perf.data of perf"
A_TEXT: Final = "a text of an unknown format"


def _like(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether the pattern is found at the start of one of the first lines."""
    search = re.compile(pattern, re.MULTILINE).search
    return lambda first: search(first[:4096]) is not None


def _begins(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda first: first.startswith(magics)


def _is_champsim(first: bytes) -> bool:
    """No magic: records of an address, then two bytes that are 0 or 1."""
    for size in _CHAMPSIM_SIZES:
        records = [first[at : at + size] for at in range(0, len(first) - size + 1, size)]
        if len(records) > 1 and all(map(_is_instruction, records[:_CHAMPSIM_LOOK])):
            return True
    return False


def _is_instruction(record: bytes) -> bool:
    ip = int.from_bytes(record[:8], "little")
    return (0 < ip < _LOW_HALF_END or ip >= _HIGH_HALF) and record[8] <= 1 and record[9] <= 1


def _is_tar(first: bytes) -> bool:
    return first[257:262] == b"ustar"


def _is_text(first: bytes) -> bool:
    return not any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in first)


# The more certain ones first; the last two take what is left.
FOREIGN: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    (PERF_DATA, _begins(b"PERFILE2", b"2ELIFREP")),
    ("a packet trace of gem5", _begins(b"gem5")),
    ("a memory trace of DynamoRIO (drmemtrace)", _like(rb"\A\x19\0\0\0[\x01-\x20]\0{7}")),
    ("a mapping file of DynamoRIO (v2p.textproto)", _like(rb"^address_mapping_group\b")),
    ("an ELF file", _begins(b"\x7fELF")),
    ("a zip archive", _begins(b"PK\x03\x04")),
    ("a tar archive", _is_tar),
    ("an SQLite database", _begins(b"SQLite format 3\0")),
    ("a PDF", _begins(b"%PDF-")),
    ("a picture", _begins(b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    ("an HTML page", _like(rb"\A\s*(?i:<(?:!doctype html|html)\b)")),
    (f"{COUNTERS} perf stat", _like(rb"^\s*Performance counter stats for ")),
    (f"{COUNTERS} kvm_stat", _like(rb"\A\s*Event\s+Total\s+%Total")),
    (
        f"{COUNTERS} debugfs",
        _like(rb"\A(?:/sys/kernel/debug/kvm/\S+|pf_fixed|exits)[: ]\s*\d+$"),
    ),
    ("a log of valgrind's lackey", _like(rb"^==\d+== Lackey|^(?:I | [SLM]) ? ?[0-9a-f]+,\d+$")),
    ("a log of Pin's pinatrace", _like(rb"^0x[0-9a-f]+: [RW] 0x[0-9a-f]+")),
    ("a log of QEMU's execlog", _like(rb'^\d+, 0x[0-9a-f]+, 0x[0-9a-f]+, "')),
    (A_DIFF, _like(rb"\A(?:diff --git |--- \S|Index: )")),
    ("JSON of an unknown kind", _like(rb"\A\s*[\[{]")),
    ("a trace of ChampSim", _is_champsim),
    (A_TEXT, _is_text),
    ("a file of an unknown format", lambda _: True),
)
