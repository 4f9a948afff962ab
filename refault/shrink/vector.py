"""A shrunk trace as a test: the operation vector, and what every variant gives for it.

The files are those of ``tests/golden/vectors``, so that ``refault golden FOLDER`` replays them::

    NAME.ops.jsonl.zst               the operations
    NAME.VARIANT.expect.jsonl.zst    outcomes and changed counters of each; equal files stand once
    MANIFEST.json                    {NAME: {"expect": {VARIANT: file}, "keep": …, …}}

Expectations here come from the model, not from the real kernel code.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from refault.catalogue import GOLDEN, Parameters
from refault.errors import ReplayError, ShrinkRefused
from refault.golden import Case, given
from refault.golden.folders import OPERATIONS_SUFFIX
from refault.replay import operations as op
from refault.trace import TraceReader
from refault.trace.format import MEM_LEVEL_STATED, EventKind
from refault.trace.importers.vectors import NAMES, OPERATIONS, to_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from refault.replay.operations import Operations
    from refault.shrink.probes import Rows
    from refault.trace import TraceHeader

_WORD = (1 << 64) - 1
_LEVEL = 19
_MANIFEST = "MANIFEST.json"
_MANIFEST_BYTES_MAX = 16 << 20


@dataclasses.dataclass(frozen=True)
class Written:
    """A test that was written: its files by variant, and the variants that refuse it, with why."""

    vector: Path
    operations: int
    expectations: dict[str, str]
    refused: dict[str, str]


def lines_of_trace(trace: Path, rows_of: Callable[[TraceReader], Rows]) -> list[str]:
    """The operations of a trace as lines of a vector; ``rows_of`` lowers those of a capture.

    Raises:
        ShrinkRefused: a store to a table goes through no known mapping, which no operation does.
    """
    with TraceReader(trace) as reader:
        if reader.header.content == "operations":
            return list(to_lines(reader.header, reader.blocks()))
        return list(_lines(reader.header, rows_of(reader)))


def _lines(header: TraceHeader, rows: Rows) -> Iterator[str]:
    opening = op.opening(header, interpreted=True)
    for ops, count in ((opening, len(opening.kind)), *rows):
        for at in range(count):
            yield json.dumps(_operation(ops, at), separators=(",", ":"))


def _operation(ops: Operations, at: int) -> list[Any]:
    """One row as a vector has it."""
    kind, vcpu, user, aux = (int(ops[i][at]) for i in range(4))
    a, b, want = (int(column[at]) & _WORD for column in (ops.a, ops.b, ops.want))
    if kind == op.TABLE_WRITE:
        raise ShrinkRefused(
            f"the store at gpa {a:#x} (event {int(ops.event[at])}) goes through no mapping that "
            "the trace knows, and a vector has no such operation: leave out --as-test"
        )
    if kind == op.BOOT:
        return ["boot", vcpu, a & 0xFFFF_FFFF, b, a >> 32, want]
    if kind == op.SREGS:
        return ["sregs", vcpu, a & 0xFFFF_FFFF, b, a >> 32, want]
    if kind == op.NOTE:
        return ["note", f"mark {a}"]
    if kind == op.MEM:
        level = user & ~MEM_LEVEL_STATED
        return ["mem", aux, a, b, *([level] if level > 1 else [])]
    name = NAMES[EventKind(kind)]
    values = {"vcpu": vcpu, "aux": aux, "a": a, "b": b, "user": user}
    return [name, *(values[column] for column in OPERATIONS[name][1])]


def check_folder(folder: Path) -> None:
    """Raise ShrinkRefused if a test could not be written to that folder, before any work."""
    _manifest(folder / _MANIFEST)
    if folder.exists() and not folder.is_dir():
        raise ShrinkRefused(f"{folder} is no folder; choose another one for the test")


def write_test(
    folder: Path,
    name: str,
    lines: list[str],
    facts: Mapping[str, str],
    on_variant: Callable[[str], object] = lambda variant: None,  # noqa: ARG005
) -> Written:
    """Write the vector, what every golden variant gives for it, and its line of the manifest.

    ``on_variant`` is told which variant comes next. Files of that name are replaced; other lines
    of a manifest stay.

    Raises:
        ShrinkRefused: the folder, or its manifest, cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        manifest = _manifest(folder / _MANIFEST)
        vector = folder / f"{name}{OPERATIONS_SUFFIX}"
        _write(vector, "".join(f"{line}\n" for line in lines))
        files: dict[str, str] = {}
        refused: dict[str, str] = {}
        texts: dict[str, str] = {}
        for variant in GOLDEN:
            on_variant(variant)
            case = Case(name, variant, vector, vector, vector, Parameters())
            try:
                text = "".join(
                    f"{json.dumps(line, separators=(',', ':'))}\n" for line in given(case)
                )
            except ReplayError as error:
                refused[variant] = str(error)
                continue
            file = f"{name}.{variant}.expect.jsonl.zst"
            files[variant] = texts.setdefault(text, file)
            if files[variant] == file:
                _write(folder / file, text)
        manifest[name] = {"expect": files, "from": "the model, not the real code", **facts}
        body = json.dumps(dict(sorted(manifest.items())), indent=1) + "\n"
        _replace(folder / _MANIFEST, body.encode())
    except OSError as error:
        raise ShrinkRefused(f"{folder} cannot be written: {error.strerror}") from error
    return Written(vector, len(lines), files, refused)


def _manifest(path: Path) -> dict[str, Any]:
    """What a manifest holds already."""
    if not path.is_file():
        return {}
    reason = "it is no object"
    try:
        if path.stat().st_size <= _MANIFEST_BYTES_MAX:
            body = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(body, dict):
                return body
        else:
            reason = "it is too large"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise ShrinkRefused(f"{path} is no manifest ({reason}); choose another folder")


def _write(path: Path, text: str) -> None:
    _replace(path, zstandard.ZstdCompressor(level=_LEVEL).compress(text.encode()))


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
