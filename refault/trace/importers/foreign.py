"""Formats that are recognised by their first bytes, to be named in errors; none can be read yet.

Where another tool makes of a file what can be read, or reads it, :data:`REMEDIES` says which.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_CHAMPSIM_SIZES: Final = (64, 72)
_CHAMPSIM_LOOK: Final = 8  # records
_LOW_HALF_END: Final = 1 << 47
_HIGH_HALF: Final = 0xFFFF_8000_0000_0000
_PCAP: Final = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a")

A_DIFF: Final = "a diff, without the mail it came in"
COUNTERS: Final = "a list of counters of"
PERF_DATA: Final = "a perf.data of perf"
A_TEXT: Final = "a text of an unknown format"
UTF_16: Final = "a text in UTF-16"
UTF_16_BE: Final = "a text in UTF-16, high bytes first"
TAR: Final = "a tar archive"
ZIP: Final = "a zip archive"
SEVEN_ZIP: Final = "a 7z archive"
LZ4: Final = "a file compressed by lz4"
SNAPPY: Final = "a file compressed by snappy"
LZMA: Final = "a file compressed by lzma, the older xz"
NEWER_DRMEMTRACE: Final = "a memory trace of DynamoRIO (drmemtrace) of a version over 7"
DISK: Final = "a disk image of QEMU (qcow2)"
CTF: Final = "a stream of LTTng (CTF)"

#: What to do with a file, by what it is; ``{file}`` is its name, quoted.
REMEDIES: Final = {
    PERF_DATA: "its text can be imported: perf script -i {file} > events.txt",
    UTF_16: "write it as UTF-8: iconv -f UTF-16 -t UTF-8 {file} > events.txt",
    UTF_16_BE: "write it as UTF-8: iconv -f UTF-16BE -t UTF-8 {file} > events.txt",
    TAR: "unpack it, and import what is in it: tar -xf {file}",
    ZIP: "unpack it, and import what is in it: unzip {file}",
    SEVEN_ZIP: "unpack it, and import what is in it: 7z x {file}",
    LZ4: "decompress it first: lz4 -d {file} decompressed",
    SNAPPY: "decompress it first: snzip -d {file}",
    LZMA: "decompress it first: xz -d --format=lzma < {file} > decompressed",
    NEWER_DRMEMTRACE: "record it with a release of DynamoRIO that writes versions 1 to 7",
    DISK: "a guest that boots from it can be captured: refault capture --disk {file}",
    CTF: "its text cannot be imported; record with trace-cmd record -e kvm -e kvmmmu",
}


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


def _is_utf_16(first: bytes) -> bool:
    """Whether it says so, or every second byte of its letters is zero, the later ones."""
    return first.startswith(b"\xff\xfe") or _has_empty_bytes(first, 1)


def _is_utf_16_be(first: bytes) -> bool:
    return first.startswith(b"\xfe\xff") or _has_empty_bytes(first, 0)


def _has_empty_bytes(first: bytes, at: int) -> bool:
    looked = first[:64]
    empty, letters = looked[at::2], looked[1 - at :: 2]
    return len(looked) >= 16 and not any(empty) and _is_text(letters)


def _is_tar(first: bytes) -> bool:
    return first[257:262] == b"ustar"


def _is_text(first: bytes) -> bool:
    return not any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in first)


# The more certain ones first; the last two take what is left.
FOREIGN: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    (PERF_DATA, _begins(b"PERFILE2", b"2ELIFREP")),
    ("a packet trace of gem5", _begins(b"gem5")),
    (NEWER_DRMEMTRACE, _like(rb"\A\x19\0\0\0[\x08-\x20]\0{3}(?:\0{4}|[\x16-\x1c]\0)")),
    ("a memory trace of DynamoRIO (drmemtrace)", _like(rb"\A\x19\0\0\0[\x01-\x20]\0{7}")),
    ("a mapping file of DynamoRIO (v2p.textproto)", _like(rb"^address_mapping_group\b")),
    ("an ELF file", _begins(b"\x7fELF")),
    (ZIP, _begins(b"PK\x03\x04")),
    (TAR, _is_tar),
    (SEVEN_ZIP, _begins(b"7z\xbc\xaf\x27\x1c")),
    (LZ4, _begins(b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18")),
    (SNAPPY, _begins(b"\xff\x06\0\0sNaPpY")),
    (LZMA, _like(rb"\A\x5d\0\0[\0-\xff]{2}(?:\xff{8}|[\0-\xff]{5}\0{3})")),
    (DISK, _begins(b"QFI\xfb")),
    (CTF, _begins(b"\xc1\x1f\xfc\xc1")),
    ("a capture of network packets (pcap)", _begins(*_PCAP)),
    ("a dump of a kernel's memory (kdump)", _begins(b"KDUMP   ", b"DISKDUMP")),
    ("an SQLite database", _begins(b"SQLite format 3\0")),
    ("a PDF", _begins(b"%PDF-")),
    ("a picture", _begins(b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    ("an HTML page", _like(rb"\A\s*(?i:<(?:!doctype html|html)\b)")),
    (
        f"{COUNTERS} perf stat",
        _like(
            rb"^\s*Performance counter stats for |^#\s+time\s+counts unit events|"
            rb'^\{"[-\w]+" : .{0,80}"counter-value" |^\{"counter-value" |'
            rb"^(?:[ \d.]+[,;])?[\d.]+[,;][^,;\n]{0,20}[,;]kvm\w*:"
        ),
    ),
    (
        f"{COUNTERS} kvm_stat",
        _like(
            rb"\A\s*Event\s+Total\s+%Total|\A(?i:timestamp),[a-z_]+,|\A\s*kvm statistics|"
            rb"\A(?:kvm_|pf_|mmu_|exits|halt_)\w*(?:\(\w+\))?\s+\d+\s+\d+$"
        ),
    ),
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
    (UTF_16, _is_utf_16),
    (UTF_16_BE, _is_utf_16_be),
    ("a text of white space only", lambda first: not first.strip()),
    (A_TEXT, _is_text),
    ("a file of an unknown format", lambda _: True),
)
