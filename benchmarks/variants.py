"""eight_variants_one_core, eight_variants_two_cores, decode_share, lower_share.

One decode for many variants. Reading the trace's blocks is decoding; making operations of their
events is lowering. The shares are of the whole replay of one variant, which does both; the goal of
eight variants lets both be done once. Two cores are measured with a generated trace that is long
enough for its first block, which nothing can be done beside, to count little.

``python benchmarks/variants.py [TRACE]``; by default a capture of ``demo/traces``, and where there
is none a generated one.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from kit import generator
from kit.runs import MILLION, RUNS, timed
from report import record

from refault.catalogue import Variant, variant_from_golden_name
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.trace import TraceReader, TraceWriter

CAPTURE = Path(__file__).resolve().parents[1] / "demo/traces/linux61-boot-1cpu.rft"
NAMES = ("base", "p2", "p2alt", "rel34", "p3", "p4", "p6", "series")
GOAL = 8.2


def decode(path: Path) -> None:
    """Read a trace's blocks, for nobody."""
    with TraceReader(path) as trace:
        for _ in trace.blocks():
            pass


def decode_and_lower(path: Path) -> None:
    """Read a trace and make its operations, for nobody."""
    with TraceReader(path) as trace:
        for _ in operations_of(trace.header, trace.blocks(), {}):
            pass


def wall(path: Path, variants: list[Variant], threads: int) -> float:
    """Seconds by the clock on the wall."""
    begun = time.perf_counter()
    replay(path, variants, threads=threads)
    return time.perf_counter() - begun


def measure(path: Path) -> None:
    """All that one core does, in rounds, so that a busy machine hits all alike."""
    variants = [variant_from_golden_name(name) for name in NAMES]
    replay(path, variants)
    rounds = []
    for _ in range(RUNS):
        decoding = timed(lambda: decode(path))
        once = timed(lambda: decode_and_lower(path))
        one = statistics.fmean(timed(lambda v=v: replay(path, [v])) for v in variants)
        eight = timed(lambda: replay(path, variants))
        rounds.append((decoding, once, one, eight))
    decoding, once, one, eight = (statistics.median(column) for column in zip(*rounds, strict=True))
    record(
        "decode_share",
        ratio=decoding / one,
        what=f"reading the blocks of {path.name} / the whole replay of one variant; at most 0.3",
        ours=f"{decoding:.4f} s",
        theirs=f"{one:.4f} s",
    )
    record(
        "lower_share",
        ratio=(once - decoding) / one,
        what="making operations of the events / the whole replay of one variant",
        ours=f"{once - decoding:.4f} s",
        theirs=f"{one:.4f} s",
    )
    simulating = one - once
    record(
        "eight_variants_one_core",
        ratio=(eight - once) / simulating / GOAL,
        what="eight variants in one replay, less one decode, in variants / the goal; at most 1",
        ours=(eight - once) / simulating,
        theirs=GOAL,
    )


def measure_two_cores(path: Path) -> None:
    """One thread against two, by the clock on the wall."""
    if len(os.sched_getaffinity(0)) < 2:
        print("eight_variants_two_cores: skipped, one core here")
        return
    variants = [variant_from_golden_name(name) for name in NAMES]
    alone, threaded = (replay(path, variants, threads=threads) for threads in (1, 2))
    assert alone == threaded
    rounds = [[wall(path, variants, threads) for threads in (1, 2)] for _ in range(RUNS)]
    slow, fast = (statistics.median(column) for column in zip(*rounds, strict=True))
    record(
        "eight_variants_two_cores",
        ratio=slow / fast,
        what=f"eight variants of {path.name} on one thread / on two, by the clock on the wall",
        ours=f"{fast:.3f} s",
        theirs=f"{slow:.3f} s",
    )


def write_mixed(path: Path, events: int) -> Path:
    """A generated guest that keeps house."""
    capture = generator.mixed(events)
    with TraceWriter(path, capture.header, level=1, block_events=1 << 20) as writer:
        for block in capture.blocks():
            writer.append_block(block)
    return path


def main(arguments: list[str]) -> None:
    """Measure the capture, or a stand-in."""
    with tempfile.TemporaryDirectory() as folder:
        if arguments or CAPTURE.exists():
            measure(Path(arguments[0]) if arguments else CAPTURE)
        else:
            measure(write_mixed(Path(folder) / "mixed-2m.rft", 2 * MILLION))
        measure_two_cores(write_mixed(Path(folder) / "mixed-16m.rft", 16 * MILLION))


if __name__ == "__main__":
    main(sys.argv[1:])
