"""compile_from_nothing, warm_start and memory: what it takes before and beside the simulation."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kit import generator
from kit.runs import MILLION, RUNS
from report import record

from refault.trace import TraceWriter

COMPILE_SECONDS, WARM_SECONDS, MEMORY_MIB = 45.0, 1.5, 200.0

_START = """
import time
begun = time.perf_counter(), time.process_time()
from refault.replay.session import warm_up
warm_up()
print(time.process_time() - begun[1], time.perf_counter() - begun[0])
"""
# Not getrusage: its peak outlives an exec, and is that of the parent that made the trace.
_REPLAY = """
import sys
from pathlib import Path
from refault.catalogue import PatchSet, resolve
from refault.engines.shadow.host import Host
from refault.replay.session import replay
host = []
create = Host.__init__
def remember(self, *given, **named):
    create(self, *given, **named)
    host.append(self)
Host.__init__ = remember
replay(Path(sys.argv[1]), [resolve(PatchSet())])
tables = sum(words.nbytes for words in host[0].machine)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) / 1024, tables / 2**20)
"""
EVENTS = 32 * MILLION


def _python(code: str, *arguments: str, cache: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "REFAULT_CACHE": cache},
        check=True,
        capture_output=True,
        text=True,
    )
    return [float(word) for word in done.stdout.split()]


def _memory(folder: Path, events: int, cache: str) -> tuple[float, float]:
    capture = generator.mixed(events)
    path = folder / f"{events}.rft"
    with TraceWriter(path, capture.header, level=1) as writer:
        for block in capture.blocks():
            writer.append_block(block)
    peak, tables = _python(_REPLAY, str(path), cache=cache)
    return peak, tables


def main() -> None:
    """Start processes of our own, first with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        compiled, _ = _python(_START, cache=folder)
        warm = sorted(_python(_START, cache=folder)[0] for _ in range(RUNS))[RUNS // 2]
        short, _ = _memory(Path(folder), EVENTS // 8, folder)
        peak, tables = _memory(Path(folder), EVENTS, folder)
    seconds = "seconds of processor time"
    record(
        "compile_from_nothing",
        ratio=compiled / COMPILE_SECONDS,
        what=f"compiling every kernel / the goal, {seconds}; at most 1",
        ours=compiled,
        theirs=COMPILE_SECONDS,
    )
    record(
        "warm_start",
        ratio=warm / WARM_SECONDS,
        what=f"import and kernels from the cache / the goal, {seconds}; at most 1",
        ours=warm,
        theirs=WARM_SECONDS,
    )
    record(
        "memory",
        ratio=(peak - tables) / MEMORY_MIB,
        what=f"resident memory less simulated tables, {EVENTS // MILLION} M events / the goal, MiB;"
        " at most 1",
        ours={"peak": peak, "tables": tables, "peak of an eighth of the trace": short},
        theirs=MEMORY_MIB,
    )


if __name__ == "__main__":
    main()
