"""Reading expectation files, and putting our results into the same words."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from refault.errors import RefaultError
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec

Line = dict[str, Any]

LINES_AT_ONCE = 4096

_WORD = (1 << 64) - 1
_OTHER_OUTCOMES = {
    out.MMIO: "mmio",
    out.FAIL: "fail",
    out.GP: "gp",
    out.LIVELOCK: "livelock",
    out.TRIPLE: "triple",
}
#: Kinds of finding under which the expectations know a bug by another name.
BUG_CLASSES = {"use-after-free": "use-after-free:shadow-page-header"}


def lines_of(path: Path) -> Iterator[Line]:
    """The JSON objects of a ``.jsonl.zst`` file, one a line.

    Raises:
        RefaultError: the file cannot be read, naming it and the line.
    """
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8")
            first = 1
            while part := list(itertools.islice(text, LINES_AT_ONCE)):
                yield from _parsed(part, path, first)
                first += len(part)
    except (OSError, UnicodeDecodeError, zstandard.ZstdError) as error:
        raise RefaultError(f"{path}: {error}") from error


def _parsed(lines: list[str], path: Path, first: int) -> list[Line]:
    """Some lines in one go, which is several times faster than one by one."""
    try:
        parsed: list[Line] = json.loads(f"[{','.join(lines)}]")
        if len(parsed) == len(lines):
            return parsed
    except ValueError:
        pass
    for number, line in enumerate(lines, first):
        try:
            json.loads(line)
        except ValueError as error:
            raise RefaultError(f"{path}, line {number}: {error}") from error
    raise RefaultError(f"{path}, from line {first} on: not one JSON object a line")


def outcome(record: list[int], *, is_load: bool) -> Line:
    """One of the loop's records in the golden format's words."""
    code, address = record[rec.CODE], record[rec.ADDRESS]
    if code == out.OK:
        line: Line = {"a": address & _WORD}
        if is_load and record[rec.VALUE]:
            line["v"] = record[rec.VALUE] & _WORD
        if record[rec.EMULATED]:
            line["e"] = 1
        return line
    if code == out.PF:
        return {"pf": address}
    if code == out.PF_DIRECT:
        return {"pd": address}
    if code == out.RETURN:
        content = record[rec.VALUE]  # of a dirty log: which pages
        return {"r": address, "v": content} if content else {"r": address}
    return {"o": _OTHER_OUTCOMES[code]}


def deviation(record: list[int], ops: op.Operations) -> Line:
    """An access that came out otherwise than on the real guest, as the capture files tell it."""
    row = record[rec.ROW]
    kind, cls = int(ops.kind[row]), int(ops.cls[row])
    name = {op.LD: "ld", op.EX: "ex", op.ST: "st", op.ST4: "st4", op.ST2: "st2"}.get(kind, "st1")
    line: Line = {"i": record[rec.INDEX], **outcome(record, is_load=False)}
    line.pop("e", None)
    if cls == op.WITNESS_FAULT:
        line["want_pf"] = int(ops.want[row])
    elif cls != op.WITNESS_NONE:
        line["want"] = int(ops.want[row])
    walked = record[rec.PROBE]
    if walked >= 0:
        line["walk"] = walked
    else:
        line["walk_pf"] = -1 - walked
    if record[rec.IS_STALE]:
        line["stale"] = 1
    line["op"] = [name, int(ops.vcpu[row]), int(ops.a[row]) & _WORD, int(ops.user[row])]
    return line
