"""Replaying one golden case and finding its first difference from what it is held against.

That is what the real kernel code gave, as recorded, or another engine. An engine is held to what
it has: where it counts nothing, only what the guest saw is compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refault.catalogue import (
    GOLDEN,
    PatchSet,
    Variant,
    is_kernel,
    patch_set_from_text,
    resolve,
    variant_from_golden_name,
)
from refault.engines import get_engine
from refault.engines.base import Engine, Host, Watch
from refault.engines.shadow.counted import counted_rows
from refault.errors import RefaultError
from refault.golden.expectations import BUG_CLASSES, Line, deviation, lines_of, outcome
from refault.golden.folders import Case
from refault.golden.inputs import opened
from refault.linux.variants import resolve_kernel
from refault.replay import lanes
from refault.replay import operations as op
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.lowering.rows import operations_of
from refault.replay.session import warm_up
from refault.trace import TraceHeader, TraceReader

SAMPLE = 1024
_OUTCOME_FIELDS = frozenset(("a", "pf", "pd", "o"))
_NO_ACCESS_LEFT_OUT = _OUTCOME_FIELDS | {"final", "bug"}
#: Of a line: what the guest saw, and where it ends.
_SEEN = frozenset((*_OUTCOME_FIELDS, "v", "final", "op"))


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """The first field that came out otherwise: at which operation (None: the final state).

    ``expected`` and ``got`` are what the field holds, None where it is not there.
    """

    operation: int | None
    field: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        where = "the final state" if self.operation is None else f"operation {self.operation}"
        return f"{where}, {self.field}: expected {self.expected}, got {self.got}"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How a case came out: how many of its operations agree, and the first that does not.

    ``operations`` are those the real code executed, one it stopped in included.
    ``refused`` says why nothing could be replayed.
    """

    name: str
    variant: str
    operations: int
    agreeing: int
    difference: Difference | None = None
    refused: str = ""

    @property
    def agrees(self) -> bool:
        """Whether every field of every operation agrees."""
        return self.difference is None and not self.refused

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {**dataclasses.asdict(self), "agrees": self.agrees}


def check(case: Case, engine: str = "shadow", against: str | None = None) -> Verdict:
    """Replay a case on an engine and compare every field of its expectation, or another engine's.

    What cannot be read or replayed is refused, with the reason.
    """
    try:
        if case.variant not in GOLDEN:
            return _refused(case, "this variant is not simulated")
        engines = [_side(name) for name in (engine, against) if name is not None]
        check_case = _check_capture if case.is_capture else _check_vector
        with _uncollected():
            return check_case(case, engines)
    except RefaultError as error:
        return _refused(case, str(error))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector, which takes half of the time to find no cycle among the lines."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _refused(case: Case, reason: str) -> Verdict:
    try:
        expected = list(lines_of(case.expectation))
    except RefaultError:
        expected = []
    operations = _capture_operations(expected) if case.is_capture else _operations(expected)
    return Verdict(case.name, case.variant, operations, 0, refused=reason)


def _operations(expected: list[Line]) -> int:
    """Operations a vector's expectation covers: a line each, and one for the final state."""
    return sum("final" not in line for line in expected)


def _capture_operations(expected: list[Line]) -> int:
    """Operations a capture's expectation covers, as its closing lines say."""
    for line in reversed(expected):
        if "final" in line:
            return int(line["final"]["ops"])
        if "bug" in line:
            return int(line["op"]) + 1
    return 0


def _first_difference(
    expected: Iterable[Line], got: Iterable[Line]
) -> tuple[int, Line | None, Line | None]:
    """How many lines agree, and the first two that do not."""
    agreeing = 0
    for want, have in itertools.zip_longest(expected, got):
        if want != have:
            return agreeing, want, have
        agreeing += 1
    return agreeing, None, None


def _difference(operation: int | None, expected: Line | None, got: Line | None) -> Difference:
    """Which field of a line differs, and which of a field's own."""
    if expected is None or got is None:
        return Difference(operation, "line", expected, got)
    for field in {**expected, **got}:
        want, have = expected.get(field), got.get(field)
        if want == have:
            continue
        if isinstance(want, dict) and isinstance(have, dict):
            for name in {**want, **have}:
                if want.get(name) != have.get(name):
                    return Difference(operation, name, want.get(name), have.get(name))
        return Difference(operation, field, want, have)
    return Difference(operation, "line", expected, got)


