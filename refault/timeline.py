"""How counters went over the guest's time: samples of one run, and the trace's marks as labels.

::

    Timeline ── to_dict() ──► plain dict (JSON) ── from_dict() ──► Timeline
        └── to_bytes() ──► canonical msgpack ── sha256 ──► digest

A document beside a result, never part of its bytes. Equal keys (:func:`timeline_key`) name equal
bytes, on whatever machine and however often the run was interrupted. Plain data: no numpy, no
compiler, no I/O.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from refault.documents import DocumentKey, Packed
from refault.errors import ResultError

TIMELINE_VERSION = 1
#: Samples of one run, the last one included, and marks that are kept with their place.
SAMPLES_MAX = 1000
MARKS_MAX = 1000
#: What the interval between samples is counted in.
UNITS = ("instructions", "events")
#: The first three series: where a sample was taken.
PLACES = ("events", "instructions", "operations")


def interval_of(total: int) -> int:
    """The interval between samples of a run of that length: the least power of two that is enough.

    One sample is taken at the end, whatever the interval.
    """
    interval = 1
    while total // interval + 2 > SAMPLES_MAX:
        interval *= 2
    return interval


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A mark that the guest passed; ``name`` is what the trace calls its number, or empty."""

    number: int
    name: str
    events: int
    instructions: int


@dataclasses.dataclass(frozen=True, slots=True)
class Timeline(Packed):
    """The samples of one run.

    ``series`` are columns of the same length: where each sample was taken (PLACES: what was done
    before it), then what each number was there, under the names of the result. The last sample is
    the end of the run. ``interval`` is the distance of samples in ``unit``; where the guest did
    nothing that is simulated for longer, there is none. ``marks`` are the first MARKS_MAX of
    ``mark_count``. ``missing`` says what this engine does not yield, and why.
    """

    NOUN: ClassVar[str] = "timeline"

    trace_digest: str
    variant_digest: str
    simulator_digest: str
    engine: str
    unit: str
    interval: int
    series: dict[str, tuple[int, ...]]
    marks: tuple[Mark, ...]
    mark_count: int
    missing: dict[str, str]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.series.values()}
        if len(lengths) != 1 or not set(PLACES) <= self.series.keys():
            raise ResultError("timeline: series of different lengths, or none of places")
        if not 1 <= self.sample_count <= SAMPLES_MAX:
            raise ResultError(f"timeline: {self.sample_count} samples; 1 to {SAMPLES_MAX} may be")
        if self.unit not in UNITS:
            raise ResultError(f"timeline: unit {self.unit!r} is none of {', '.join(UNITS)}")

    @property
    def sample_count(self) -> int:
        """How many samples there are."""
        return len(self.series[PLACES[0]])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the series, without those of places."""
        return tuple(name for name in self.series if name not in PLACES)

    def to_dict(self) -> dict[str, Any]:
        """The timeline as JSON."""
        return {"version": TIMELINE_VERSION} | {
            "trace_digest": self.trace_digest,
            "variant_digest": self.variant_digest,
            "simulator_digest": self.simulator_digest,
            "engine": self.engine,
            "unit": self.unit,
            "interval": self.interval,
            "series": {name: list(column) for name, column in self.series.items()},
            "marks": [dataclasses.asdict(mark) for mark in self.marks],
            "mark_count": self.mark_count,
            "missing": dict(self.missing),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The timeline ``to_dict()`` made; raises ResultError naming what is wrong."""
        fields = dict(body)
        if fields.pop("version", None) != TIMELINE_VERSION:
            found = body.get("version")
            raise ResultError(f"timeline: version {found!r} is not {TIMELINE_VERSION}")
        try:
            fields["series"] = {name: tuple(each) for name, each in fields["series"].items()}
            fields["marks"] = tuple(Mark(**mark) for mark in fields["marks"])
            return cls(**fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise ResultError(f"timeline: not one: {error}") from error

    @property
    def key(self) -> DocumentKey:
        """The key of the document: equal keys name equal bytes."""
        return timeline_key(self.trace_digest, self.variant_digest, self.simulator_digest)


def timeline_key(trace_digest: str, variant_digest: str, simulator_digest: str) -> DocumentKey:
    """The key of the timeline of a run; its level says how many samples there may be."""
    return DocumentKey(
        "timeline",
        f"samples-{SAMPLES_MAX}-v{TIMELINE_VERSION}",
        trace_digest,
        variant_digest,
        simulator_digest,
    )
