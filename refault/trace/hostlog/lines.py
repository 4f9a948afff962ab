"""Lines of a text as records of events: prefixes of four tools, or none; quoted and wrapped.

One logical line is found from physical ones: quotation marks of mails are cut off, and what a
mail's width broke is joined again, as long as the event's text is not whole without it.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from refault.trace.hostlog.events import UNKNOWN

_PREFIX_CHARACTERS: Final = 200
_TEXT_CHARACTERS: Final = 4096
_JOINS: Final = 8
_NAME: Final = re.compile(
    r"(?:^|(?<=\s))(?:(?:kvm|kvmmmu|ftrace):)?(kvm_\w{1,60}|tracing_mark_write|print): ?(?=\s|$|\S)"
)
# comm-tid (tgid) [cpu] flags time: period system:event: — each part may be missing, from the left.
_PREFIX: Final = re.compile(
    r"\s*(?:(?:(?P<comm>\S.{0,60}?)(?:-|\s\s*))?(?P<tid>\d{1,9})(?:/\d{1,9})?\s+)?"
    r"(?:\(\s*[-\d]{1,9}\)\s+)?"
    r"(?:\[(?P<cpu>\d{1,5})\]\s+|(?P<cpu2>\d{1,4})(?=[-a-zA-Z.#]{2}))?"
    r"(?:[-a-zA-Z0-9.#*+]{2,10}\s+)?"
    r"(?:(?P<seconds>\d{1,12})(?:\.(?P<fraction>\d{1,9}))?:\s*)?"
    r"(?:\([-+]\d{1,18}\)\s+)?"
    r"(?:\d{1,12}\s+)?"
)
# A line that looks like a record and is none we know: counted, so that a log is not called whole.
_STRANGE: Final = re.compile(r"\d\.\d{1,9}:.{0,80}\bkvm_\w{1,60}:")
# The same where nothing is missing, which is nearly every line of nearly every log.
_USUAL: Final = re.compile(
    r"\s*\S.{0,60}?-(\d{1,9})\s+\[(\d{1,5})\]\s+(?:[^\s\d]\S{1,9}\s+)?"
    r"(\d{1,12})\.(\d{1,9}): +(kvm_\w{1,60}):(.{0,4096})"
)
# A record whose event was wrapped into the next line.
_HALF: Final = re.compile(r"\s*\S.{0,60}?(?:-|\s)\d{1,9}\s+\[\d{1,5}\](?:\s+[-\w.#*:+]{2,24}){0,2}")
_LOST: Final = re.compile(
    r"\s*CPU:? ?(\d{1,5}):? \[(?:LOST(?: (\d{1,18}))? EVENTS|(?:(\d{1,18}) )?EVENTS DROPPED)\]"
)
_PERF_LOST: Final = re.compile(
    r"PERF_RECORD_LOST(?:_SAMPLES)?\s+lost[: ]\s*(\d{1,18})"
    r"|[Pp]rocessed \d+ events and lost (\d{1,18})"
)
_WRITTEN: Final = re.compile(r"#\s*entries-in-buffer/entries-written:\s*(\d{1,18})/(\d{1,18})")
_QUOTED: Final = re.compile(r"(?:[>|]\s?)+")
_NOT_JOINED: Final = re.compile(r"\s*(?:$|#|=>|<stack|cpus=|version =|--|\s[0-9a-f]{6,16} )")


class Record(NamedTuple):
    """One event of a text: its prefix as numbers, its name, and what stands behind it."""

    time_ns: int
    cpu: int
    thread: int
    name: str
    text: str


class Loss(NamedTuple):
    """Events that a text says were lost: how many (0 unknown), and which kind of place says so."""

    place: str
    lost: int


class Strange(NamedTuple):
    """A line that looks like an event, with a prefix that is not known."""

    text: str


class Records:
    """Finds records in lines, one at a time; remembers one record that may go on.

    ``is_whole`` answers whether the text behind an event's name is all of it.
    """

    def __init__(self, is_whole: Callable[[str, str], bool]) -> None:
        self._is_whole = is_whole
        self._held: Record | None = None
        self._joins = 0
        self._half = ""
        self._is_encoded = False
        self._soft = b""

    def take(self, raw: bytes) -> Iterator[Record | Loss | Strange]:
        """What is whole once this line, without its line end, was read."""
        if self._is_encoded or raw[:1] in {b"C", b"c"}:
            if (decoded := self._decoded(raw)) is None:
                return
            raw = decoded
        line = raw.decode("utf-8", "replace").replace("\r", "").replace("\0", " ")
        line = _QUOTED.sub("", line, count=1) if line[:1] in {">", "|"} else line
        half, self._half = self._half, ""
        found = record_of(f"{half} {line.strip()}" if half else line)
        if found is None and half:
            found = record_of(line)
        if found is not None:
            yield from self.rest()
            self._held, self._joins = found, 0
            return
        if loss := _loss_of(line):
            yield from self.rest()
            yield loss
        elif _HALF.fullmatch(line[:_PREFIX_CHARACTERS].rstrip()):
            yield from self.rest()
            self._half = line.strip()
        elif _STRANGE.search(line, 0, 400):
            yield from self.rest()
            yield Strange(line.strip()[:80])
        elif self._may_join(line):
            self._join(line)
        else:
            yield from self.rest()

    def rest(self) -> Iterator[Record]:
        """The record that is still held, if there is one."""
        if self._held is not None:
            yield self._held
        self._held = None

    def _may_join(self, line: str) -> bool:
        held = self._held
        return (
            held is not None
            and self._joins < _JOINS
            and not _NOT_JOINED.match(line)
            and not self._is_whole(held.name, held.text)
        )

    def _join(self, line: str) -> None:
        if self._held is not None:
            text = f"{self._held.text} {line.strip()}"[:_TEXT_CHARACTERS]
            self._held = self._held._replace(text=text.strip())
            self._joins += 1

    def _decoded(self, raw: bytes) -> bytes | None:
        """The line of a quoted-printable mail; None while a soft line break goes on."""
        if not self._is_encoded:
            field, _, value = raw.lower().partition(b":")
            is_said = field == b"content-transfer-encoding"
            self._is_encoded = is_said and b"quoted-printable" in value
            return raw
        whole = self._soft + raw.rstrip(b"\r")
        if whole.endswith(b"=") and len(whole) < _TEXT_CHARACTERS:
            self._soft = whole[:-1]
            return None
        self._soft = b""
        return quopri.decodestring(whole)


def record_of(line: str) -> Record | None:
    """The event that a line begins with, after its prefix if it has one."""
    if usual := _USUAL.match(line):
        thread, cpu, seconds, fraction, name, text = usual.groups()
        time_ns = int(seconds) * 10**9 + int(fraction) * 10 ** (9 - len(fraction))
        return Record(time_ns, int(cpu), int(thread), name, _clean(text))
    found = _NAME.search(line, 0, _PREFIX_CHARACTERS + 80)
    if found is None or found.start() > _PREFIX_CHARACTERS:
        return None
    start = found.start()
    prefix = _PREFIX.fullmatch(line, 0, start)
    if prefix is None:
        return None
    told = prefix.groupdict()
    if found[1] == "print" and told["seconds"] is None:
        return None  # a word of any text
    time_ns = UNKNOWN
    if told["seconds"] is not None:
        fraction = told["fraction"]
        time_ns = int(told["seconds"])
        if fraction is not None:
            time_ns = time_ns * 10**9 + int(f"{fraction:0<9}")
    return Record(
        time_ns,
        int(told["cpu"] or told["cpu2"] or UNKNOWN),
        int(told["tid"] or UNKNOWN),
        found[1],
        _clean(line[found.end() : found.end() + _TEXT_CHARACTERS]),
    )


def _clean(text: str) -> str:
    return text.replace("[FAILED TO PARSE]", "").strip()


def _loss_of(line: str) -> Loss | None:
    if found := _LOST.match(line):
        return Loss("the lines between the events", int(found[2] or found[3] or 0))
    if found := _WRITTEN.match(line):
        kept, written = int(found[1]), int(found[2])
        return Loss("the head", written - kept) if written > kept else None
    if found := _PERF_LOST.search(line[:400]):
        return Loss("perf", int(found[1] or found[2] or 0))
    return None
