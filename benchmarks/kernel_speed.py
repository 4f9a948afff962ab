"""The model against a real kernel built in the same run, and what the engine around it costs.

``python benchmarks/kernel_speed.py [TREE…]`` takes trees, tarballs or packs (by default those that
``make trees`` keeps in ``.cache/trees``). Figures, each side by side on the same rows in memory,
processor time, execution only, from a fresh host:

=====================  ==================================================================
model_vs_kernel        the model's time (variant rel34) against the kernel's, captures
model_vs_kernel_faults the same, vectors that fault often
engine_vs_driver       the engine, its two processes together, against the same tree's code
                       under ``kit/kernel_driver.c``: one process that only walks and compares
sanitized_vs_plain     the program with AddressSanitizer against the one without
cold_build             seconds of processor time to build a kernel from nothing
patch_to_counter       seconds from a patch to the counters of the workload capture
=====================  ==================================================================
"""

import io
import math
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from kit.runs import MILLION, RUNS, Replay, after_boot, lowered
from report import record

from refault.catalogue import KERNEL, Parameters, PatchSet, Variant, variant_from_golden_name
from refault.engines.base import Watch
from refault.engines.kernel.host import Host
from refault.errors import ReplayRefused
from refault.linux import build
from refault.linux.build import Options, build_series
from refault.linux.patches import Patch
from refault.linux.store import Build, Store
from refault.linux.tree import Tree, opened
from refault.linux.units import RUNTIME
from refault.linux.variants import resolve_kernel
from refault.replay import operations as op
from refault.replay.budget import Budget
from refault.replay.lowering.rows import ROWS
from refault.replay.session import replay, warm_up
from refault.trace import SUFFIX, TraceHeader, TraceReader
from refault.trace.importers.vectors import import_vector

ROOT = Path(__file__).resolve().parents[1]
WORKLOAD = ROOT / "demo/traces/linux61-workload-1cpu.rft"
CAPTURES = (ROOT / "demo/traces/linux61-boot-1cpu.rft", WORKLOAD)
#: Random guests that fault on a third of their operations.
VECTORS = (
    "g07_2cpu_bigguest_smallhost_50k",
    "g11_release_alias_50k",
    "g16_pge_30k",
    "g21_4cpu_30k_nr80_host",
)
MMU = "arch/x86/kvm/mmu/mmu.c"


def read(path: Path) -> tuple[TraceHeader, op.Operations]:
    """A trace's header and all of its operations."""
    source: Path | io.BytesIO = path
    if path.suffix != SUFFIX:
        source = io.BytesIO()
        import_vector(path, source, level=1)
        source.seek(0)
    with TraceReader(source) as trace:
        return trace.header, lowered(trace.header, trace.blocks())


def vectors() -> list[Path]:
    """The fault-heavy vectors that are here."""
    return [path for name in VECTORS for path in (ROOT / "tests/golden").rglob(f"{name}.ops*")]


class KernelRun:
    """A kernel with the operations up to a row executed, ready to execute the rest."""

    def __init__(self, variant: Variant, header: TraceHeader, ops: op.Operations) -> None:
        self.host = Host(variant, header, Budget(), Watch())
        if header.content == "capture":
            self.host.begin()
        self.first = after_boot(ops)
        self._block = op.empty(ROWS, interpreted=False)
        self._execute(ops, 0, self.first)
        self._ops = ops

    def _execute(self, ops: op.Operations, start: int, stop: int) -> tuple[float, float]:
        """Seconds of processor time: the program's, and everything else's."""
        # The clock of another process's processor time (clock_getcpuclockid(3)).
        clock = (~self.host.program.pid << 3) | 2
        theirs = ours = 0.0
        for at in range(start, stop, ROWS):
            count = min(ROWS, stop - at)
            # In a block that is used again and again: where lowering leaves them, and how warm.
            for column, whole in zip(self._block, ops, strict=True):
                column[:count] = whole[at : at + count]
            begun = time.clock_gettime(clock), time.process_time()
            self.host.execute(self._block, count)
            ours += time.process_time() - begun[1]
            theirs += time.clock_gettime(clock) - begun[0]
        return theirs, ours

    def rest(self) -> tuple[float, float]:
        """Execute the rest; seconds of processor time: the program's, and everything else's."""
        return self._execute(self._ops, self.first, len(self._ops.kind))


