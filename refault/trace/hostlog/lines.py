"""Lines of a text as records of events: prefixes of four tools, or none; quoted and wrapped.

One logical line is found from physical ones: quotation marks of mails are cut off, and what a
mail's width broke is joined again, as long as the event's text is not whole without it.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from refault.trace.hostlog.prefixes import (
    PREFIX_CHARACTERS,
    TEXT_CHARACTERS,
    Record,
    record_of,
    source_of,
    usual_record,
)

_JOINS: Final = 8
# A line that looks like a record and is none we know: counted, so that a log is not called whole.
_STRANGE: Final = re.compile(r"\d\.\d{1,9}:.{0,80}\bkvm_\w{1,60}:")
_ANY_EVENT: Final = re.compile(r"\b(kvm_(?:entry|exit|page_fault|cr|msr|mmu_\w{1,40})): (.{4,400})")
# A record whose event was wrapped into the next line.
_HALF: Final = re.compile(r"\s*\S.{0,60}?(?:-|\s)\d{1,9}\s+\[\d{1,5}\](?:\s+[-\w.#*:+]{2,24}){0,2}")
_LOST: Final = re.compile(
    r"\s*CPU:? ?(\d{1,5}):? \[(?:LOST(?: (\d{1,18}))? EVENTS|(?:(\d{1,18}) )?EVENTS DROPPED)\]"
)
# Annotation of a buffer that overran: what this CPU recorded before was overwritten.
_STARTED: Final = re.compile(r"\s*#{2,8} CPU \d{1,5} buffer started #{2,8}")
_PERF_LOST: Final = re.compile(
    r"PERF_RECORD_LOST(?:_SAMPLES)?\s+lost[: ]\s*(\d{1,18})"
    r"|[Pp]rocessed \d+ events and lost (\d{1,18})"
)
_WRITTEN: Final = re.compile(r"#\s*entries-in-buffer/entries-written:\s*(\d{1,18})/(\d{1,18})")
_QUOTED: Final = re.compile(r"(?:[>|]\s?)+")
_NOT_JOINED: Final = re.compile(r"\s*(?:$|#|=>|<stack|cpus=|version =|--|\s[0-9a-f]{6,16} )")


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
        self._source = ""  # of the line that follows, which does not say it

    def take(self, raw: bytes) -> Iterator[Record | Loss | Strange]:
        """What is whole once this line, without its line end, was read."""
        if self._is_encoded or raw[:1] in {b"C", b"c"}:
            if (decoded := self._decoded(raw)) is None:
                return
            raw = decoded
        line = raw.decode("utf-8", "replace").replace("\r", "").replace("\0", " ")
        line = _QUOTED.sub("", line, count=1) if line[:1] in {">", "|"} else line
        half, self._half = self._half, ""
        found = usual_record(line) if not half else None
        source = ""
        if found is None:
            source, line = source_of(line)
            found = record_of(f"{half} {line.strip()}" if half else line)
        if found is None and half:
            found = record_of(line)
        if found is not None:
            yield from self.rest()
            source, self._source = source or self._source, ""
            self._held = found._replace(source=source) if source else found
            self._joins = 0
            return
        if loss := _loss_of(line):
            yield from self.rest()
            self._source = source
            yield loss
        elif _HALF.fullmatch(line[:PREFIX_CHARACTERS].rstrip()):
            yield from self.rest()
            self._half = line.strip()
        elif self._is_strange(line):
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

    def _is_strange(self, line: str) -> bool:
        """Whether a line looks like an event, but for its prefix."""
        if _STRANGE.search(line, 0, 400):
            return True
        found = _ANY_EVENT.search(line, 0, 400)
        return found is not None and self._is_whole(found[1], found[2].strip())

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
            text = f"{self._held.text} {line.strip()}"[:TEXT_CHARACTERS]
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
        if whole.endswith(b"=") and len(whole) < TEXT_CHARACTERS:
            self._soft = whole[:-1]
            return None
        self._soft = b""
        return quopri.decodestring(whole)


def _loss_of(line: str) -> Loss | None:
    if found := _LOST.match(line):
        return Loss("the lines between the events", int(found[2] or found[3] or 0))
    if found := _WRITTEN.match(line):
        kept, written = int(found[1]), int(found[2])
        return Loss("the head", written - kept) if written > kept else None
    if _STARTED.match(line):
        return Loss("the lines between the events", 0)
    if found := _PERF_LOST.search(line[:400]):
        return Loss("perf", int(found[1] or found[2] or 0))
    return None
