"""The container of a trace.dat: what the file says of itself, and where each CPU's pages are.

::

    17 08 44 "tracing" │ "6" 0 │ big endian? u8 │ size of a long u8 │ page size u32
    6  header_page, header_event, ftrace formats, event formats by system, kallsyms, printk,
       command lines, cpu count u32, "options  " … 0, "flyrecord", per CPU { offset u64, size u64 }
    7  compression and its version, offset of the options u64; then sections
       { id u16, flags u16 (1: compressed), string u32, size u64 }

After trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5).
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Final, NamedTuple

from refault.errors import ImportFailed
from refault.printable import printable
from refault.trace.hostlog.tracedat.cursor import MAX_PIECE_BYTES, Cursor, Order, unpack
from refault.trace.hostlog.tracedat.formats import Layouts
from refault.trace.hostlog.tracedat.pages import PageLayout

MAGIC: Final = b"\x17\x08\x44tracing"
VERSIONS: Final = ("6", "7")
MAX_CPUS: Final = 8192
MAX_FORMATS: Final = 1 << 16
MAX_HELD_BYTES: Final = 512 << 20  # of the pages of all CPUs together
MAX_OPTIONS: Final = 1 << 16
MAX_PAGE_BYTES: Final = 1 << 20
MIN_PAGE_BYTES: Final = 64
_COMPRESSED: Final = 1
# Options and sections share their numbers.
CPU_STATISTICS, BUFFER, UNAME, HEADER_INFO, FTRACE_FORMATS, EVENT_FORMATS = 2, 3, 5, 16, 17, 18
DATE, TIME_OFFSET, CPU_COUNT, TSC_TO_NS, BUFFER_TEXT = 1, 7, 8, 14, 22
_SECTIONS: Final = {BUFFER, HEADER_INFO, FTRACE_FORMATS, EVENT_FORMATS}
_PLACES: Final = {HEADER_INFO, FTRACE_FORMATS, EVENT_FORMATS}
_HEADER_FIELD: Final = re.compile(r"field:[^;]*?(\w+);\s*offset:(\d{1,4});\s*size:(\d{1,7});")
_OVERRUN: Final = re.compile(
    r"^(?:overrun|commit overrun|dropped events): (\d{1,18})$", re.MULTILINE
)
_NUMBER: Final = re.compile(r"-?(?:0x[0-9a-fA-F]{1,16}|0|[1-9]\d{0,18})")


class CpuData(NamedTuple):
    """The pages of one CPU: ``size`` bytes from ``offset`` on, of the buffer of that name."""

    cpu: int
    offset: int
    size: int
    page_bytes: int
    is_compressed: bool
    buffer: str = ""


class Clock(NamedTuple):
    """How the time of a record becomes nanoseconds, as ``trace-cmd report`` tells them."""

    multiplier: int = 1
    shift: int = 0
    offset: int = 0

    def ns(self, stamp: int) -> int:
        """The time of a stamp."""
        return (stamp * self.multiplier >> self.shift) + self.offset


@dataclasses.dataclass(slots=True)
class Contents:
    """What the file says before its pages."""

    version: str
    long_bytes: int = 8
    page_bytes: int = 4096
    compression: str = "none"
    release: str = ""
    overrun_count: int = 0
    data_bytes: int = 0
    clock: Clock = dataclasses.field(default_factory=Clock)
    clocks: dict[str, str] = dataclasses.field(default_factory=dict)  # by buffers with pages
    has_text: bool = False
    layouts: Layouts = dataclasses.field(default_factory=Layouts)
    page: PageLayout = dataclasses.field(default_factory=PageLayout)
    cpus: list[CpuData] = dataclasses.field(default_factory=list)


def read_contents(cursor: Cursor) -> Contents:
    """All but the pages.

    Raises:
        ImportFailed: the file is damaged, or of another version.
    """
    if cursor.take(len(MAGIC), "the magic bytes") != MAGIC:
        raise cursor.refuse("this is not the start of a trace.dat")
    version = cursor.string("the version")
    if version not in VERSIONS:
        raise ImportFailed(
            f"{cursor.path}: trace.dat version {version!r:.20}; versions 6 and 7 can be read: "
            "`trace-cmd convert --file-version 7` writes one, or import `trace-cmd report -R`"
        )
    found = Contents(version)
    cursor.order = "big" if cursor.number(1, "the byte order") else "little"
    found.long_bytes = cursor.number(1, "the size of a long")
    if found.long_bytes not in {4, 8}:
        raise cursor.refuse(f"a long is said to have {found.long_bytes} bytes")
    found.page_bytes = _page_bytes(cursor, cursor.number(4, "the page size"))
    if version == "6":
        _read_6(cursor, found)
    else:
        _read_7(cursor, found)
    if found.has_text and not found.cpus:
        raise _only_text(cursor)
    if len(set(found.clocks.values())) > 1:
        clocks = " and ".join(sorted(printable(each) for each in set(found.clocks.values())))
        raise ImportFailed(
            f"{cursor.path}: its buffers have the clocks {clocks}, whose times do not compare; "
            "keep one buffer: `trace-cmd split --top` or `trace-cmd split -B NAME -t`"
        )
    return found


def _only_text(cursor: Cursor) -> ImportFailed:
    return ImportFailed(
        f"{cursor.path}: this trace.dat holds the text of a latency tracer, no events; record "
        "with `trace-cmd record -e kvm -e kvmmmu`"
    )


def _page_bytes(cursor: Cursor, size: int) -> int:
    if not MIN_PAGE_BYTES <= size <= MAX_PAGE_BYTES:
        raise cursor.refuse(f"pages are said to have {size} bytes")
    return size


# --- version 6 --------------------------------------------------------------------------


def _read_6(cursor: Cursor, found: Contents) -> None:
    _read_header_pages(cursor, found)
    _read_formats(cursor, found, "ftrace")
    _read_systems(cursor, found)
    for what, width in (("kallsyms", 4), ("printk formats", 4), ("command lines", 8)):
        cursor.skip(cursor.number(width, what), what)
    cpu_count = cursor.number(4, "the number of CPUs")
    buffers: list[tuple[int, str]] = []
    while (word := cursor.take(10, "a section's name")).startswith(b"options"):
        for option, data in _options(cursor):
            if option == BUFFER:
                name = data[8:].split(b"\0", 1)[0].decode("utf-8", "replace")
                buffers.append((int.from_bytes(data[:8], cursor.order), name))
            elif option == CPU_COUNT:
                cpu_count = int.from_bytes(data[:4], cursor.order)
            else:
                _take_option(option, data, found, cursor.order)
    _read_cpus_6(cursor, found, word, cpu_count)
    for offset, name in buffers[:MAX_CPUS]:
        cursor.seek(offset, "a buffer")
        word = cursor.take(10, "a section's name")
        if word.startswith(b"options"):
            _options(cursor)
            word = cursor.take(10, "a section's name")
        _read_cpus_6(cursor, found, word, cpu_count, name)


def _read_cpus_6(
    cursor: Cursor, found: Contents, word: bytes, cpu_count: int, buffer: str = ""
) -> None:
    if word.startswith(b"latency"):
        raise _only_text(cursor)
    if not word.startswith(b"flyrecord"):
        raise cursor.refuse(f"a section begins {word!r}, where flyrecord should")
    if cpu_count > MAX_CPUS:
        raise cursor.refuse(f"{cpu_count} CPUs are said to have been recorded")
    for cpu in range(cpu_count):
        offset = cursor.number(8, "a CPU's offset")
        size = cursor.number(8, "a CPU's size")
        data = CpuData(cpu, offset, size, found.page_bytes, is_compressed=False, buffer=buffer)
        _add_cpu(cursor, found, data)


def _add_cpu(cursor: Cursor, found: Contents, cpu: CpuData) -> None:
    if cpu.size and cpu.offset + cpu.size > cursor.size:
        raise cursor.refuse(
            f"the pages of CPU {cpu.cpu} are said to be bytes {cpu.offset} to "
            f"{cpu.offset + cpu.size} of {cursor.size}"
        )
    if not cpu.size:
        return
    found.cpus.append(cpu)
    # All CPUs are read side by side, each with a page in memory; none may read another's again.
    if found.data_bytes + cpu.size > cursor.size:
        raise cursor.refuse("the CPUs are said to have more pages than the file has")
    found.data_bytes += cpu.size
    if len(found.cpus) * cpu.page_bytes > MAX_HELD_BYTES:
        raise cursor.refuse(f"{len(found.cpus)} CPUs with pages of {cpu.page_bytes} bytes")


def _read_header_pages(cursor: Cursor, found: Contents) -> None:
    texts = []
    for name in ("header_page", "header_event"):
        if cursor.string(name) != name:
            raise cursor.refuse(f"{name} is not where it should be")
        texts.append(cursor.take(cursor.number(8, name), name, MAX_PIECE_BYTES))
    places = {
        field[1]: (int(field[2]), int(field[3]))
        for field in _HEADER_FIELD.finditer(texts[0].decode("utf-8", "replace"))
    }
    commit = places.get("commit", (8, found.long_bytes))
    data = places.get("data", (8 + found.long_bytes, 0))
    if commit[1] not in {4, 8} or not 8 <= commit[0] < data[0] <= MIN_PAGE_BYTES:
        raise cursor.refuse("header_page describes pages that cannot be")
    found.page = PageLayout(data[0], commit[0], commit[1], cursor.order)


def _read_formats(cursor: Cursor, found: Contents, system: str) -> None:
    count = cursor.number(4, "the number of formats")
    if count > MAX_FORMATS:
        raise cursor.refuse(f"{count} event formats are said to follow")
    for _ in range(count):
        text = cursor.take(cursor.number(8, "a format"), "a format", 1 << 20)
        found.layouts.add(system, text.decode("utf-8", "replace"))


def _read_systems(cursor: Cursor, found: Contents) -> None:
    count = cursor.number(4, "the number of systems")
    if count > MAX_FORMATS:
        raise cursor.refuse(f"{count} systems of events are said to follow")
    for _ in range(count):
        system = cursor.string("a system's name")
        _read_formats(cursor, found, system)


def _options(cursor: Cursor) -> list[tuple[int, bytes]]:
    """Options up to the one that ends them, which version 7 has too, with data."""
    options: list[tuple[int, bytes]] = []
    for _ in range(MAX_OPTIONS):
        option = cursor.number(2, "an option")
        if option == 0:
            return options
        size = cursor.number(4, "an option's size")
        options.append((option, cursor.take(size, "an option", 1 << 20)))
    raise cursor.refuse(f"more than {MAX_OPTIONS} options")


def _take_option(option: int, data: bytes, found: Contents, order: Order) -> None:
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace")
    if option == UNAME:
        # System, host, release, machine.
        words = text.split()
        release = words[2] if len(words) > 2 else ""
        found.release = release if re.match(r"\d+\.\d+", release) else _first_release(text)
    elif option == CPU_STATISTICS:
        found.overrun_count += sum(map(int, _OVERRUN.findall(text)))
    elif option in {DATE, TIME_OFFSET} and _NUMBER.fullmatch(text):
        scale = 1000 if option == DATE else 1  # a date is in microseconds
        found.clock = found.clock._replace(offset=found.clock.offset + int(text, 0) * scale)
    elif option == TSC_TO_NS and len(data) >= 16:
        multiplier, shift = (int.from_bytes(data[at : at + 4], order) for at in (0, 4))
        if multiplier and shift < 64:
            found.clock = found.clock._replace(multiplier=multiplier, shift=shift)
    elif option == BUFFER_TEXT:
        found.has_text = True


def _first_release(text: str) -> str:
    numbers = re.search(r"(?:^|\s)(\d{1,3}\.\d{1,3}\S*)", text)
    return numbers[1] if numbers else ""


# --- version 7 --------------------------------------------------------------------------


def _read_7(cursor: Cursor, found: Contents) -> None:
    found.compression = cursor.string("the compression")
    cursor.string("the version of the compression")
    place = cursor.number(8, "the place of the options")
    if not place:
        raise ImportFailed(
            f"{cursor.path}: trace-cmd did not finish this trace.dat: it has no options; "
            "`trace-cmd restore` may put one together from the files of the CPUs"
        )
    options: list[tuple[int, bytes]] = []
    seen: set[int] = set()
    while place and place not in seen and len(seen) < MAX_OPTIONS:
        seen.add(place)
        section = _section(cursor, found, place, "the options")
        taken, place = _options_7(section)
        options += taken
    order = cursor.order
    places = {each: int.from_bytes(data[:8], order) for each, data in options if each in _PLACES}
    for option, reader in (
        (HEADER_INFO, _read_header_pages),
        (FTRACE_FORMATS, lambda at, contents: _read_formats(at, contents, "ftrace")),
        (EVENT_FORMATS, _read_systems),
    ):
        if option in places:
            reader(_section(cursor, found, places[option], "a section"), found)
    for option, data in options:
        if option == BUFFER:
            _read_buffer(cursor, found, data)
        elif option not in _SECTIONS:
            _take_option(option, data, found, order)


def _options_7(section: Cursor) -> tuple[list[tuple[int, bytes]], int]:
    """The options of a section, and where the next ones are; 0 if there are none."""
    options = _options(section)
    section.number(4, "an option's size")
    return options, section.number(8, "the place of more options")


def _section(cursor: Cursor, found: Contents, place: int, what: str) -> Cursor:
    """The content of the section at a place, decompressed if it is not plain."""
    cursor.seek(place, what)
    cursor.number(2, what)
    flags = cursor.number(2, what)
    cursor.number(4, what)
    size = cursor.number(8, what)
    data = cursor.take(size, what)
    if flags & _COMPRESSED:
        order = cursor.order
        if len(data) < 8:
            raise cursor.refuse(f"{what} ends before its sizes")
        packed, raw = int.from_bytes(data[:4], order), int.from_bytes(data[4:8], order)
        if packed > len(data) - 8:
            raise cursor.refuse(f"{what} is said to have {packed} compressed bytes")
        data = unpack(cursor, found.compression, data[8 : 8 + packed], raw, what)
    return Cursor(cursor.path, io.BytesIO(data), order=cursor.order, base=place)


def _read_buffer(cursor: Cursor, found: Contents, data: bytes) -> None:
    """One buffer: an instance's name, its clock, its page size, and the pages of each CPU."""
    option = Cursor(cursor.path, io.BytesIO(data), order=cursor.order, base=cursor.place)
    place = option.number(8, "a buffer's place")
    name = option.string("a buffer's name")
    clock = option.string("a buffer's clock")
    page_bytes = _page_bytes(option, option.number(4, "a buffer's page size"))
    cpu_count = option.number(4, "a buffer's number of CPUs")
    if cpu_count > MAX_CPUS:
        raise option.refuse(f"{cpu_count} CPUs are said to have been recorded")
    cursor.seek(place, "a buffer")
    cursor.number(2, "a buffer")
    flags = cursor.number(2, "a buffer")
    for _ in range(cpu_count):
        cpu = option.number(4, "a CPU's number")
        offset = option.number(8, "a CPU's offset")
        size = option.number(8, "a CPU's size")
        packed = bool(flags & _COMPRESSED)
        each = CpuData(cpu, offset, size, page_bytes, is_compressed=packed, buffer=name)
        _add_cpu(cursor, found, each)
        if size:
            found.clocks[name] = clock
