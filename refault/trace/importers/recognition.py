"""What a file is, by its first bytes, for all verbs; its name is ignored.

::

    look(path) ──► Found(kind, packing)
                     │
                     ├── kind.reads   which verb reads it, None if none does
                     └── refusal()    what it is and what to do, for every other verb
"""

from __future__ import annotations

import bz2
import enum
import json
import lzma
import re
import shlex
import stat
import zlib
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from refault.printable import printable
from refault.trace.format import MAGIC
from refault.trace.importers.foreign import A_DIFF, A_TEXT, COUNTERS, FOREIGN, REMEDIES
from refault.trace.importers.registry import (
    IMPORTERS,
    Importer,
    folder_importer_of,
    importer_of,
)
from refault.trace.importers.source import LZMA_MEMORY_BYTES, MAX_WINDOW_BYTES, PACKINGS

LOOK_BYTES: Final = 1 << 16
_BZIP2_BLOCK_BYTES: Final = 1 << 20
_FOLDER_FILES: Final = 64  # that are looked at
_SHOWN_BYTES: Final = 16
_SHOWN_CHARACTERS: Final = 60
READABLE: Final = (
    "what can be read: refault traces; "
    f"{', '.join(each.title for each in IMPORTERS)} (also compressed by "
    f"{', '.join(PACKINGS)}); mailed patches"
)
_MAIL = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:>?From |(?:Return-Path|Received|From|To|Cc|"
    rb"Subject|Date|Reply-To|Message-ID|In-Reply-To|Delivered-To|MIME-Version|List-Id|Sender|"
    rb"X-[\w-]+): )",
    re.IGNORECASE,
)
_DAMAGED_MAGIC = (b"\x89RFT", b"\xefRFT", b"\tRFT", b"\xc2\x89RFT", b"\xef\xbf\xbdRFT")


class Kind(enum.Enum):
    """The kinds of file, each with what errors call it."""

    TRACE = "a refault trace"
    DAMAGED_TRACE = "a refault trace damaged by a transfer as text"
    IMPORTABLE = "of a format that becomes a trace"
    MAIL = "a mail, or an mbox of them"
    RESULT = "the JSON of a run or a result"
    GOLDEN = "a folder of golden results"
    FOLDER = "a folder"
    EMPTY = "an empty file"
    PIPE = "a pipe or a device"
    MISSING = ""
    FOREIGN = "of another format"


class Found(NamedTuple):
    """What a file is; ``detail`` names a foreign format, or why a file cannot be opened.

    ``packing`` is its compression, or empty; ``importer`` converts it to a trace; ``sample`` is how
    a foreign file begins, fit to show.
    """

    path: Path
    kind: Kind
    detail: str = ""
    packing: str = ""
    importer: Importer | None = None
    sample: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it is text of an unknown format, or a diff: it may be part of a mail."""
        return self.detail in {A_DIFF, A_TEXT}

    def refusal(self) -> str:
        """A line that begins with its name: what it is, and what reads it or what else to do."""
        name = printable(str(self.path))
        if self.kind is Kind.MISSING:
            return f"{name} cannot be opened: {self.detail}"
        if self.kind is Kind.PIPE:
            return f"{name} cannot be read: it is {self.kind.value}; write it to a file first"
        if self.kind in {Kind.FOLDER, Kind.GOLDEN, Kind.EMPTY}:
            return f"{name}: this is {self.kind.value}; {self._remedy()}"
        what = self.importer.title if self.importer else self.detail or self.kind.value
        is_told = not self.packing or self.detail.endswith(self.packing)
        packed = "" if is_told else f", compressed by {self.packing}"
        return f"{name}: byte 0: this is {what}{packed}; {self._remedy()}"

    def _remedy(self) -> str:
        file = shlex.quote(printable(str(self.path)))
        if self.importer is not None:
            command = " ".join(filter(None, ("refault import", file, self.importer.options)))
            return f"`{command}` makes a trace of it"
        if self.detail.startswith(COUNTERS):
            return "the option --host of refault replay and refault compare shows it beside results"
        if self.detail in REMEDIES:
            return REMEDIES[self.detail].format(file=file)
        if self.detail.endswith(f"damaged data of {self.packing}"):
            return "copy it again"
        if self.packing and self.kind is not Kind.FOREIGN:
            tool = {"gzip": "gunzip", "xz": "unxz", "bzip2": "bunzip2", "zstd": "unzstd"}
            return f"decompress it first: {tool[self.packing]} {file}"
        return {
            Kind.TRACE: f"`refault replay {file}` replays it, `refault push {file}` uploads it",
            Kind.DAMAGED_TRACE: "copy it again, as binary",
            Kind.MAIL: f"`refault patches read {file}` reads it",
            Kind.RESULT: f"`refault compare {file}` reads it",
            Kind.GOLDEN: f"`refault golden {file}` replays what is in it",
            Kind.FOLDER: "name a file in it",
            Kind.EMPTY: "copy it again",
        }.get(self.kind, f"it begins {self.sample}; {READABLE}" if self.sample else READABLE)


def look(path: Path) -> Found:
    """What a file is, by its first bytes. A pipe is not read: its bytes come only once."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _folder(path)
        if not stat.S_ISREG(mode):
            return Found(path, Kind.PIPE)
        with path.open("rb") as file:
            first = file.read(LOOK_BYTES)
            if first.startswith(PACKINGS["bzip2"]):
                first += file.read(_BZIP2_BLOCK_BYTES)  # a block decompresses only as a whole
    except OSError as error:
        remedy = (
            "check its name" if isinstance(error, FileNotFoundError) else "check its permissions"
        )
        return Found(path, Kind.MISSING, f"{error.strerror}; {remedy}")
    except ValueError as error:
        return Found(path, Kind.MISSING, f"{error}; not a valid file name")
    packing = next((name for name, magic in PACKINGS.items() if first.startswith(magic)), "")
    if packing:
        unpacked = _unpacked(first, packing)
        if not unpacked:
            damaged = "nothing, or " if unpacked is not None else ""
            return Found(path, Kind.FOREIGN, f"{damaged}damaged data of {packing}", packing)
        first = unpacked
    kind, detail = recognised(first)
    importer = importer_of(first) if kind is Kind.IMPORTABLE else None
    sample = how_it_begins(first) if kind is Kind.FOREIGN else ""
    return Found(path, kind, detail, packing, importer, sample)


