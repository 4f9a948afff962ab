"""Opens a host's log of any form, plain or compressed, and yields its events with their vCPUs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from refault.errors import ImportFailed
from refault.printable import printable
from refault.trace.hostlog import text
from refault.trace.hostlog.events import UNKNOWN, HostEvent, LogFacts
from refault.trace.hostlog.nested import refuse_nested
from refault.trace.hostlog.text import TextReader, form_of, lines_of
from refault.trace.hostlog.tracedat.container import MAGIC
from refault.trace.hostlog.tracedat.reader import TraceDat
from refault.trace.importers.source import PACKINGS, open_source

_LOOK_BYTES: Final = 1 << 16
_MAX_SPOOL_BYTES: Final = 64 << 30
_MAX_THREADS: Final = 1 << 12

Progress = Callable[[int], None]


def recognises(first: bytes) -> bool:
    """Whether content with these first bytes is a log of KVM's tracepoints."""
    return first.startswith(MAGIC) or text.recognises(first)


class VcpuJoin:
    """Which vCPU a host thread runs: events of the MMU do not name one, entries and exits do.

    Where a log has no threads, the host's CPU takes their place.
    """

    def __init__(self, facts: LogFacts, known: dict[tuple[str, int], int] | None = None) -> None:
        self._facts = facts
        self.known: dict[tuple[str, int], int] = dict(known or {})

    def join(self, event: HostEvent) -> HostEvent:
        """The event with its vCPU, as far as the events before it tell."""
        key = key_of(event)
        if event.vcpu != UNKNOWN:
            if key is not None and len(self.known) < _MAX_THREADS:
                self.known[key] = event.vcpu
                self._facts.threads_of.setdefault(event.vcpu, set()).add(key[1])
            return event
        vcpu = self.known.get(key, UNKNOWN) if key is not None else UNKNOWN
        return event if vcpu == UNKNOWN else event._replace(vcpu=vcpu)


def key_of(event: HostEvent) -> tuple[str, int] | None:
    """What an event's vCPU is joined on; None where the log has neither."""
    if event.thread != UNKNOWN:
        return "thread", event.thread
    return ("cpu", event.cpu) if event.cpu != UNKNOWN else None


class HostLog:
    """The events of one log, to be read once; ``facts`` are whole after the last."""

    def __init__(
        self,
        path: Path,
        events: Callable[[LogFacts], Iterator[HostEvent]],
        known: dict[tuple[str, int], int] | None,
    ) -> None:
        self.path = path
        self.facts = LogFacts()
        self.vcpus = VcpuJoin(self.facts, known)
        self._events = events(self.facts)

    def events(self) -> Iterator[HostEvent]:
        """Every event of KVM, in the order of the log.

        Raises:
            ImportFailed: the log is damaged, or of a host with EPT or NPT on.
        """
        for event in self._events:
            refuse_nested(self.path, event)
            if self.facts.twice is not None:
                raise self._two_buffers(*self.facts.twice)
            self.facts.event_count += 1
            yield self.vcpus.join(event)

    def _two_buffers(self, name: str, first: str, second: str) -> ImportFailed:
        """An event of which two buffers hold records would be counted twice."""
        names = " and ".join(printable(each) or "the main one" for each in (first, second))
        return ImportFailed(
            f"{self.path}: {name} was recorded in two buffers or files ({names}), so that events "
            "would count twice; keep one: `trace-cmd split --top` or `trace-cmd split -B NAME -t`, "
            "or report one file at a time"
        )


@contextlib.contextmanager
def open_log(
    path: Path,
    progress: Progress | None = None,
    known: dict[tuple[str, int], int] | None = None,
) -> Iterator[HostLog]:
    """Open a log, to be read once.

    ``progress`` is told how many of its bytes were read. ``known`` are the vCPUs of threads, as an
    earlier reading found them.

    Raises:
        ImportFailed: it cannot be opened or is no log of KVM's tracepoints.
    """
    with open_source(path) as source:
        first = source.read_exactly(_LOOK_BYTES)
    if first.startswith(MAGIC):
        with _seekable(path) as file:
            yield HostLog(path, lambda facts: TraceDat(path, file, facts).events(progress), known)
        return
    if not text.recognises(first):
        raise ImportFailed(
            f"{path}: no line of its first {len(first)} bytes is a tracepoint of KVM; a log of "
            "`trace-cmd record -e kvm -e kvmmmu` or `perf script`, or its text, is wanted"
        )
    with open_source(path, progress) as source:
        yield HostLog(path, lambda facts: _of_text(facts, first, source.pieces()), known)


def _of_text(facts: LogFacts, first: bytes, pieces: Iterator[bytes]) -> Iterator[HostEvent]:
    facts.form = form_of(first)
    reader = TextReader(facts)
    for line in lines_of(pieces):
        yield from reader.take(line)
    yield from reader.finish()


@contextlib.contextmanager
def _seekable(path: Path) -> Iterator[BinaryIO]:
    """The file itself, or what it decompresses to: a trace.dat is read in many places."""
    with path.open("rb") as file:
        is_packed = file.read(8).startswith(tuple(PACKINGS.values()))
        if not is_packed:
            yield file
            return
    with tempfile.TemporaryFile(prefix="refault-") as kept:
        try:
            with open_source(path) as source:
                for piece in source.pieces():
                    if kept.tell() + len(piece) > _MAX_SPOOL_BYTES:
                        raise ImportFailed(
                            f"{path}: it decompresses to more than {_MAX_SPOOL_BYTES} bytes"
                        )
                    kept.write(piece)
            kept.flush()
        except OSError as error:
            raise ImportFailed(
                f"{path}: no room to decompress it in {tempfile.gettempdir()}: {error.strerror}; "
                "set TMPDIR to a folder with more, or decompress it first"
            ) from error
        yield kept
