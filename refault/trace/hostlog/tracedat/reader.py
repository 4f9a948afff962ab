"""A trace.dat as events of KVM, in the order of their time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from refault.printable import printable
from refault.trace.hostlog.events import UNKNOWN, HostEvent, LogFacts
from refault.trace.hostlog.roles import Roles
from refault.trace.hostlog.tracedat.container import (
    MAX_HELD_BYTES,
    Contents,
    CpuData,
    read_contents,
)
from refault.trace.hostlog.tracedat.cursor import MAX_PIECE_BYTES, Cursor, unpack
from refault.trace.hostlog.tracedat.formats import fields_of, number_at
from refault.trace.hostlog.tracedat.pages import Damage, events_of

MAX_CHUNKS: Final = 1 << 24


class TraceDat:
    """Reads an open file; ``facts`` grow with its events.

    Raises:
        ImportFailed: the file is damaged before its pages, or of another version.
    """

    def __init__(self, path: Path, file: BinaryIO, facts: LogFacts) -> None:
        self._cursor = Cursor(path, file)
        self._contents: Contents = read_contents(self._cursor)
        self._facts = facts
        contents = self._contents
        # One event in two buffers counts twice; of one buffer nobody need ask.
        self._has_buffers = len({each.buffer for each in contents.cpus}) > 1
        self._roles = Roles(contents.release, contents.layouts.page_format)
        facts.form = f"trace.dat {contents.version}"
        facts.kernel = printable(contents.release[:80])
        if contents.overrun_count:
            facts.lose("the CPUs' own counts", contents.overrun_count)

    def events(self, progress: Callable[[int], None] | None = None) -> Iterator[HostEvent]:
        """The events of all CPUs together. ``progress`` is told how many bytes of pages were read.

        Raises:
            ImportFailed: a page or a compressed piece of them is damaged.
        """
        done = [0]

        def advance(size: int) -> None:
            done[0] += size
            if progress is not None:
                progress(done[0])

        streams = [self._cpu(cpu, advance) for cpu in self._contents.cpus]
        yield from heapq.merge(*streams, key=lambda event: event.time_ns)

    def _cpu(self, data: CpuData, advance: Callable[[int], None]) -> Iterator[HostEvent]:
        for page in self._pages(data):
            advance(len(page))
            for found in events_of(page, self._contents.page, self._lose):
                if isinstance(found, Damage):
                    raise self._cursor.refuse(f"CPU {data.cpu}: {found.why}")
                event = self._event(data, *found)
                if event is not None:
                    yield event

    def _lose(self, count: int) -> None:
        self._facts.lose("the pages", count)

    def _pages(self, data: CpuData) -> Iterator[bytes]:
        if data.is_compressed:
            yield from self._unpacked_pages(data)
            return
        for at in range(data.offset, data.offset + data.size, data.page_bytes):
            self._cursor.seek(at, "a page")
            size = min(data.page_bytes, data.offset + data.size - at)
            page = self._cursor.take(size, f"a page of CPU {data.cpu}")
            if size >= self._contents.page.data_at:
                yield page

    def _unpacked_pages(self, data: CpuData) -> Iterator[bytes]:
        """The pages in compressed pieces: how many there are u32, then sizes and bytes of each."""
        cursor, what = self._cursor, f"the pages of CPU {data.cpu}"
        cursor.seek(data.offset, what)
        count = cursor.number(4, what)
        if count > MAX_CHUNKS:
            raise cursor.refuse(f"{what} are said to be in {count} pieces")
        limit = min(MAX_HELD_BYTES // len(self._contents.cpus), MAX_PIECE_BYTES)
        place = cursor.place
        for _ in range(count):
            cursor.seek(place, what)  # others may have read since
            packed, raw = cursor.number(4, what), cursor.number(4, what)
            piece = cursor.take(packed, what)
            place = cursor.place
            pages = unpack(cursor, self._contents.compression, piece, raw, what, limit)
            for at in range(0, len(pages), data.page_bytes):
                page = pages[at : at + data.page_bytes]
                if len(page) >= self._contents.page.data_at:
                    yield page

    def _event(self, data: CpuData, stamp: int, record: bytes) -> HostEvent | None:
        layouts, order = self._contents.layouts, self._cursor.order
        event_id = number_at(record, layouts.type_field, order)
        form = layouts.by_id.get(event_id) if event_id is not None else None
        if form is None:
            return None
        if self._has_buffers:
            self._facts.come_from(form.name, data.buffer)
        fields = fields_of(form, record, order, self._roles)
        if fields is None:
            self._facts.not_read(
                f"{printable(form.name)} on CPU {data.cpu}, a record of {len(record)} bytes"
            )
            fields = {}
        vcpu = fields.get("vcpu", UNKNOWN)
        return HostEvent(
            self._contents.clock.ns(stamp),
            data.cpu,
            number_at(record, layouts.pid_field, order) or 0,
            vcpu if isinstance(vcpu, int) else UNKNOWN,
            form.name,
            fields,
        )
