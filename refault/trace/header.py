"""The header as bytes: one msgpack map, every value bounded.

Version 1 has exactly its eleven keys. Version 2 may add its own, and keys that only later versions
know are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final, get_args

import msgpack

from refault.errors import TraceCorrupt, TraceTooLarge
from refault.printable import first_unprintable, name_of
from refault.trace.contents import Content, GuestMode, MemorySlot, Origin, TraceHeader
from refault.trace.format import (
    MAX_GFN,
    MAX_GUEST_PAGES,
    MAX_GUEST_TEXT,
    MAX_HEADER_BYTES,
    MAX_LOSSES,
    MAX_MAP_ENTRIES,
    MAX_NOTES,
    MAX_SLOTS,
    MAX_TEXT,
    MAX_UNKNOWN_KEYS,
    MAX_VCPUS,
    VERSION,
)

ADDED: Final = ("origin", "losses", "provenance")  # by version 2, none of them required
KEYS: Final = frozenset(TraceHeader.__dataclass_fields__) - {*ADDED, "extra"}
LATER_MODES: Final = ("long5",)
MSGPACK_LIMITS: Final = {
    "max_str_len": 4 * MAX_TEXT,
    "max_bin_len": 0,
    "max_array_len": 0,
    "max_map_len": MAX_MAP_ENTRIES,
    "max_ext_len": 0,
}


def pack_header(header: TraceHeader) -> bytes:
    """The body of a HEAD frame.

    Raises:
        TraceCorrupt: a value breaks a rule of the format, so no reader would take it.
        TraceTooLarge: the header is over its bound.
    """
    values = asdict(header)
    values["slots"] = [list(asdict(slot).values()) for slot in header.slots]
    for name in ("capture_filter", "workload_marks", "guest", "provenance"):
        values[name] = dict(values[name])
    extra = values.pop("extra")
    if known := sorted(values.keys() & extra.keys()):
        raise TraceCorrupt(f"header.extra holds {known[0]!r}, which is a key of its own")
    values.update(sorted(extra.items()))
    for name in ADDED:
        if not values[name]:
            del values[name]
    try:
        body: bytes = msgpack.packb(values)
    except (ValueError, OverflowError) as error:
        raise TraceCorrupt(f"the header cannot be written: {error}") from error
    if len(body) > MAX_HEADER_BYTES:
        raise TraceTooLarge(
            f"the header takes {len(body)} bytes, over the bound of {MAX_HEADER_BYTES}; "
            "shorten its notes"
        )
    check_text(unpack_header(body, offset=0, version=version_of(header)), offset=0)
    return body


def version_of(header: TraceHeader) -> int:
    """The earliest version of the format that can hold this header."""
    is_later = header.guest_mode in LATER_MODES or header.extra
    return VERSION if is_later or any(getattr(header, name) for name in ADDED) else 1


def unpack_header(body: bytes | memoryview, *, offset: int, version: int = VERSION) -> TraceHeader:
    """The header in the body of a HEAD frame that begins at byte ``offset``.

    Raises:
        TraceCorrupt: it is not a msgpack map of the right keys, or a value breaks a rule.
        TraceTooLarge: it declares more notes, slots, vCPUs or text than the format allows.
    """
    values = unpack_map(
        body, KEYS, "header", offset=offset, may_have_more=version > 1, max_array_len=MAX_NOTES
    )
    check = _Checks(offset)
    modes = get_args(GuestMode)
    if version == 1:
        modes = tuple(mode for mode in modes if mode not in LATER_MODES)
    slots = check.sequence(values["slots"], "slots", MAX_SLOTS)
    header = TraceHeader(
        content=check.choice(values["content"], "content", get_args(Content)),
        name=check.text(values["name"], "name"),
        guest_mode=check.choice(values["guest_mode"], "guest_mode", modes),
        vcpu_count=check.number(values["vcpu_count"], "vcpu_count", 1, MAX_VCPUS),
        slots=tuple(check.slot(slot) for slot in slots),
        capture_tool=check.text(values["capture_tool"], "capture_tool"),
        capture_filter=check.mapping(values["capture_filter"], "capture_filter", numbers=True),
        time_unit=check.text(values["time_unit"], "time_unit"),
        notes=check.texts(values["notes"], "notes", MAX_NOTES),
        workload_marks=check.mapping(values["workload_marks"], "workload_marks"),
        guest=check.mapping(values["guest"], "guest"),
        origin=check.choice(values.get("origin", ""), "origin", get_args(Origin)),
        losses=check.texts(values.get("losses", []), "losses", MAX_LOSSES),
        provenance=check.mapping(values.get("provenance", {}), "provenance", numbers=True),
        extra=check.unknown({key: values[key] for key in values.keys() - KEYS - {*ADDED}}),
    )
    check.layout(header)
    return header


def check_text(header: TraceHeader, *, offset: int) -> None:
    """Refuse text that is not printable, or too long for lists.

    Checked when a trace is written or uploaded, but not when it is read: traces accepted before
    this rule stay valid.

    Raises:
        TraceCorrupt: a text has a character that is not printable.
        TraceTooLarge: ``guest`` is too long.
    """
    for name, text in _texts(header):
        found = first_unprintable(text, lines=name == "notes")
        if found is not None:
            raise TraceCorrupt(
                f"header.{name} has {name_of(text[found])} at character {found + 1}, which is "
                "not printable; capture or import it again without it",
                offset=offset,
            )
    size = sum(len(key) + len(value) for key, value in header.guest.items())
    if size > MAX_GUEST_TEXT:
        raise TraceTooLarge(
            f"header.guest has {size} characters, over the bound of {MAX_GUEST_TEXT}; "
            "shorten it, or put the rest into notes",
            offset=offset,
        )


def _texts(header: TraceHeader) -> Iterator[tuple[str, str]]:
    for name in ("name", "capture_tool", "time_unit"):
        yield name, getattr(header, name)
    for name in ("notes", "losses"):
        for text in getattr(header, name):
            yield name, text
    for name in ("capture_filter", "workload_marks", "guest", "provenance", "extra"):
        for text in _texts_in(getattr(header, name)):
            yield name, text


def _texts_in(value: object) -> Iterator[str]:
    """Every text in a value of the header: one level of lists and maps, as ``unknown`` allows."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield key
            yield from _texts_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts_in(entry)


