"""Operation vectors, JSON lines of one array per operation: converted to events and back.

A line such as ``["st",0,140737488355328,1,5]`` becomes one event of the kind ``OP_ST``; only
``boot`` and ``sregs`` take two, because they carry four values. Texts of ``note`` go to the header,
so the file is read twice: once for the header, once for the events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from refault.errors import ImportFailed
from refault.trace.contents import Block, TraceHeader, TraceSummary
from refault.trace.format import (
    MAX_NOTES,
    MAX_VCPUS,
    MEM_LEVEL_MASK,
    MEM_LEVEL_STATED,
    EventKind,
    Flag,
)
from refault.trace.importers.modes import ModeTracker
from refault.trace.importers.ptt import trace_name
from refault.trace.importers.source import Source, broken_rules_named, open_source
from refault.trace.writer import TraceWriter

Operation = list[Any]
Row = tuple[int, int, int, int, int, int]  # kind, vcpu, flags, aux, a, b
CHUNK_ROWS: Final = 1 << 16
WORD: Final = 1 << 64

# Operation → kind, and the columns its values go to, in order; HALVES, note and mem are in _rows.
OPERATIONS: Final[dict[str, tuple[EventKind, tuple[str, ...]]]] = {
    "vm": (EventKind.OP_VM, ("a", "b")),
    "log": (EventKind.OP_LOG, ("aux",)),
    "poke": (EventKind.OP_POKE, ("a", "b")),
    "cr0": (EventKind.OP_CR0, ("vcpu", "a")),
    "cr3": (EventKind.OP_CR3, ("vcpu", "a")),
    "cr4": (EventKind.OP_CR4, ("vcpu", "a")),
    "efer": (EventKind.OP_EFER, ("vcpu", "a")),
    "ld": (EventKind.OP_LD, ("vcpu", "a", "user")),
    "ex": (EventKind.OP_EX, ("vcpu", "a", "user")),
    "st": (EventKind.OP_ST, ("vcpu", "a", "user", "b")),
    "st4": (EventKind.OP_ST4, ("vcpu", "a", "user", "b")),
    "st2": (EventKind.OP_ST2, ("vcpu", "a", "user", "b")),
    "st1": (EventKind.OP_ST1, ("vcpu", "a", "user", "b")),
    "invlpg": (EventKind.OP_INVLPG, ("vcpu", "a")),
    "nr_pages": (EventKind.OP_NR_PAGES, ("a",)),
    "dirtylog": (EventKind.OP_DIRTYLOG, ("aux",)),
    "unmap": (EventKind.OP_UNMAP, ("a",)),
    "age": (EventKind.OP_AGE, ("a",)),
    "shrink": (EventKind.OP_SHRINK, ("a",)),
    "zapall": (EventKind.OP_ZAPALL, ()),
    "unshadow": (EventKind.OP_UNSHADOW, ("vcpu", "a")),
    "unprotect": (EventKind.OP_UNPROTECT, ("vcpu", "a")),
    "change_pte": (EventKind.OP_CHANGE_PTE, ("a", "b")),
    "mem_delete": (EventKind.OP_MEM_DELETE, ("aux",)),
    "unmap_range": (EventKind.OP_UNMAP_RANGE, ("a", "b")),
    "get_dirty_log": (EventKind.OP_GET_DIRTY_LOG, ("aux",)),
    "log_off": (EventKind.OP_LOG_OFF, ("aux",)),
}
# Registers set all at once take two events.
HALVES: Final[dict[str, tuple[EventKind, EventKind]]] = {
    "boot": (EventKind.OP_BOOT_CR, EventKind.OP_BOOT),
    "sregs": (EventKind.OP_SREGS_CR, EventKind.OP_SREGS),
}
WHOLE: Final = {second: name for name, (_, second) in HALVES.items()}
NAMES: Final = {kind: name for name, (kind, _) in OPERATIONS.items()}


def recognises(first: bytes) -> bool:
    """Whether a file that begins so is a vector: an array whose first value names an operation."""
    found = re.match(rb'\s*\[\s*"(\w+)"\s*[,\]]', first)
    return found is not None and found[1].decode() in {"vm", "mem", "note", *HALVES, *OPERATIONS}


def import_vector(
    path: Path,
    destination: Path | BinaryIO,
    *,
    name: str = "",
    level: int = 19,
    progress: Callable[[int], None] | None = None,
) -> TraceSummary:
    """Convert an operation vector to a trace, from which ``to_lines`` makes the same lines again.

    Raises:
        ImportFailed: a line is not a known operation or breaks a rule; names its 0-based index, or
            that of its event.
        TraceError: the trace cannot be written.
    """
    header = _scan(path, name or trace_name(path))
    with (
        open_source(path, progress) as source,
        broken_rules_named(path),
        TraceWriter(destination, header, level=level) as writer,
    ):
        rows: list[Row] = []
        note_index = 0
        for line_index, operation in enumerate(_operations(source)):
            try:
                rows += _rows(operation, note_index)
            except (ValueError, TypeError, IndexError) as error:
                raise ImportFailed(
                    f"{path}: line {line_index}: {_shown(operation)}: {error}"
                ) from error
            note_index += operation[0] == "note"
            if len(rows) >= CHUNK_ROWS:
                writer.append_rows(rows)
                rows = []
        writer.append_rows(rows)
        return writer.close({"lines": line_index + 1})


def to_lines(header: TraceHeader, blocks: Iterable[Block]) -> Iterator[str]:
    """The lines, without line ends, that a vector was imported from: the inverse of the import."""
    half: tuple[int, int] | None = None
    firsts = {first for first, _ in HALVES.values()}
    for block in blocks:
        for row in zip(*(column.tolist() for column in block[1:]), strict=True):
            kind, vcpu, flags, aux, _, signed_a, signed_b = row
            a, b = signed_a % WORD, signed_b % WORD
            if kind in firsts:
                half = (a, b)
                continue
            if kind in WHOLE and half is not None:
                operation: Operation = [WHOLE[EventKind(kind)], vcpu, *half, a, b]
            elif kind == EventKind.OP_NOTE:
                operation = ["note", header.notes[a]]
            elif kind == EventKind.OP_MEM:
                level = flags & MEM_LEVEL_MASK
                stated = level > 1 or flags & MEM_LEVEL_STATED
                operation = ["mem", aux, a, b, *([level] if stated else [])]
            else:
                name = NAMES[EventKind(kind)]
                user = int(bool(flags & Flag.USER))
                values = {"vcpu": vcpu, "aux": aux, "a": a, "b": b, "user": user}
                operation = [name, *(values[column] for column in OPERATIONS[name][1])]
            yield json.dumps(operation, separators=(",", ":"), ensure_ascii=False)


def _scan(path: Path, name: str) -> TraceHeader:
    """The header of a vector: its vCPUs, notes and paging modes."""
    notes: list[str] = []
    vcpu_count = 0
    modes = ModeTracker()
    with open_source(path) as source:
        for line_index, operation in enumerate(_operations(source)):
            match operation:
                case ["vm", int(count), int()] if line_index == 0 and 1 <= count <= MAX_VCPUS:
                    vcpu_count = count
                case ["note", str(text)] if len(notes) < MAX_NOTES:
                    notes.append(text)
                case ["note", *_]:
                    raise ImportFailed(
                        f"{path}: line {line_index}: no text, or more than {MAX_NOTES} notes"
                    )
                case [str(), int(vcpu), *values] if all(type(value) is int for value in values):
                    modes.follow(operation[0], vcpu, values)
            if not vcpu_count:
                raise ImportFailed(
                    f'{path}: line 0: a vector begins with ["vm",vcpus,bypass] and has '
                    f"1 to {MAX_VCPUS} vCPUs, not {_shown(operation)}"
                )
    if not vcpu_count:
        raise ImportFailed(f"{path}: the vector is empty")
    return TraceHeader(
        content="operations",
        name=name,
        guest_mode=modes.guest_mode,
        vcpu_count=vcpu_count,
        capture_tool="operation vector",
        capture_filter={"keeps": "every operation", "loses": "nothing"},
        time_unit="none",
        notes=tuple(notes),
    )


def _operations(source: Source) -> Iterator[Operation]:
    for line_index, line in enumerate(source.lines()):
        try:
            operation = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ImportFailed(
                f"{source.path}: line {line_index} is not a JSON array ({error})"
            ) from error
        if not isinstance(operation, list) or not operation or not isinstance(operation[0], str):
            raise ImportFailed(
                f"{source.path}: line {line_index} is not an operation: {_shown(operation)}"
            )
        yield operation


def _rows(operation: Operation, note_index: int) -> list[Row]:
    name, *values = operation
    if name == "note":
        return [(EventKind.OP_NOTE, 0, 0, 0, note_index, 0)]
    if not all(type(value) is int and 0 <= value < WORD for value in values):
        raise ValueError("every value must be a whole number from 0 to 2^64-1")
    match name, values:
        case "boot" | "sregs", [vcpu, cr0, cr3, cr4, efer]:
            first, second = HALVES[name]
            return [(first, vcpu, 0, 0, cr0, cr3), (second, vcpu, 0, 0, cr4, efer)]
        case "mem", [slot, base_gfn, page_count]:
            return [(EventKind.OP_MEM, 0, 1, slot, base_gfn, page_count)]
        case "mem", [slot, base_gfn, page_count, level] if 1 <= level <= 3:
            flags = level | (MEM_LEVEL_STATED if level == 1 else 0)
            return [(EventKind.OP_MEM, 0, flags, slot, base_gfn, page_count)]
    kind, columns = OPERATIONS.get(name, (None, ()))
    if kind is None:
        raise ValueError("no such operation, or not with these values")
    if len(columns) != len(values):
        raise ValueError(f"it takes {len(columns)} values")
    given = dict.fromkeys(("vcpu", "user", "aux", "a", "b"), 0) | dict(
        zip(columns, values, strict=True)
    )
    if given["user"] > 1 or given["vcpu"] > 255 or given["aux"] > 255:
        raise ValueError("user is 0 or 1, a vCPU or slot is at most 255")
    flags = Flag.USER if given["user"] else 0
    return [(kind, given["vcpu"], flags, given["aux"], given["a"], given["b"])]


def _shown(operation: object) -> str:
    return json.dumps(operation)[:80]