def compare(path: Path, kernel: Variant) -> tuple[float, float]:
    """Millions of operations a second of the model and of the kernel, taking turns."""
    header, ops = read(path)
    bypass = 0 if header.content == "capture" else None
    model = variant_from_golden_name("rel34", Parameters(bypass=bypass))
    seconds = []
    for _ in range(RUNS):
        ours = Replay(model, header, ops, after_boot(ops)).rest_without_findings()
        theirs, _ = KernelRun(kernel, header, ops).rest()
        seconds.append((ours, theirs))
    count = len(ops.kind) - after_boot(ops)
    medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
    return count / medians[0] / MILLION, count / medians[1] / MILLION


def figure(name: str, paths: list[Path], kernel: Variant) -> None:
    """Record the geometric mean of the model's speed over the kernel's."""
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for path in paths:
        try:
            ours[path.stem], theirs[path.stem] = compare(path, kernel)
        except ReplayRefused as error:
            print(f"{path.stem}: skipped, {error}")
            continue
        print(f"{path.stem}: model {ours[path.stem]:.1f}, kernel {theirs[path.stem]:.1f} M/s")
    if ours:
        logs = [math.log(ours[each] / theirs[each]) for each in ours]
        what = f"model / {kernel.name}, geometric mean of {len(ours)}, M operations/s"
        mean = math.exp(statistics.fmean(logs))
        record(name, ratio=mean, what=what, ours=ours, theirs=theirs)


