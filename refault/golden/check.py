"""Replaying one golden case and finding its first difference from the real code."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from refault.catalogue import GOLDEN, variant_from_golden_name
from refault.errors import ReplayRefused
from refault.golden.expectations import BUG_CLASSES, Line, deviation, lines_of, outcome
from refault.golden.folders import Case
from refault.golden.inputs import opened
from refault.mmu import layout as x86
from refault.mmu import operations as op
from refault.mmu import replay as loop
from refault.mmu.engine import Host, operations_of
from refault.mmu.pageset import page_digest, page_set
from refault.results import COUNTERS

SAMPLE = 1024
FINAL = -1  # in place of an operation index
_OUTCOME_FIELDS = ("a", "pf", "pd", "o")


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How a case came out: how many of its operations agree, and the first that does not.

    ``difference`` is empty if all do; ``refused`` says why nothing could be replayed.
    """

    name: str
    variant: str
    operations: int
    agreeing: int
    difference: str = ""
    refused: str = ""

    @property
    def agrees(self) -> bool:
        """Whether every field of every operation agrees."""
        return not self.difference and not self.refused

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {**dataclasses.asdict(self), "agrees": self.agrees}


def check(case: Case) -> Verdict:
    """Replay a case and compare every field of its expectation.

    Raises:
        RefaultError: an input or an expectation cannot be read.
    """
    if case.variant not in GOLDEN:
        return Verdict(case.name, case.variant, 0, 0, refused="this variant is not simulated yet")
    try:
        return _check_capture(case) if case.is_capture else _check_vector(case)
    except ReplayRefused as error:
        return Verdict(case.name, case.variant, 0, 0, refused=str(error))


def _first_difference(pairs: Iterator[tuple[int, Line | None, Line | None]]) -> tuple[int, str]:
    """How many lines agree, and in words where the first one does not."""
    agreeing = 0
    for index, expected, got in pairs:
        if expected != got:
            return agreeing, _difference(index, expected, got)
        agreeing += 1
    return agreeing, ""


def _difference(index: int, expected: Line | None, got: Line | None) -> str:
    where = "the final state" if index == FINAL else f"operation {index}"
    if expected is None:
        return f"{where}: nothing expected, got {got}"
    if got is None:
        return f"{where}: expected {expected}, got nothing"
    for field in {**expected, **got}:
        want, have = expected.get(field), got.get(field)
        if want == have:
            continue
        if isinstance(want, dict) and isinstance(have, dict):
            for name in {**want, **have}:
                if want.get(name) != have.get(name):
                    return f"{where}, {name}: expected {want.get(name)}, got {have.get(name)}"
        return f"{where}, {field}: expected {want}, got {have}"
    return f"{where}: expected {expected}, got {got}"


# --- vectors ---------------------------------------------------------------------------


def _check_vector(case: Case) -> Verdict:
    lines, operations = _replay_vector(case)
    expected = _completed(case, lines)
    agreeing, difference = _first_difference(
        (i if i < operations else FINAL, want, got)
        for i, (want, got) in enumerate(itertools.zip_longest(expected, lines))
    )
    return Verdict(case.name, case.variant, operations, min(agreeing, operations), difference)


def _completed(case: Case, lines: list[Line]) -> Iterator[Line]:
    """The expectation with the reference's address and value where it leaves them out."""
    expected = lines_of(case.expectation)
    if case.reference is None or case.reference == case.expectation:
        yield from expected
        return
    reference = itertools.chain(lines_of(case.reference), itertools.repeat({}))
    for i, (line, other) in enumerate(zip(expected, reference, strict=False)):
        access = i < len(lines) and any(field in lines[i] for field in _OUTCOME_FIELDS)
        if access and not any(field in line for field in (*_OUTCOME_FIELDS, "final", "bug")):
            line.update({field: other[field] for field in ("a", "v") if field in other})
        yield line