def unpack_map(
    body: bytes | memoryview,
    keys: frozenset[str],
    what: str,
    *,
    offset: int,
    may_have_more: bool = False,
    **limits: int,
) -> dict[str, Any]:
    """The msgpack map in ``body``, which must have exactly ``keys``, or at least.

    ``limits`` are msgpack's ``max_*_len``, in addition to those of every body, so that no declared
    length allocates more.
    """
    try:
        values = msgpack.unpackb(body, strict_map_key=True, **{**MSGPACK_LIMITS, **limits})
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise TraceCorrupt(
            f"the {what} is not a msgpack map within its bounds ({error}); "
            "import or upload the trace again",
            offset=offset,
        ) from error
    if isinstance(values, dict):
        found = values.keys()
        if keys <= found if may_have_more else keys == found:
            return values
    told = sorted(map(str, values))[:20] if isinstance(values, dict) else type(values).__name__
    raise TraceCorrupt(
        f"the {what} must be a map of {sorted(keys)}, but is {told!s:.200}", offset=offset
    )


class _Checks:
    """The rules for single values; every error names the field and the byte of the frame."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def refuse(self, name: str, rule: str, value: object) -> TraceCorrupt:
        return TraceCorrupt(f"header.{name} must be {rule}, not {value!r:.80}", offset=self.offset)

    def text(self, value: object, name: str) -> str:
        if not isinstance(value, str):
            raise self.refuse(name, "text", value)
        if len(value) > MAX_TEXT:
            raise TraceTooLarge(
                f"header.{name} has {len(value)} characters, over the bound of {MAX_TEXT}",
                offset=self.offset,
            )
        return value

    def choice(self, value: object, name: str, choices: tuple[Any, ...]) -> Any:
        if value not in choices:
            raise self.refuse(name, f"one of {choices}", value)
        return value

    def number(self, value: object, name: str, low: int, high: int) -> int:
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(name, f"a number from {low} to {high}", value)
        return value

    def sequence(self, value: object, name: str, limit: int) -> list[Any]:
        if not isinstance(value, list):
            raise self.refuse(name, "a list", value)
        if len(value) > limit:
            raise TraceTooLarge(
                f"header.{name} has {len(value)} entries, over the bound of {limit}",
                offset=self.offset,
            )
        return value

    def texts(self, value: object, name: str, limit: int) -> tuple[str, ...]:
        return tuple(self.text(entry, name) for entry in self.sequence(value, name, limit))

    def unknown(self, values: dict[Any, Any]) -> Mapping[str, Any]:
        """Keys of later versions: texts and numbers, alone or in a list or a map of them."""
        if len(values) > MAX_UNKNOWN_KEYS:
            raise TraceTooLarge(
                f"the header has {len(values)} keys that are not known, over the bound of "
                f"{MAX_UNKNOWN_KEYS}",
                offset=self.offset,
            )
        for key in sorted(values, key=str):
            name = self.text(key, "key")
            value = values[key]
            if isinstance(value, dict):
                self.mapping(value, name, numbers=True)
            else:
                for entry in value if isinstance(value, list) else [value]:
                    if type(entry) is not int:
                        self.text(entry, name)
        return {key: values[key] for key in sorted(values)}

    def mapping(self, value: object, name: str, *, numbers: bool = False) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.refuse(name, "a map", value)
        if len(value) > MAX_MAP_ENTRIES:
            raise TraceTooLarge(
                f"header.{name} has {len(value)} entries, over the bound of {MAX_MAP_ENTRIES}",
                offset=self.offset,
            )
        for key, entry in value.items():
            self.text(key, name)
            if not (numbers and type(entry) is int):
                self.text(entry, name)
        return value

    def slot(self, value: object) -> MemorySlot:
        if not isinstance(value, list) or len(value) != 4:
            raise self.refuse("slots", "[slot, base_gfn, page_count, host_level]", value)
        return MemorySlot(
            slot=self.number(value[0], "slots.slot", 0, MAX_SLOTS - 1),
            base_gfn=self.number(value[1], "slots.base_gfn", 0, MAX_GFN - 1),
            page_count=self.number(value[2], "slots.page_count", 1, MAX_GFN),
            host_level=self.number(value[3], "slots.host_level", 1, 3),
        )

    def layout(self, header: TraceHeader) -> None:
        """Slots are those of a capture, have different numbers, and do not overlap."""
        if bool(header.slots) != (header.content == "capture"):
            raise self.refuse("slots", "given for captures and empty for operations", header.slots)
        if len({slot.slot for slot in header.slots}) != len(header.slots):
            raise self.refuse("slots", "numbered without repeats", header.slots)
        end = 0
        for slot in sorted(header.slots, key=lambda slot: slot.base_gfn):
            if slot.base_gfn < end or slot.base_gfn + slot.page_count > MAX_GFN:
                raise self.refuse("slots", "free of overlaps and below 2^40 bytes", slot)
            end = slot.base_gfn + slot.page_count
        page_count = sum(slot.page_count for slot in header.slots)
        if page_count > MAX_GUEST_PAGES:
            raise self.refuse("slots", f"at most {MAX_GUEST_PAGES} pages in all", page_count)
