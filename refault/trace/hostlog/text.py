"""Texts of tracepoints as events: of the kernel, `trace-cmd report`, `perf script`, or pasted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from refault.printable import printable
from refault.trace.hostlog import bodies
from refault.trace.hostlog.events import UNKNOWN, HostEvent, LogFacts
from refault.trace.hostlog.lines import Loss, Records, Strange
from refault.trace.hostlog.prefixes import Record, record_of
from refault.trace.hostlog.roles import Roles

MAX_LINE_BYTES: Final = 1 << 16
# Of mails that bring patches: a diff, or a subject that says so and is no answer to one.
_PATCH: Final = re.compile(
    rb"^(?:diff --git |--- a/|\+\+\+ b/|@@ -\d|Subject: (?!Re:)[^\n]{0,40}\[[^\]\n]{0,40}PATCH)",
    re.MULTILINE | re.IGNORECASE,
)


class TextReader:
    """Reads lines of a text, one at a time; ``facts`` grow with them."""

    def __init__(self, facts: LogFacts, release: str = "") -> None:
        self.facts = facts
        self._roles = Roles(release)
        self._records = Records(self._is_whole)

    def take(self, line: bytes) -> Iterator[HostEvent]:
        """The events that are whole once this line, without its line end, was read."""
        for found in self._records.take(line):
            yield from self._event(found)

    def finish(self) -> Iterator[HostEvent]:
        """The event that the last lines left."""
        for found in self._records.rest():
            yield from self._event(found)

    def _is_whole(self, name: str, text: str) -> bool:
        found = bodies.read(name, text, self._roles)
        return found is not None and found[1]

    def _event(self, found: Record | Loss | Strange) -> Iterator[HostEvent]:
        if isinstance(found, Strange):
            self.facts.not_read(printable(found.text))
            return
        if isinstance(found, Loss):
            self.facts.lose(found.place, found.lost)
            return
        self.facts.come_from(found.name, found.source)
        read = bodies.read(found.name, found.text, self._roles)
        if read is None:
            self.facts.not_read(printable(f"{found.name}: {found.text[:60]}"))
            fields: bodies.Fields = {}
        else:
            fields = read[0]
        vcpu = fields.get("vcpu", UNKNOWN)
        yield HostEvent(
            found.time_ns,
            found.cpu,
            found.thread,
            vcpu if isinstance(vcpu, int) else UNKNOWN,
            found.name,
            fields,
        )


def recognises(first: bytes) -> bool:
    """Whether one of the first lines is an event of KVM; a mail with a diff is not for us."""
    if b"kvm_" not in first or b"\0\0" in first[:4096] or _PATCH.search(first):
        return False
    reader = TextReader(LogFacts())
    events = (event for line in first.split(b"\n") for event in reader.take(line))
    return any(_is_told(event) for event in events) or any(map(_is_told, reader.finish()))


def _is_told(event: HostEvent) -> bool:
    return event.name.startswith("kvm_") and bool(event.fields)


def form_of(first: bytes) -> str:
    """Which tool wrote a text, as far as its first lines show."""
    text = first[:4096].decode("utf-8", "replace")
    for form, pattern in (
        ("the kernel's text", r"\A# tracer: "),
        ("trace-cmd report", r"(?m)^(?:version = \d+\n)?cpus=\d+$"),
        ("perf script", r"(?m)^.{0,80}\d: .{0,40}kvm(?:mmu)?:kvm_\w+:"),
        ("a mail", r"(?m)\A(?:[A-Za-z-]+: |From )|^>"),
        ("trace-cmd report", r"(?m)^[^\n]{0,60}\d:\s+kvm_\w+:  +"),
    ):
        if re.search(pattern, text):
            return form
    return "the kernel's text" if record_of(text.split("\n", 1)[0]) else "a text of tracepoints"


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text in pieces; what a line has over its bound is passed over."""
    rest = b""
    is_over = False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not is_over:
                yield line[:MAX_LINE_BYTES]
            is_over = False
        if len(rest) > MAX_LINE_BYTES:
            if not is_over:
                yield rest[:MAX_LINE_BYTES]
            rest, is_over = b"", True
    if rest and not is_over:
        yield rest