class _Side(NamedTuple):
    """An engine that a case is replayed on, and which of its machines where that is not the case's.

    That is ``kernel:NAME`` for a kernel of the user's own, or ``kernel:NAME,tdp=1``.
    """

    engine: Engine
    machine: str

    @property
    def counters(self) -> tuple[str, ...]:
        """What the engine always counts."""
        return self.engine.counters

    def variant(self, case: Case) -> Variant:
        """The case's variant, or the one machine there is."""
        if self.engine.name == "shadow":
            return variant_from_golden_name(case.variant, case.parameters)
        if is_kernel(self.machine):
            asked = patch_set_from_text(self.machine)
            parameters = dataclasses.replace(
                asked.parameters,
                page_limit=case.parameters.page_limit,
                host_page_level=case.parameters.host_page_level,
                bypass=0,
            )
            return resolve_kernel(dataclasses.replace(asked, parameters=parameters))
        return resolve(PatchSet(self.machine))

    def open(self, case: Case, header: TraceHeader, watch: Watch) -> Host:
        """A host of that machine, before its first operation."""
        return self.engine.open(self.variant(case), header, Budget(), watch)


def engine_of(name: str) -> Engine:
    """The engine of that name, or of a kernel ``kernel:NAME``; raises UnknownEngine."""
    return get_engine("kernel" if is_kernel(name) else name)


def _side(name: str) -> _Side:
    return _Side(engine_of(name), name)


def _fields_of(engines: Sequence[_Side]) -> frozenset[str] | None:
    """The fields that all of them give of an operation; None: all there are."""
    return None if all(engine.counters for engine in engines) else _SEEN


def _only(lines: Iterable[Line], fields: frozenset[str] | None) -> Iterator[Line]:
    if fields is None:
        yield from lines
        return
    for line in lines:
        kept = {name: value for name, value in line.items() if name in fields}
        if "pd" in kept:  # the guest gets the same #PF, whether the host saw it or not
            kept["pf"] = kept.pop("pd")
        if "final" in kept:
            kept["final"] = {"ops": line["final"]["ops"]}
        yield kept


# --- vectors ---------------------------------------------------------------------------


def _check_vector(case: Case, engines: Sequence[_Side]) -> Verdict:
    lines = _replay_vector(case, engines[0])
    others = _completed(case, lines) if len(engines) == 1 else _replay_vector(case, engines[1])
    fields = _fields_of(engines)
    expected = list(_only(others, fields))
    operations = _operations(expected)
    agreeing, want, have = _first_difference(expected, _only(lines, fields))
    difference = None
    if want is not None or have is not None:
        difference = _difference(agreeing if agreeing < operations else None, want, have)
    return Verdict(case.name, case.variant, operations, min(agreeing, operations), difference)


def _completed(case: Case, lines: list[Line]) -> Iterator[Line]:
    """The expectation with the reference's address and value where it leaves them out."""
    expected = lines_of(case.expectation)
    if case.reference is None or case.reference == case.expectation:
        yield from expected
        return
    reference = itertools.chain(_addresses_and_values(case.reference), itertools.repeat({}))
    for i, (line, other) in enumerate(zip(expected, reference, strict=False)):
        is_access = i < len(lines) and not _OUTCOME_FIELDS.isdisjoint(lines[i])
        if is_access and _NO_ACCESS_LEFT_OUT.isdisjoint(line):
            line.update(other)
        yield line


@functools.lru_cache(maxsize=1)
def _addresses_and_values(path: Path) -> list[Line]:
    """Of each line what others leave out; kept, as the variants of a vector share a reference."""
    return [{name: line[name] for name in ("a", "v") if name in line} for line in lines_of(path)]


def given(case: Case) -> list[Line]:
    """What the model gives for a vector under the case's variant, in the golden format."""
    return _replay_vector(case, _side("shadow"))


def _replay_vector(case: Case, engine: _Side) -> list[Line]:
    """Its result in the golden format: a line an operation, and the final one."""
    watch = Watch(record_all=True, rows=bool(engine.counters), sample_every=SAMPLE)
    with opened(case) as trace:
        host = engine.open(case, trace.header, watch)
        lines: list[Line] = []
        before = np.zeros(len(engine.counters), np.int64)
        first = 0
        for ops, _, _ in _executed(host, trace):
            done = host.operation_count - first
            part: list[Line] = [{} for _ in range(done)]
            for record in _records(host):
                at = record[rec.INDEX] - first
                part[at] = outcome(record, is_load=ops.kind[at] == op.LD)
            first += done
            if done and engine.counters:
                before = _add_changes(part, host, engine.counters, before)
            lines += part
    for index, digest, counters in host.samples:
        lines[index]["t"] = dict(zip(engine.counters, counters, strict=True))
        lines[index]["d"] = f"{digest:016x}"
    lines.append(_end(host))
    return lines


