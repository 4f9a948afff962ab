"""Looks for the first place of a trace at which the property shows."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, Self

from refault.errors import NothingToShrink, ShrinkRefused, TraceTruncated
from refault.replay import lanes
from refault.replay.lowering.rows import RowSource
from refault.shrink.probes import probe_of, reference_of
from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from refault.catalogue import Variant
    from refault.shrink.probes import Probe
    from refault.shrink.wanted import Wanted

#: Later than any event.
_END = 1 << 62


@dataclasses.dataclass(frozen=True)
class Seen:
    """The first place of the property in a trace: all events before ``end`` show it.

    ``digest`` and ``events`` are those of the whole trace. ``of_reference`` are the findings that
    the reference has up to there.
    """

    digest: str
    events: int
    end: int
    of_reference: frozenset[str]
    is_truncated: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self) | {"of_reference": sorted(self.of_reference)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """What ``to_dict()`` made; raises ShrinkRefused."""
        try:
            fields = dict(body) | {"of_reference": frozenset(map(str, body["of_reference"]))}
            seen = cls(**fields)
            fits = 0 < int(seen.end) <= int(seen.events)
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise ShrinkRefused("the state of an earlier run is damaged; remove it to begin anew")
        return seen


def look_for(
    trace: Path,
    digest: str,
    wanted: Wanted,
    reference: Variant | None,
    tell: Callable[[int, int, int], object],
) -> Seen:
    """Run the trace up to the part in which the property shows, the reference beside it.

    ``tell`` is given the events done, the bytes read, and the bytes in all.

    Raises:
        NothingToShrink: it does not show; the message says what does.
        TraceError: the trace is damaged.
        ReplayRefused: an engine cannot replay it.
    """
    with TraceReader(trace, allow_truncated=True) as reader:
        probe = probe_of(wanted, reader.header)
        beside = None if reference is None else reference_of(wanted, reference, reader.header)
        probes = [probe, *([beside] if beside else [])]
        end = _look_through(reader, probes, tell)
        if end is None:
            for each in probes:
                each.finish()
            events = reader.summary.event_count
            if reader.truncated and not events:
                raise TraceTruncated("the file ends inside its first block; copy it again")
            if not probe.shows():
                raise NothingToShrink(_nothing(wanted, probe, events))
            end = events
        first = probe.first_event()
        of_reference = frozenset(beside.told() if beside else ())
        for each in probes:
            each.close()
    with TraceReader(trace, allow_truncated=True) as reader:
        for _ in reader.blocks(_END):
            pass
        summary = reader.summary
    end = end if first is None else first + 1
    return Seen(digest, summary.event_count, end, of_reference, summary.truncated)


def _look_through(
    reader: TraceReader, probes: list[Probe], tell: Callable[[int, int, int], object]
) -> int | None:
    """How many events are taken when the first probe shows it; None: it does not."""
    source = RowSource(reader.header)
    hosts = [lane for probe in probes for lane in probe.lanes]
    rows = source.parts(reader.blocks(), buffers=lanes.BUFFERS)
    parts = lanes.execute(hosts, rows, len(hosts), is_rest=lambda _: True)
    with contextlib.closing(parts):
        for _, _, taken in parts:
            tell(taken, reader.read_bytes, reader.size_bytes)
            if probes[0].shows():
                return taken
    return None


def _nothing(wanted: Wanted, probe: Probe, events: int) -> str:
    """Why there is nothing to shrink, and what there is instead."""
    told = ", ".join(f"{name} {count:,}" for name, count in probe.told().items())
    where = f"after all {events:,} events"
    if wanted.how == "diverges":
        first, second = wanted.labels
        return (
            f"{first} and {second} show guest and host the same {where}; for a counter that "
            f"differs use counter:NAME:{first}<{second}"
        )
    if wanted.how == "counter":
        return f"{wanted.name} is not smaller under {wanted.labels[0]}: {told}, {where}"
    what = "its audit fails no check" if wanted.how == "check" else "the run has no findings"
    return (
        f"{wanted.labels[0]} does not show {wanted.name} {where}; "
        f"{f'it shows: {told}' if told else what}"
    )
