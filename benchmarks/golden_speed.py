"""golden_vs_kernel: the simulator against what the real kernel code took for the same operations.

``python benchmarks/golden_speed.py [FOLDER…]`` looks for the inputs in the folders (by default
``tests/golden`` and ``demo/traces``) and skips those it does not find, by name.

The recorded figures are of another machine (an Intel Xeon, kernel code compiled with gcc -O2, one
thread): the one ratio here that is not measured side by side. Method, the same for both: all
operations in memory, execution only (no output, no digest), memory touched beforehand, from the
operation after the last ``boot`` on, processor time; variant rel34; captures at KVM's default page
limit.
"""

import contextlib
import io
import math
import platform
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from kit.runs import MILLION, RUNS, Replay, after_boot, lowered
from report import record

from refault.catalogue import Parameters, variant_from_golden_name
from refault.engines.shadow.state import machine, words
from refault.errors import ReplayRefused
from refault.replay.arrays import longer
from refault.replay.budget import unbounded
from refault.trace import SUFFIX, TraceReader
from refault.trace.importers.ptt import import_ptt
from refault.trace.importers.vectors import import_vector

ROOT = Path(__file__).resolve().parents[1]
OPERATIONS = ".ops.jsonl.zst"
PTT = ".ptt.zst"

#: Millions of operations a second of the real kernel code; of captures also their memory in MiB.
VECTORS = {
    "g04_1cpu_200k": 8.81,
    "g05_4cpu_200k_nr128": 7.64,
    "g09_4cpu_bypass_100k_nr200": 8.36,
    "g10_fork_heavy_100k": 10.17,
    "g19_1cpu_100k_nr64": 7.50,
    "m03_pae_4cpu_nr96_host_40k": 8.97,
    "m08_32bit_2cpu_fork_40k": 11.51,
    "m15_switch_split_3cpu_40k": 6.65,
}
CAPTURES = {
    "linux61-workload-1cpu": (32.6, 256),
    "linux61-boot-1cpu": (26.3, 256),
    "linux61-gcc-2cpu-pti": (25.6, 512),
}


def find(name: str, folders: list[Path]) -> Path | None:
    """The input of that name in the folders or below."""
    for folder in folders:
        for suffix in (OPERATIONS, SUFFIX, PTT):
            for path in sorted(folder.rglob(name + suffix)):
                return path
    return None


@contextlib.contextmanager
def opened(path: Path, ram_mib: int) -> Iterator[TraceReader]:
    """The input as a trace."""
    if path.suffix == SUFFIX:
        with TraceReader(path) as reader:
            yield reader
        return
    converted = io.BytesIO()
    if path.name.endswith(PTT):
        import_ptt(path, converted, ram_mib=ram_mib, level=1)
    else:
        import_vector(path, converted, level=1)
    converted.seek(0)
    with TraceReader(converted) as reader:
        yield reader


def with_room_of(m: machine.Machine, other: machine.Machine) -> machine.Machine:
    """A copy with at least as much room as ``other``, every page of it touched."""
    while len(m.page) < len(other.page):
        m = grown(m, words.PAGE_FREE_COUNT)
    while len(m.link) < len(other.link):
        m = grown(m, words.LINK_FREE_COUNT)
    mem = longer(m.mem, max(len(m.mem), len(other.mem)), unbounded, "")
    return machine.Machine(*(array.copy() for array in m._replace(mem=mem)))


def grown(m: machine.Machine, free_count: int) -> machine.Machine:
    """The same host with more of what the word ``free_count`` counts: as if none were left."""
    free, m.vm[free_count] = m.vm[free_count], 0
    m = machine.reserve(m)
    m.vm[free_count] += free
    return m


def measure(path: Path, ram_mib: int) -> float:
    """Millions of operations a second, the median of the runs."""
    with opened(path, ram_mib) as trace:
        header = trace.header
        ops = lowered(header, trace.blocks())
    bypass = 0 if header.content == "capture" else None
    variant = variant_from_golden_name("rel34", Parameters(bypass=bypass))
    first = after_boot(ops)
    whole = Replay(variant, header, ops, first)
    whole.rest_without_findings()
    seconds = []
    for _ in range(RUNS):
        run = Replay(variant, header, ops, first)
        # As the real code had its tables: of full size, and touched beforehand.
        run.host.machine = with_room_of(run.host.machine, whole.host.machine)
        seconds.append(run.rest_without_findings())
    return (len(ops.kind) - first) / statistics.median(seconds) / MILLION


def processor() -> str:
    """This machine's processor, as it names itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def main(arguments: list[str]) -> None:
    """Measure what there is."""
    folders = [Path(word) for word in arguments] or [ROOT / "tests/golden", ROOT / "demo/traces"]
    wanted = {name: (speed, 0) for name, speed in VECTORS.items()} | CAPTURES
    ours: dict[str, float] = {}
    for name, (speed, ram_mib) in wanted.items():
        path = find(name, folders)
        if path is None:
            print(f"{name}: skipped, not found")
            continue
        try:
            ours[name] = measure(path, ram_mib)
        except ReplayRefused as error:
            print(f"{name}: skipped, {error}")
            continue
        print(f"{name}: {ours[name]:.2f} M operations/s, real code {speed} ({path.name})")
    if not ours:
        print("golden_vs_kernel: nothing to measure; name a folder with the inputs")
        return
    theirs = {name: wanted[name][0] for name in ours}
    logs = [math.log(ours[name] / theirs[name]) for name in ours]
    record(
        "golden_vs_kernel",
        ratio=math.exp(statistics.fmean(logs)),
        what=f"simulator on {processor()} / real kernel code as recorded on an Intel Xeon, "
        f"geometric mean of {len(ours)} of {len(wanted)} inputs, M operations/s",
        ours=ours,
        theirs=theirs,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
