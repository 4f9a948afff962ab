"""What a verdict rests on, and nothing else of a result.

A whole batch is judged at once, and its results are megabytes. Their facts are a few hundred bytes
each: the database keeps them beside every result (``to_bytes()``), so that judging a batch reads
no result.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgpack

from refault.errors import ResultError
from refault.results import (
    COUNTERS,
    DISAGREEMENTS,
    GUEST_VISIBLE_KINDS,
    LOGS,
    SHADOW,
    Finding,
    RunResult,
)

# Facts packed by other rules are none: who reads them goes back to the result. The release that
# changes a rule sets the column to null, and upkeep fills it again.
_RULES = hashlib.sha256(repr((2, COUNTERS, DISAGREEMENTS, GUEST_VISIBLE_KINDS)).encode()).digest()[
    :4
]


class Place(NamedTuple):
    """A finding as verdicts tell of it: its kind, and the operation at which it was made."""

    kind: str
    operation_index: int
    is_guest_visible: bool


class Facts(NamedTuple):
    """The facts of one result. ``counters`` follow COUNTERS, ``disagreements`` DISAGREEMENTS.

    A counter that the result's engine lacks is None.

    ``vm_exits`` are all exits, where the engine counts them.

    ``stopped`` is where the simulated kernel broke, ``broken`` the first broken invariant and
    ``seen`` the first finding of any kind; None where there is none. ``logs`` follow LOGS, empty
    where no dirty log was read.
    """

    outcome_digest: str
    page_digest: str
    operation_count: int
    counters: tuple[int | None, ...]
    disagreements: tuple[int, ...]
    finding_count: int
    vm_exits: int | None
    stopped: Place | None
    broken: Place | None
    seen: Place | None
    engine: str = SHADOW
    lawful_digest: str | None = None
    logs: tuple[int, ...] = ()

    def counter(self, name: str) -> int | None:
        """A counter by name; None if the engine lacks it."""
        return self.counters[COUNTERS.index(name)]

    def logged(self, name: str) -> int:
        """A number of its dirty logs by name; 0 where none was read."""
        return self.logs[LOGS.index(name)] if self.logs else 0

    def shows_the_same(self, other: Facts) -> bool:
        """Whether guest and host saw the same, but for what a dirty log may lawfully hold more."""
        is_lawful = self.lawful_digest is not None and self.lawful_digest == other.lawful_digest
        return self.outcome_digest == other.outcome_digest or is_lawful

    def to_bytes(self) -> bytes:
        """The facts for a row of the database; those of shadow do not name it."""
        fields = list(self)
        if self.lawful_digest is None:
            fields = fields[: _ENGINE + (self.engine != SHADOW)]
        packed = msgpack.packb([_RULES, *fields])
        if not isinstance(packed, bytes):  # pragma: no cover - msgpack publishes no types
            raise TypeError("msgpack gave no bytes")
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Facts | None:
        """The facts ``to_bytes()`` packed; None if they were packed by other rules than today's."""
        try:
            # Thousands of them are read at once: each step here is a tenth of a batch's judging.
            rules, *fields = msgpack.unpackb(data, use_list=False)
            if rules != _RULES:
                return None
            if len(fields) == _ENGINE:
                fields.append(SHADOW)
            places = fields[_PLACES]
            if places != _NOWHERE:
                fields[_PLACES] = [None if each is None else Place(*each) for each in places]
            return cls(*fields)
        except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise ResultError(f"facts: not what this program packs: {error}") from error


_PLACES = slice(Facts._fields.index("stopped"), Facts._fields.index("seen") + 1)
_NOWHERE = [None, None, None]
_ENGINE = Facts._fields.index("engine")


def facts_of(result: RunResult) -> Facts:
    """The facts of a result."""
    broken = next((found for found in result.findings if not found.is_guest_visible), None)
    return Facts(
        outcome_digest=result.outcome_digest,
        page_digest=result.page_digest,
        operation_count=result.operation_count,
        counters=tuple(result.counters.get(name) for name in COUNTERS),
        disagreements=tuple(result.semantics[name] for name in DISAGREEMENTS),
        finding_count=result.finding_count,
        vm_exits=(result.counters | result.work).get("vm_exits"),
        stopped=_place_of(result.stopped),
        broken=_place_of(broken),
        seen=_place_of(result.findings[0] if result.findings else None),
        engine=result.engine,
        lawful_digest=result.lawful_digest,
        logs=tuple(result.logs[name] for name in LOGS) if result.logs else (),
    )


def _place_of(finding: Finding | None) -> Place | None:
    if finding is None:
        return None
    return Place(finding.kind, finding.operation_index, finding.is_guest_visible)
