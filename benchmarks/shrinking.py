"""shrink_events, shrink_minutes, shrink_long: how small `refault shrink` makes a trace, how fast.

Against the goals: the missed fault under patch 3 in at most 200 events, in less than 10 minutes on
two cores, by the clock on the wall and with the kernels loaded. ``shrink_long`` is a lost mark at
the end of 16 million operations.

``python benchmarks/shrinking.py``
"""

import statistics
import tempfile
from pathlib import Path

from divergence import EVENTS, write_late
from report import record
from variants import CAPTURE

from refault.catalogue import Variant, patch_set_from_text, resolve
from refault.shrink.shrinking import Job, Shrunk, shrink
from refault.shrink.wanted import wanted_of

KEEP = "finding:missed-fault@p3"
ROUNDS = 3
EVENTS_GOAL = 200
MINUTES_GOAL = 10


def variant_of(text: str) -> Variant:
    """A variant by its name."""
    return resolve(patch_set_from_text(text))


def once(folder: Path, trace: Path = CAPTURE, keep: str = KEEP) -> Shrunk:
    """A trace, shrunk from the beginning, with its state on disk."""
    out = folder / "out.rft"
    wanted = wanted_of(keep, variant_of)
    return shrink(Job(trace, wanted, out, out.with_suffix(".state")))


def main() -> None:
    """One round to load the kernels, then some that count."""
    with tempfile.TemporaryDirectory() as name:
        once(Path(name))
        rounds = [once(Path(name)) for _ in range(ROUNDS)]
        late = write_late(Path(name) / "lost-mark-16m.rft", EVENTS)
        long = once(Path(name), late, "diverges:base,p3")
    events = rounds[0].summary.event_count
    seconds = statistics.median(each.seconds for each in rounds)
    source = rounds[0].source_events
    record(
        "shrink_events",
        ratio=events / EVENTS_GOAL,
        what="events left of the boot capture's missed fault under p3 / the goal",
        ours=f"{events} of {source} events, {rounds[0].tests} tests",
        theirs=f"{EVENTS_GOAL} events",
    )
    record(
        "shrink_minutes",
        ratio=seconds / 60 / MINUTES_GOAL,
        what="time it takes / the goal",
        ours=f"{seconds:.1f} s",
        theirs=f"{MINUTES_GOAL} min",
    )
    record(
        "shrink_long",
        ratio=long.seconds / 60 / MINUTES_GOAL,
        what="time for a lost mark at the end of 16 M operations / the same goal",
        ours=f"{long.seconds:.1f} s, {long.summary.event_count} of {long.source_events} events",
        theirs=f"{MINUTES_GOAL} min",
    )


if __name__ == "__main__":
    main()
