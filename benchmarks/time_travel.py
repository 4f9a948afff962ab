"""inspect_step, inspect_address, inspect_until_change, inspect_first: steps of `refault inspect`.

Against the goal of one second, by the clock on the wall, in a process with its kernels loaded: what
`--back 1` takes at places of the boot capture drawn from a seed, with all snapshots in the cache.
``inspect_first`` is the first call, which runs the capture to its end and keeps the snapshots.

``python benchmarks/time_travel.py``
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from report import record
from variants import CAPTURE

from refault.catalogue import patch_set_from_text, resolve
from refault.inspect.inspecting import View, look, timeline_of
from refault.inspect.place import Timeline
from refault.questions import Where

PLACES = 20


def seconds_of(what: Callable[[], View]) -> tuple[float, View]:
    """How long it takes, and what it shows."""
    begun = time.perf_counter()
    view = what()
    return time.perf_counter() - begun, view


def measure(name: str, what: str, taken: list[float]) -> None:
    """The median, with the slowest beside it."""
    middle, slowest = statistics.median(taken), max(taken)
    ours = f"{middle:.2f} s, slowest of {len(taken)} {slowest:.2f} s"
    record(name, ratio=middle, what=f"{what} / the goal", ours=ours, theirs="1 s")


def measure_steps(timeline: Timeline) -> None:
    """A step back at each place: nothing, an address, the latest change of one."""
    first, end = seconds_of(lambda: look(timeline, Where()))
    measure("inspect_first", "first view of the boot capture, at its end", [first])
    random = np.random.Generator(np.random.PCG64(1))
    places = random.integers(10_000, end.operation_index, PLACES).tolist()
    # The watch of words is compiled, or loaded from the cache, once.
    look(timeline, Where(operation=places[0], gva=0))
    taken: dict[str, list[float]] = {"step": [], "address": [], "until_change": []}
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


if __name__ == "__main__":
    main()
