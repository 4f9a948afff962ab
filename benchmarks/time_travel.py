"""inspect_step, inspect_address, inspect_until_change, inspect_first: steps of `refault inspect`.

Against the goal of one second, by the clock on the wall and beside it in processor time, in a
process with its kernels loaded: what `--back 1` takes at places of the boot capture drawn from a
seed, with all snapshots in the cache. ``inspect_first`` is the first call, which runs the capture
to its end and keeps the snapshots. ``snapshot`` is the writing of one, of the host with the most
shadow pages in the corpus, against 20 ms for 2,600 pages.

``python benchmarks/time_travel.py``
"""

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from report import record
from variants import CAPTURE

from refault.catalogue import patch_set_from_text, resolve
from refault.inspect.inspecting import View, look, timeline_of
from refault.inspect.place import Timeline
from refault.questions import Where
from refault.replay.snapshot import Snapshot

PLACES = 20
MANY = Path(__file__).resolve().parents[1] / "demo/corpus/many-4cpu.rft"
GOAL_S = 0.020
GOAL_PAGES = 2600


class Taken(NamedTuple):
    """Seconds by the clock on the wall, and of the processor."""

    wall: float
    processor: float


def seconds_of(what: Callable[[], View]) -> tuple[Taken, View]:
    """How long it takes, and what it shows."""
    begun, used = time.perf_counter(), time.process_time()
    view = what()
    return Taken(time.perf_counter() - begun, time.process_time() - used), view


def told(taken: Sequence[float]) -> str:
    """The median, with the slowest beside it."""
    return f"{statistics.median(taken):.2f} s, slowest of {len(taken)} {max(taken):.2f} s"


def measure(name: str, what: str, taken: Sequence[Taken]) -> None:
    """Median and slowest, by the clock and in processor time."""
    wall, processor = zip(*taken, strict=True)
    ours = f"{told(wall)}; of the processor {told(processor)}"
    middle = statistics.median(wall)
    record(name, ratio=middle, what=f"{what} / the goal", ours=ours, theirs="1 s")


def measure_snapshot(timeline: Timeline) -> None:
    """Writing the state at the end of a capture to memory, in processor time."""
    with timeline.at_event(None) as place:
        pages = place.host.counters()["active"]
        seconds = []
        for _ in range(10):
            begun = time.process_time()
            Snapshot(place.source, place.hosts, place.reader).write(io.BytesIO())
            seconds.append(time.process_time() - begun)
    middle = statistics.median(seconds)
    record(
        "snapshot",
        ratio=middle / GOAL_S,
        what=f"snapshot of a host of {pages} shadow pages / the goal for {GOAL_PAGES}",
        ours=f"{middle * 1000:.1f} ms of the processor",
        theirs=f"{GOAL_S * 1000:.0f} ms",
    )


def measure_steps(timeline: Timeline) -> None:
    """A step back at each place: nothing, an address, the latest change of one."""
    first, end = seconds_of(lambda: look(timeline, Where()))
    measure("inspect_first", "first view of the boot capture, at its end", [first])
    random = np.random.Generator(np.random.PCG64(1))
    places = random.integers(10_000, end.operation_index, PLACES).tolist()
    # The watch of words is compiled, or loaded from the cache, once.
    look(timeline, Where(operation=places[0], gva=0))
    taken: dict[str, list[Taken]] = {"step": [], "address": [], "until_change": []}
    for place in places:
        seconds, view = seconds_of(lambda at=place: look(timeline, Where(operation=at, back=1)))
        taken["step"].append(seconds)
        gva = view.latest.a % (1 << 64) if view.latest else 0
        gva = gva if gva < 1 << 47 or gva >= (1 << 64) - (1 << 47) else 0
        for name, question in (
            ("address", Where(operation=place, back=1, gva=gva)),
            ("until_change", Where(operation=place, until_change=gva)),
        ):
            seconds, _ = seconds_of(lambda asked=question: look(timeline, asked))
            taken[name].append(seconds)
    measure("inspect_step", "a step back on the boot capture, summary", taken["step"])
    measure("inspect_address", "the same with an address and its history", taken["address"])
    measure("inspect_until_change", "back to an address's latest change", taken["until_change"])


def main() -> None:
    """With a cache of its own for the snapshots; kernels stay where they are."""
    variant = resolve(patch_set_from_text("base"))
    # The compiler has its folder since it was imported; later only snapshots go by this.
    timeline_of(CAPTURE, variant)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REFAULT_CACHE"] = folder
        measure_steps(timeline_of(CAPTURE, variant))
        measure_snapshot(timeline_of(MANY, variant))


if __name__ == "__main__":
    main()
