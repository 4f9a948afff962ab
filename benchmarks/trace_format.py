"""How fast traces are decoded, and how large they are beside the captures they came from.

    python benchmarks/trace_format.py [CAPTURE.ptt.zst …]

Decoding is held against what no reader can save itself: decompressing the same bytes with zstd and
copying the columns that leave the reader once. Sizes are held against the captures named, each
beside the demo trace of its name; without captures, only decoding is measured.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import zstandard
from report import record

from refault.trace import TraceReader
from refault.trace.format import SUFFIX, TAG_BLOCK
from refault.trace.frames import FrameParser

TRACES = Path(__file__).parents[1] / "demo" / "traces"
ROUNDS = 5
WARM_UP = 2


def main() -> None:
    """Measure the demo traces."""
    parser = argparse.ArgumentParser(description="Speed and size of the trace format.")
    parser.add_argument("captures", nargs="*", type=Path, metavar="CAPTURE.ptt.zst")
    captures = {path.name.removesuffix(".ptt.zst"): path for path in parser.parse_args().captures}
    traces = {path.stem: path for path in sorted(TRACES.glob(f"*{SUFFIX}"))}
    if strangers := captures.keys() - traces.keys():
        parser.error(f"no demo trace is called {', '.join(sorted(strangers))}")
    for name, path in traces.items():
        measure_decoding(name, path.read_bytes())
    for name, capture in captures.items():
        measure_size(name, traces[name].stat().st_size, capture.stat().st_size)


def measure_decoding(name: str, data: bytes) -> None:
    """Whole traces with every check they get, against their bytes decompressed and copied."""

    def ours() -> int:
        with TraceReader(io.BytesIO(data)) as reader:
            return sum(block.event_count for block in reader.blocks())

    event_count = ours()
    our_rate = event_count / 1e6 / cpu_seconds(ours)
    streams = [
        msgpack.unpackb(frame.body)["streams"]
        for frame in FrameParser().feed(data)
        if frame.tag == TAG_BLOCK
    ]
    with TraceReader(io.BytesIO(data)) as reader:
        blocks = list(reader.blocks())

    def theirs() -> None:
        for stream in streams:
            zstandard.ZstdDecompressor().decompress(stream)
        for block in blocks:
            for column in block[1:]:
                column.copy()

    their_rate = event_count / 1e6 / cpu_seconds(theirs)
    record(
        f"decode {name}",
        ratio=our_rate / their_rate,
        what=(
            f"decoding and checking its {event_count} events on one core, against zstd and a copy "
            f"of the columns alone; CPU time, median of {ROUNDS}"
        ),
        ours=f"{our_rate:.1f} M events/s",
        theirs=f"{their_rate:.1f} M events/s",
    )


def measure_size(name: str, trace_bytes: int, capture_bytes: int) -> None:
    """A trace beside its capture, both as they are shipped: at zstd level 19."""
    record(
        f"size {name}",
        ratio=trace_bytes / capture_bytes,
        what="the trace file against the same capture's .ptt.zst",
        ours=f"{trace_bytes} bytes",
        theirs=f"{capture_bytes} bytes",
    )


def cpu_seconds(action: Callable[[], object]) -> float:
    """The median CPU time of an action; the first times, which find no memory yet, do not count."""
    times = []
    for _ in range(WARM_UP + ROUNDS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return statistics.median(times[WARM_UP:])


if __name__ == "__main__":
    main()
