"""How fast synthetic guests make events, and address streams become traces.

    python benchmarks/synthetic.py

Against the goals: 5 M events/s made and written, 3 M references/s of lackey, 10 M records/s of
drmemtrace. A rate is of processor time, all threads together; a trace that is written takes two
threads, so by the clock on idle cores it is faster. The streams are made here, from a seed.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from report import record

from refault.synth import RECIPES, Order, make
from refault.synth.dice import Dice
from refault.synth.machine import Machine
from refault.synth.recipes.recipe import World
from refault.synth.streams import convert
from refault.trace.importers.registry import DRMEMTRACE, LACKEY, Importer, Wanted

EVENTS = 3_000_000
ROUNDS = 3
GOAL_EVENTS = 5.0
GOAL_LACKEY = 3.0
GOAL_DRMEMTRACE = 10.0
RECORDS = 4_000_000


class Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take the bytes."""
        return len(data)


def main() -> None:
    """Measure all recipes, then both streams."""
    make(Order("fork", events=1000), Nowhere(), level=1)  # compiles
    generated = {name: rate_of(lambda name=name: generate(name)) for name in RECIPES}
    written = {name: rate_of(lambda name=name: write(name)) for name in RECIPES}
    record(
        "synth_generated",
        ratio=min(generated.values()) / GOAL_EVENTS,
        what="M events/s of processor time, the slowest recipe / 5 M",
        ours=generated,
        theirs=GOAL_EVENTS,
    )
    record(
        "synth_written",
        ratio=statistics.median(written.values()) / GOAL_EVENTS,
        what="M events/s of processor time, made, packed and written, the median recipe / 5 M",
        ours=written,
        theirs=GOAL_EVENTS,
    )
    with tempfile.TemporaryDirectory(prefix="refault-") as name:
        folder = Path(name)
        log, trace = lackey_log(folder), drmemtrace(folder)
        lackey = rate_of(lambda: imported(LACKEY, log, RECORDS // 4))
        dynamorio = rate_of(lambda: imported(DRMEMTRACE, trace, RECORDS))
    record(
        "lackey_import",
        ratio=lackey / GOAL_LACKEY,
        what="M references/s of processor time / 3 M",
        ours=lackey,
        theirs=GOAL_LACKEY,
    )
    record(
        "drmemtrace_import",
        ratio=dynamorio / GOAL_DRMEMTRACE,
        what="M records/s of processor time / 10 M",
        ours=dynamorio,
        theirs=GOAL_DRMEMTRACE,
    )


def rate_of(work: Callable[[], int]) -> float:
    """Millions a second of processor time, the median of some rounds."""
    rates = []
    for _ in range(ROUNDS):
        start = time.process_time()
        count = work()
        rates.append(count / 1e6 / (time.process_time() - start))
    return statistics.median(rates)


def generate(name: str) -> int:
    """Events in memory, and no more."""
    order = Order(name, events=EVENTS)
    recipe, hardware = order.checked()
    machine = Machine(hardware)
    for _ in machine.blocks(recipe.rounds(World(hardware, Dice(order.seed)))):
        if machine.event_count >= EVENTS:
            break
    return machine.event_count


def write(name: str) -> int:
    """A whole trace."""
    return make(Order(name, events=EVENTS), Nowhere()).event_count


def imported(importer: Importer, path: Path, count: int) -> int:
    """A stream of so many records as a trace."""
    convert(importer, path, io.BytesIO(), Wanted(name="stream", level=3))
    return count


def references(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Kinds (0 load, 1 store, 2 instruction) and addresses of a program that stays near."""
    dice = np.random.default_rng(1)
    kinds = dice.choice(np.array([2, 2, 0, 1]), count)
    pages = np.minimum(dice.geometric(0.02, count), 3000) * 4096
    base = np.where(kinds == 2, 0x40_0000, 0x7F00_0000_0000)
    return kinds, base + pages + dice.integers(0, 500, count) * 8


def lackey_log(folder: Path) -> Path:
    """A log of a million references."""
    kinds, addresses = references(RECORDS // 4)
    words = (" L", " S", "I ")
    lines = (
        f"{words[kind]} {address:08x},4\n"
        for kind, address in zip(kinds.tolist(), addresses.tolist(), strict=True)
    )
    path = folder / "lackey.log"
    path.write_text("".join(lines), encoding="ascii")
    return path


def drmemtrace(folder: Path) -> Path:
    """A trace of one thread, a third of whose records are bytes of instructions."""
    kinds, addresses = references(RECORDS)
    records = np.zeros(RECORDS, np.dtype([("type", "<u2"), ("size", "<u2"), ("address", "<u8")]))
    records["type"] = np.array([0, 1, 10])[kinds]
    records["type"][::3] = 47
    records["size"] = 4
    records["address"] = addresses
    records[0] = (25, 0, 7)
    records[1] = (22, 4, 77)
    records[2] = (24, 4, 77)
    records[-1] = (26, 0, 0)
    path = folder / "a.trace"
    path.write_bytes(records.tobytes())
    return path


if __name__ == "__main__":
    main()