class Driver:
    """A tree's code under the least of programs, and the rows of a trace in a file."""

    def __init__(self, folder: Path, tree: Tree, store: Store, path: Path) -> None:
        header, ops = read(path)
        self._program = store.program(_driver_build(folder, tree, store).digest)
        self._rows = folder / "rows"
        begin = op.opening(header, interpreted=False)
        with self._rows.open("wb") as file:
            for name in ("a", "b", "want", "kind", "vcpu", "user", "aux", "cls"):
                file.write(getattr(begin, name).tobytes() + getattr(ops, name).tobytes())
        self._first = len(begin.kind) + after_boot(ops)

    def rest(self) -> float:
        """Execute the rows after the boot; seconds of processor time."""
        command = [str(self._program), str(self._rows), str(self._first), "0"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, _, others = done.stdout.split()
        if others != "0":
            raise AssertionError(f"{others} accesses were not as the real guest saw them")
        return float(seconds)


def _driver_build(folder: Path, tree: Tree, store: Store) -> Build:
    """The tree built as always, but for the program around it."""
    runtime = folder / "runtime"
    shutil.copytree(RUNTIME, runtime)
    (runtime / "program.c").rename(runtime / "program_itself.c")
    driver = (ROOT / "benchmarks/kit/kernel_driver.c").read_text(encoding="utf-8")
    text = driver.replace('#include "program.c"', '#include "program_itself.c"')
    (runtime / "program.c").write_text(text, encoding="utf-8")
    # No TLB that watches: with an empty one, nothing else of it has anything to do.
    watch = (runtime / "tlb.h").read_text(encoding="utf-8")
    granted = watch.index("{", watch.index("static inline void rf_tlb_granted("))
    text = f"{watch[:granted]}{{\n\treturn;\n{watch[granted + 1 :]}"
    (runtime / "tlb.h").write_text(text, encoding="utf-8")
    files = sorted(runtime.glob("*.[ch]"))
    with mock.patch.object(build, "runtime_files", return_value=files):
        (found,) = build_series(tree, [], store, Options())
    return found


def engine_cost(tree: Tree, store: Store, plain: Variant, sanitized: Variant) -> None:
    """Record what the engine costs around the code, and what the sanitizer does."""
    release = tree.release.rpartition(".")[0]
    header, ops = read(WORKLOAD)
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(Path(folder), tree, store, WORKLOAD)
        runs = [
            (
                driver.rest(),
                *KernelRun(plain, header, ops).rest(),
                KernelRun(sanitized, header, ops).rest()[0],
            )
            for _ in range(RUNS)
        ]
    bare, alone, around, checked = (statistics.median(each) for each in zip(*runs, strict=True))
    print(f"driver {bare:.3f} s, program {alone:.3f} s, its reader {around:.3f} s")
    what = f"the engine / a bare driver, Linux {release}, s of processor time"
    record(
        f"engine_vs_driver_{release}",
        ratio=bare / (alone + around),
        what=what,
        ours=alone + around,
        theirs=bare,
    )
    what = f"with AddressSanitizer / without, Linux {release}, speed"
    record(
        f"sanitized_vs_plain_{release}",
        ratio=alone / checked,
        what=what,
        ours=1 / checked,
        theirs=1 / alone,
    )


def children() -> float:
    """Seconds of processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def patch_on(tree: Tree) -> Patch:
    """A patch that changes a number in mmu.c."""
    text = (tree.root / MMU).read_text(encoding="utf-8")
    edited = re.sub(r"(write_flooding_count\)? >= )3\b", r"\g<1>8", text)
    with tempfile.TemporaryDirectory() as folder:
        for side, content in (("a", text), ("b", edited)):
            place = Path(folder) / side / MMU
            place.parent.mkdir(parents=True)
            place.write_text(content, encoding="utf-8")
        done = subprocess.run(
            ["git", "diff", "--no-index", "--no-prefix", "a", "b"],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    return Patch("a number", done.stdout, (MMU,))


def measure(tree: Tree, store: Store) -> None:
    """Every figure of one tree."""
    release = tree.release.rpartition(".")[0]
    begun, used = time.monotonic(), children()
    (base,) = build_series(tree, [], store, Options())
    cold, wall = children() - used, time.monotonic() - begun
    what = f"s of processor time to build Linux {release} / 60 s; {wall:.0f} s of wall clock"
    record(f"cold_build_{release}", ratio=cold / 60, what=what, ours=cold, theirs=60)

    begun = time.monotonic()
    _, patched = build_series(tree, [patch_on(tree)], store, Options())
    counters = replay(WORKLOAD, [_variant(patched, store)])[0].counters
    wall = time.monotonic() - begun
    what = f"s from a patch to {len(counters)} counters, Linux {release} / 10 s"
    record(f"patch_to_counter_{release}", ratio=wall / 10, what=what, ours=wall, theirs=10)

    (sanitized,) = build_series(tree, [], store, Options(sanitize=True))
    plain = _variant(base, store)
    figure(f"model_vs_kernel_{release}", list(CAPTURES), plain)
    figure(f"model_vs_kernel_faults_{release}", vectors(), plain)
    engine_cost(tree, store, plain, _variant(sanitized, store))


def _variant(built: Build, store: Store) -> Variant:
    return resolve_kernel(PatchSet(f"{KERNEL}{built.digest}"), store)


def main(arguments: list[str]) -> None:
    """Measure each tree in a store of its own."""
    trees = [Path(word) for word in arguments] or sorted((ROOT / ".cache/trees").glob("*.tar.xz"))
    if not trees:
        print("kernel_speed: nothing to measure; name a tree, or: make trees")
    warm_up(("shadow", "kernel"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REFAULT_KERNELS"] = folder
        store = Store(Path(folder))
        for source in trees:
            with opened(source, store.root / "trees") as tree:
                measure(tree, store)


if __name__ == "__main__":
    main(sys.argv[1:])