def _add_changes(part: list[Line], host: Host, names: Sequence[str], before: Any) -> Any:
    """What each operation of a part added to the counters; answers them after its last."""
    places, rows = counted_rows(host.notes.log)
    changes = np.diff(rows, axis=0, prepend=before[None, :])
    changed = np.nonzero(changes)
    for at, counter, change in zip(
        places[changed[0]].tolist(), changed[1].tolist(), changes[changed].tolist(), strict=True
    ):
        part[at].setdefault("c", {})[names[counter]] = change
    return rows[-1] if len(rows) else before


def _executed(host: Host, trace: TraceReader) -> Iterator[tuple[op.Operations, int, int]]:
    """Each part of the rows when the host is through with it; a signal ends this at once."""
    warm_up({host.variant.engine})
    rows = operations_of(trace.header, trace.blocks(), {})
    with contextlib.closing(lanes.execute([host], rows, 1, is_rest=lambda _: True)) as parts:
        yield from parts


def _records(host: Host) -> list[list[int]]:
    raw = host.notes.findings.raw or []
    records = [record for part in raw for record in part.tolist()]
    raw.clear()
    return records


def _end(host: Host) -> Line:
    stopped = host.notes.findings.stopped
    if stopped is not None:
        return {"bug": BUG_CLASSES.get(stopped.kind, stopped.kind), "op": stopped.operation_index}
    return {
        "final": {
            "ops": host.operation_count,
            "counters": host.counters(),
            "warns": 0,
            "digest": host.page_digest(),
            "pages": host.page_set(),
        }
    }


# --- captures --------------------------------------------------------------------------


def _check_capture(case: Case, engines: Sequence[_Side]) -> Verdict:
    expected = list(lines_of(case.expectation))
    operations = _capture_operations(expected)
    lines = _replay_capture(case, engines[0])
    if len(engines) > 1:
        expected = _replay_capture(case, engines[1])
    if _fields_of(engines) is not None:
        expected, lines = _guest_visible(expected), _guest_visible(lines)
    agreeing, want, have = _first_difference(expected, lines)
    if want is None and have is None:
        return Verdict(case.name, case.variant, operations, operations)
    reached = int(expected[agreeing - 1].get("i", 0)) if agreeing else 0
    difference = _difference((want or have or {}).get("i"), want, have)
    return Verdict(case.name, case.variant, operations, reached, difference)


def _guest_visible(lines: Iterable[Line]) -> list[Line]:
    """The accesses that came out otherwise than on the real guest, in order of the operations.

    Operations are numbered by engine (a page limit is one), so a line tells the access.
    """
    return [
        {name: line[name] for name in ("op", *_OUTCOME_FIELDS) if name in line}
        for line in lines
        if isinstance(line.get("op"), list)
    ]


def _replay_capture(case: Case, engine: _Side) -> list[Line]:
    """Its result in the words of an expectation of a capture, a line each."""
    lines: list[Line] = []
    with opened(case) as trace:
        watch = Watch(sample_every=SAMPLE)
        host = engine.open(case, trace.header, watch)
        host.notes.findings.keep_raw()
        host.begin()
        for ops, _, _ in _executed(host, trace):
            lines += [deviation(record, ops) for record in _records(host) if record[rec.DEVIATION]]
    before = [0] * len(engine.counters)
    for index, digest, counters in host.samples:
        changes = [now - then for now, then in zip(counters, before, strict=True)]
        lines.append({"i": index, "d": f"{digest:016x}", "dt": changes})
        before = counters
    # An outcome stands before the sample taken after the same operation.
    lines.sort(key=lambda line: (line["i"], "dt" in line))
    lines.append(_end(host))
    notes = host.notes
    check_line: Line = {name: notes.tally(cls) for cls, name in enumerate(op.WITNESS_CLASSES)}
    check_line["first_stale"] = int(notes.log.state[rec.FIRST_STALE]) - 1
    check_line["first_other"] = int(notes.log.state[rec.FIRST_OTHER]) - 1
    lines.append({"check": check_line})
    return lines