def _replay_vector(case: Case) -> tuple[list[Line], int]:
    """Our result in the golden format, a line an operation and the final one; and their number."""
    variant = variant_from_golden_name(case.variant, case.parameters)
    with opened(case) as trace:
        host = Host(variant, trace.header, record_all=True, rows=True, sample_every=SAMPLE)
        lines: list[Line] = []
        total = 0
        before = np.zeros(x86.COUNTER_COUNT, np.int64)
        for ops, count, _ in operations_of(trace.header, trace.blocks(), {}):
            first = host.operation_count
            total += count
            host.execute(ops, count)
            done = host.operation_count - first
            part: list[Line] = [{} for _ in range(done)]
            for record in _records(host):
                at = record[loop.INDEX] - first
                part[at] = outcome(record, is_load=ops.kind[at] == op.LD)
            rows = np.array(host.log.rows[: done * x86.COUNTER_COUNT], np.int64)
            rows = rows.reshape(done, x86.COUNTER_COUNT)
            changes = np.diff(rows, axis=0, prepend=before[None, :])
            if done:
                before = rows[-1]
            for at in np.flatnonzero(changes.any(axis=1)).tolist():
                part[at]["c"] = {
                    COUNTERS[c]: int(changes[at, c]) for c in np.flatnonzero(changes[at])
                }
            lines += part
    for index, digest, counters in host.samples:
        lines[index]["t"] = dict(zip(COUNTERS, counters, strict=True))
        lines[index]["d"] = f"{digest:016x}"
    lines.append(_end(host))
    return lines, total


def _records(host: Host) -> list[list[int]]:
    raw = host.findings.raw or []
    records = [record for part in raw for record in part.tolist()]
    raw.clear()
    return records


def _end(host: Host) -> Line:
    stopped = host.findings.stopped
    if stopped is not None:
        return {"bug": BUG_CLASSES[stopped.kind], "op": stopped.operation_index}
    return {
        "final": {
            "ops": host.operation_count,
            "counters": host.counters(),
            "warns": 0,
            "digest": f"{page_digest(host.machine):016x}",
            "pages": page_set(host.machine),
        }
    }


# --- captures --------------------------------------------------------------------------


def _check_capture(case: Case) -> Verdict:
    lines, operations = _replay_capture(case)
    agreeing, difference = _first_difference(
        ((want or got or {}).get("i", FINAL), want, got)
        for want, got in itertools.zip_longest(lines_of(case.expectation), lines)
    )
    if not difference:
        return Verdict(case.name, case.variant, operations, operations)
    reached = lines[agreeing - 1].get("i", 0) if agreeing else 0
    return Verdict(case.name, case.variant, operations, reached, difference)


def _replay_capture(case: Case) -> tuple[list[Line], int]:
    variant = variant_from_golden_name(case.variant, case.parameters)
    lines: list[Line] = []
    with opened(case) as trace:
        host = Host(variant, trace.header, sample_every=SAMPLE)
        host.findings.keep_raw()
        host.begin()
        total = host.operation_count
        for ops, count, _ in operations_of(trace.header, trace.blocks(), {}):
            total += count
            host.execute(ops, count)
            lines += [deviation(record, ops) for record in _records(host) if record[loop.DEVIATION]]
    before = [0] * x86.COUNTER_COUNT
    for index, digest, counters in host.samples:
        changes = [now - then for now, then in zip(counters, before, strict=True)]
        lines.append({"i": index, "d": f"{digest:016x}", "dt": changes})
        before = counters
    # An outcome stands before the sample taken after the same operation.
    lines.sort(key=lambda line: (line["i"], "dt" in line))
    lines.append(_end(host))
    check_line: Line = {name: host.tally(cls) for cls, name in enumerate(op.WITNESS_CLASSES)}
    check_line["first_stale"] = int(host.log.state[loop.FIRST_STALE]) - 1
    check_line["first_other"] = int(host.log.state[loop.FIRST_OTHER]) - 1
    lines.append({"check": check_line})
    return lines, total
