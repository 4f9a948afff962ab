"""How fast a trace is verified, on the captures of the demo.

``python benchmarks/verify_speed.py``. Figures, processor time, from the opening of the file on:

==================  ==========================================================================
verify_vs_goal      events a second against the goal of 10 million
verify_vs_decode    the share of its time that decoding the same file alone takes
==================  ==========================================================================
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from kit.runs import MILLION, RUNS
from report import record

from refault.trace import TraceReader
from refault.verify import verify

ROOT = Path(__file__).resolve().parents[1]
CAPTURES = ("linux61-boot-1cpu", "linux61-workload-1cpu")
GOAL = 10 * MILLION


def decode(path: Path) -> int:
    """Read every block; how many events there were."""
    with TraceReader(path) as trace:
        return sum(block.event_count for block in trace.blocks())


def seconds_of(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and report."""
    paths = [ROOT / "demo" / "traces" / f"{name}.rft" for name in CAPTURES]
    events = sum(verify(path).event_count for path in paths)  # and compile
    ours, alone = [], []
    for _ in range(RUNS):
        ours.append(seconds_of(lambda: [verify(path) for path in paths]))
        alone.append(seconds_of(lambda: [decode(path) for path in paths]))
    took, decoded = statistics.median(ours), statistics.median(alone)
    record(
        "verify_vs_goal",
        what="two captures, events a second against ten million",
        ours=round(events / took),
        theirs=GOAL,
        ratio=events / took / GOAL,
    )
    record(
        "verify_vs_decode",
        what="the same captures, decoding alone against verification",
        ours=took,
        theirs=decoded,
        ratio=decoded / took,
    )


if __name__ == "__main__":
    main()