def _folder(path: Path) -> Found:
    importer = folder_importer_of(path)
    if importer and not _has_others(path, importer):
        return Found(path, Kind.IMPORTABLE, importer=importer)
    manifests = (path.glob(place) for place in ("MANIFEST.json", "*/MANIFEST.json"))
    is_golden = any(next(found, None) is not None for found in manifests)
    return Found(path, Kind.GOLDEN if is_golden else Kind.FOLDER)


def _has_others(folder: Path, importer: Importer) -> bool:
    """Whether a file in the folder is of another importer, so that it is no whole of one format."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return any(look(path).importer not in {None, importer} for path in files[:_FOLDER_FILES])


def how_it_begins(first: bytes) -> str:
    """A short look at bytes: the first line of a text, or bytes in hex with their letters."""
    try:
        text = first.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut off; anything before it is not text.
        text = first[: error.start].decode() if error.start > len(first) - 4 else ""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if line and printable(line) == line:
        # A backtick would look like the beginning of a command.
        return json.dumps(line[:_SHOWN_CHARACTERS].replace("`", "'"), ensure_ascii=False)
    shown = first[:_SHOWN_BYTES]
    letters = "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x60 else "." for byte in shown)
    return f"{shown.hex(' ')} ({letters})"


def recognised(first: bytes) -> tuple[Kind, str]:
    """The kind of content with these first bytes, and the name of a foreign format."""
    for kind, is_it in (
        (Kind.EMPTY, not first),
        (Kind.TRACE, first.startswith(MAGIC)),
        (Kind.IMPORTABLE, importer_of(first) is not None),
        (Kind.DAMAGED_TRACE, first.startswith(_DAMAGED_MAGIC)),
        (Kind.MAIL, _MAIL.match(first) is not None),
        (Kind.RESULT, _is_result(first)),
    ):
        if is_it:
            return kind, ""
    return Kind.FOREIGN, next(name for name, is_it in FOREIGN if is_it(first))


def _is_result(first: bytes) -> bool:
    """Whether ``refault compare`` reads it; of a long file only the beginning is looked at."""
    if not first.lstrip().startswith(b"{"):
        return False
    if len(first) == LOOK_BYTES:
        return b'"outcome_digest"' in first or b'"trace_digest"' in first[:4096]
    try:
        body = json.loads(first)
    except (ValueError, RecursionError):
        return False
    held = body.get("result", body)
    return isinstance(held, dict) and "outcome_digest" in held


def _unpacked(first: bytes, packing: str) -> bytes | None:
    """The first bytes of the decompressed content; None if they are damaged."""
    try:
        match packing:
            case "gzip":
                return zlib.decompressobj(wbits=31).decompress(first, LOOK_BYTES)
            case "xz":
                xz = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY_BYTES)
                return xz.decompress(first, LOOK_BYTES)
            case "bzip2":
                return bz2.BZ2Decompressor().decompress(first, LOOK_BYTES)
        zstd = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        with zstd.stream_reader(first, read_across_frames=True) as stream:
            return stream.read(LOOK_BYTES)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, zstandard.ZstdError):
        return None
