"""How events lie in a record, as the file's own format texts say; nothing is taken for granted."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from refault.trace.hostlog.bodies import Fields, page_fields
from refault.trace.hostlog.events import MARKS, PAGE_EVENTS, renamed
from refault.trace.hostlog.roles import Roles
from refault.trace.hostlog.tracedat.cursor import Order

MAX_RECORD_BYTES: Final = 1 << 16
_SYSTEMS: Final = frozenset({"kvm", "kvmmmu"})
_FIELD: Final = re.compile(
    r"^\s*field:(?P<declaration>[^;]{1,200});\s*offset:(?P<offset>\d{1,6});"
    r"\s*size:(?P<size>\d{1,6});(?:\s*signed:(?P<signed>[01]);)?",
    re.MULTILINE,
)
_NAME: Final = re.compile(r"^name: (\S{1,120})$", re.MULTILINE)
_ID: Final = re.compile(r"^ID: (\d{1,6})$", re.MULTILINE)
_WIDTHS: Final = (1, 2, 4, 8)


class Field(NamedTuple):
    """Where one number lies in a record."""

    name: str
    offset: int
    size: int
    is_signed: bool


class Format(NamedTuple):
    """One event: ``common`` are the fields that every event has, ``fields`` its own."""

    name: str
    event_id: int
    common: tuple[Field, ...]
    fields: tuple[Field, ...]
    text_at: int  # of a mark; -1 for all others
    print_format: str


class Layouts:
    """The formats of the events that are read, by their number."""

    def __init__(self) -> None:
        self.by_id: dict[int, Format] = {}
        self.type_field = Field("common_type", 0, 2, is_signed=False)
        self.pid_field = Field("common_pid", 4, 4, is_signed=True)
        self.page_format = ""

    def add(self, system: str, text: str) -> None:
        """Take a format text; those of other systems say only where common fields are."""
        found = _parsed(text)
        if found is None:
            return
        for field in found.common:
            if field.name == "common_type":
                self.type_field = field
            elif field.name == "common_pid":
                self.pid_field = field
        if system in _SYSTEMS or (system == "ftrace" and found.name in MARKS):
            self.by_id[found.event_id] = found
        if found.name == "kvm_mmu_get_page":
            self.page_format = found.print_format


def _parsed(text: str) -> Format | None:
    name, number = _NAME.search(text), _ID.search(text)
    if name is None or number is None:
        return None
    head, _, print_format = text.partition("print fmt:")
    common: list[Field] = []
    own: list[Field] = []
    text_at = -1
    for found in _FIELD.finditer(head):
        declaration, size = found["declaration"], int(found["size"])
        field = Field(
            declaration.split()[-1].split("[")[0],
            int(found["offset"]),
            size,
            is_signed=found["signed"] == "1",
        )
        if field.name == "buf" and name[1] in MARKS:
            text_at = field.offset
        if size not in _WIDTHS or "[" in declaration:
            continue
        (common if field.name.startswith("common_") else own).append(field)
    return Format(name[1], int(number[1]), tuple(common), tuple(own), text_at, print_format[:8192])


def number_at(record: bytes, field: Field, order: Order) -> int | None:
    """The number of a field, or None if the record ends before it."""
    part = record[field.offset : field.offset + field.size]
    if len(part) < field.size:
        return None
    return int.from_bytes(part, order, signed=field.is_signed)


def fields_of(form: Format, record: bytes, order: Order, roles: Roles) -> Fields | None:
    """The fields of a record under our names, or None if it ends before one of them."""
    if form.name in MARKS:
        text = record[form.text_at :] if form.text_at >= 0 else b""
        return {"text": text.split(b"\0", 1)[0].decode("utf-8", "replace").strip()}
    raw: dict[str, int | str] = {}
    for field in form.fields:
        number = number_at(record, field, order)
        if number is None:
            return None
        raw[field.name] = number
    return page_fields(raw, roles) if form.name in PAGE_EVENTS else renamed(form.name, raw)
