"""diverge_vs_run, diverge_counter_vs_run, diverge_late_vs_run and the like.

Finding where two variants part, against one replay of one of them, side by side in one run: by the
clock on the wall, and beside it in processor time of all threads. Both variants run at once on two
threads. A trace without a difference is run to its end; a late difference costs the way there, and
back from a copy. A vector is so short that its figure is milliseconds.

``python benchmarks/divergence.py [FOLDER]``; the vectors below the folder, or those of the tests.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kit.runs import MILLION, RUNS
from report import record
from variants import CAPTURE, write_mixed

from refault.catalogue import Variant, patch_set_from_text, resolve
from refault.cli.trace_files import as_trace
from refault.diverge.diverging import Report, diverge
from refault.diverge.search import Job
from refault.replay.session import replay
from refault.trace import Block, EventKind, TraceReader, TraceWriter

ROOT = Path(__file__).resolve().parents[1]
LOST_MARK = ROOT / "tests/golden/vectors/s29_lost_mark.ops.jsonl.zst"
VECTORS = ROOT / "tests/cli/vectors"
EVENTS = 16 * MILLION


def pair(first: str, second: str) -> list[Variant]:
    """Two variants."""
    return [resolve(patch_set_from_text(name)) for name in (first, second)]


class Taken(NamedTuple):
    """Seconds by the clock on the wall, and of all threads together on the processor."""

    wall: float
    processor: float


def taken(what: Callable[[], object]) -> Taken:
    """How long it takes."""
    begun, used = time.perf_counter(), time.process_time()
    what()
    return Taken(time.perf_counter() - begun, time.process_time() - used)


def alternating(path: Path, variants: list[Variant], on: str) -> tuple[Taken, Taken, Report]:
    """Medians of finding a divergence and of one run, in rounds; and what is found."""
    report = diverge(Job(path, variants, threads=2), on)
    ours, theirs = [], []
    for _ in range(RUNS):
        theirs.append(taken(lambda: replay(path, variants[:1])))
        ours.append(taken(lambda: diverge(Job(path, variants, threads=2), on)))
    return middle(ours), middle(theirs), report


def middle(rounds: list[Taken]) -> Taken:
    """The median of each."""
    return Taken(*(statistics.median(column) for column in zip(*rounds, strict=True)))


def measure(name: str, path: Path, variants: list[Variant], on: str = "outcome") -> None:
    """One figure, with where the variants differ."""
    ours, theirs, report = alternating(path, variants, on)
    where = "no difference"
    if report.divergences:
        where = f"differs at operation {report.divergences[0].first.operation_index}"
    names = " against ".join(variant.short_name for variant in variants)
    record(
        name,
        ratio=ours.wall / theirs.wall,
        what=f"diverge of {path.stem}, {names}, on {on} ({where}) / one replay of the first",
        ours=f"{ours.wall:.3f} s, {ours.processor:.3f} s of the processor",
        theirs=f"{theirs.wall:.3f} s, {theirs.processor:.3f} s of the processor",
    )


def write_late(path: Path, rows: int) -> Path:
    """The vector of the lost mark, with so many loads of one page before the mark is lost."""
    with as_trace(LOST_MARK) as source, TraceReader(source) as reader:
        header, (block,) = reader.header, reader.blocks()
    first = int(np.flatnonzero(block.kind == EventKind.OP_LD)[0])
    times = np.ones(block.event_count, np.int64)
    times[first] = rows
    with TraceWriter(path, header, level=1, block_events=1 << 20) as writer:
        writer.append_block(Block(0, *(np.repeat(column, times) for column in block[1:])))
    return path


def measure_vectors(paths: list[Path], first: str, second: str) -> None:
    """Short traces: the time itself."""
    variants = pair(first, second)
    seconds = []
    for source in paths:
        with as_trace(source) as path:
            ours, theirs, _ = alternating(path, variants, "outcome")
            seconds.append((ours, theirs))
    ours, theirs = (middle(list(column)) for column in zip(*seconds, strict=True))
    record(
        "diverge_vector",
        ratio=ours.wall / theirs.wall,
        what=f"diverge of {len(paths)} vectors, {first} against {second} / one replay; medians",
        ours=f"{ours.wall * 1000:.1f} ms, {ours.processor * 1000:.1f} ms of the processor",
        theirs=f"{theirs.wall * 1000:.1f} ms, {theirs.processor * 1000:.1f} ms of the processor",
    )


def main(arguments: list[str]) -> None:
    """A long trace, a late difference, a counter, vectors."""
    with tempfile.TemporaryDirectory() as folder:
        long = write_mixed(Path(folder) / "mixed-16m.rft", EVENTS)
        measure("diverge_vs_run", long, pair("base", "series"))
        measure("diverge_counter_vs_run", long, pair("base", "series"), "hw_flush")
        late = write_late(Path(folder) / "lost-mark-16m.rft", EVENTS)
        measure("diverge_late_vs_run", late, pair("base", "p3"))
    measure("diverge_boot_vs_run", CAPTURE, pair("base", "series"))
    measure("diverge_boot_late_vs_run", CAPTURE, pair("base", "p3"))
    with as_trace(LOST_MARK) as path:
        measure("diverge_lost_mark_vs_run", path, pair("base", "p3"))
    below = Path(arguments[0]) if arguments else VECTORS
    measure_vectors(sorted(below.rglob("*.ops.jsonl")), "base", "rel35")


if __name__ == "__main__":
    main(sys.argv[1:])
