"""Pages of the kernel's ring buffer.

::

    page    timestamp u64 │ commit (a long) │ data
            commit: bits 0-26 bytes of data, bit 30: the number of lost events is a long behind the
            data, bit 31: events were lost before this page
    event   u32 { type_len 5 │ delta 27 } │ …
            0       length in the next u32, which counts itself
            1-28    length / 4
            29      padding: delta 0 ends the page, else the length is the next u32
            30      time extend: delta + next u32 << 27, added to the next event's
            31      time stamp: the same, absolute

Big-endian machines keep type_len in the upper bits. After ``kbuffer-parse.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from refault.trace.hostlog.tracedat.cursor import Order

_LENGTH: Final = 0x7FF_FFFF
_STORED: Final = 1 << 30
_MISSED: Final = 1 << 31
_DELTA_BITS: Final = 27
_STAMP_BITS: Final = 59  # of an absolute time; the rest is that of the time before
PADDING, EXTEND, STAMP = 29, 30, 31


class PageLayout(NamedTuple):
    """Where the parts of a page lie, as the file's header_page says."""

    data_at: int = 16
    commit_at: int = 8
    commit_size: int = 8
    order: Order = "little"


class Damage(NamedTuple):
    """What is wrong with a page; the events before it are as they should be."""

    why: str


def events_of(
    page: bytes, layout: PageLayout, lose: Callable[[int], None]
) -> Iterator[tuple[int, bytes] | Damage]:
    """The time and the record of each event of a page. ``lose`` is told of lost events.

    It ends at the first thing that cannot be, which it yields as :class:`Damage`.
    """
    order = layout.order
    commit = _number(page, layout.commit_at, layout.commit_size, order)
    end = layout.data_at + (commit & _LENGTH)
    if end > len(page):
        yield Damage(f"a page of {len(page)} bytes is said to hold {commit & _LENGTH} bytes")
        return
    if commit & _MISSED:
        has_count = commit & _STORED and end + layout.commit_size <= len(page)
        lose(_number(page, end, layout.commit_size, order) if has_count else 0)
    time = _number(page, 0, 8, order)
    at = layout.data_at
    while at + 4 <= end:
        word = _number(page, at, 4, order)
        kind, delta = (word & 31, word >> 5) if order == "little" else (word >> 27, word & _LENGTH)
        at += 4
        if kind == PADDING and not delta:
            return
        if 1 <= kind < PADDING:
            length = kind * 4
        else:
            if at + 4 > end:
                yield Damage("an event ends outside its page")
                return
            extra = _number(page, at, 4, order)
            at += 4
            if kind in {EXTEND, STAMP}:
                whole = (extra << _DELTA_BITS) + delta
                time = time + whole if kind == EXTEND else _absolute(whole, time)
                continue
            length = (max(extra, 4) - 4 + 3) & ~3
        time += delta
        if at + length > end:
            yield Damage("an event ends outside its page")
            return
        if kind != PADDING:
            yield time, page[at : at + length]
        at += length


def _absolute(stamp: int, before: int) -> int:
    """A time of 59 bits with the upper ones of the time before."""
    return stamp & ((1 << _STAMP_BITS) - 1) | before >> _STAMP_BITS << _STAMP_BITS


def _number(data: bytes, at: int, size: int, order: Order) -> int:
    return int.from_bytes(data[at : at + size], order)
