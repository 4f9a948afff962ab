"""One capture from beginning to end: find, build, run, describe, write.

::

    kernel, initrd, workload ──► QEMU with the plugin ──► records ──► NAME.rft.partial
                                                                          │ header now known
                                                                          ▼
                                                                   NAME.unverified.rft

The first file is written fast, while the guest runs; the second is the trace: its header says what
is known only at the end, and it is compressed as well as can be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from refault.capture.describing import header_of, provisional_header
from refault.capture.guest import Initramfs, build_initramfs
from refault.capture.kernels import Kernel, find_kernel, read_kernel
from refault.capture.leftovers import (
    PARTIAL,
    RECORDING,
    SCRATCH,
    Salvaged,
    claimed,
    salvage,
    sweep_scratch,
)
from refault.capture.qemu import Qemu, find_qemu
from refault.capture.recording import (
    ENDING_SIGNALS,
    Progress,
    Recording,
    record,
    signals_handled,
)
from refault.capture.request import Machine, Start
from refault.capture.workloads import FAILED_MARK, Workload, workload_named
from refault.errors import CaptureError, TraceError
from refault.trace import SUFFIX, TraceHeader, TraceReader, TraceSummary, TraceWriter

_FAST_LEVEL: Final = 1
#: Whole blocks are what can be read of a recording whose capture was killed.
_FAST_BLOCK_EVENTS: Final = 1 << 16
_MEMORY_SPARE_MIB: Final = 256
_DISK_SPARE_BYTES: Final = 64 << 20
_MEMINFO: Final = Path("/proc/meminfo")
UNVERIFIED: Final = ".unverified"


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for; what is empty or None is found or built.

    ``memory_mib`` 0 takes the workload's own, ``start`` "" its mark where there is one, ``name`` ""
    is made of the kernel's release and the workload.
    """

    name: str = ""
    out: Path = Path()
    workload: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    disk: Path | None = None
    busybox: Path | None = None
    append: str = ""
    vcpus: int = 1
    memory_mib: int = 0
    cpu: str = "qemu64"
    start: str = ""
    scale: int = 1
    timeout: float = 300.0
    level: int = 19
    slots: int = 1 << 14
    refresh: int = 0
    events_max: int = 0
    qemu: str = ""
    extra: tuple[str, ...] = ()

    @property
    def workload_name(self) -> str:
        """The workload, which a guest of one's own has none of unless told."""
        return self.workload or ("" if self.initrd or self.disk else "boot")


@dataclasses.dataclass(frozen=True, slots=True)
class Captured:
    """A trace that was recorded and is not yet verified: ``path`` ends in ``.unverified.rft``.

    ``good_path`` is where it belongs once it is.
    """

    path: Path
    good_path: Path
    summary: TraceSummary
    recording: Recording


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Everything a guest is made of."""

    qemu: Qemu
    machine: Machine
    kernel: Kernel | None
    initramfs: Initramfs | None
    workload: Workload | None


def capture(
    wanted: Wanted,
    *,
    progress: Callable[[Progress], None] | None = None,
    packing: Callable[[int, int], None] | None = None,
    salvaged: Callable[[Salvaged], None] | None = None,
) -> Captured:
    """Record a guest. ``packing`` is told how many of how many events the trace has by now.

    ``salvaged`` is told of each recording that a killed capture of the same name left.

    Raises:
        CaptureError: something is missing, or the guest did not do its part.
        KeyboardInterrupt: Ctrl-C or a request to end before anything was recorded, or a second one.
    """
    # A request to end (kill, a closed terminal) is a Ctrl-C: nothing stays behind.
    others = [number for number in ENDING_SIGNALS if number != signal.SIGINT]
    with signals_handled(others, _interrupt), _scratch() as scratch:
        prepared = prepare(wanted, scratch)
        name = wanted.name or _name_of(prepared)
        good = wanted.out / f"{name}{SUFFIX}"
        path = wanted.out / f"{name}{UNVERIFIED}{SUFFIX}"
        fast = wanted.out / f"{name}{RECORDING}"
        _check_room(prepared.machine, wanted.out)
        for each in salvage(wanted.out, name):
            if salvaged is not None:
                salvaged(each)
        try:
            recording = _record(wanted, prepared, fast, scratch, progress)
            _check_workload(prepared, recording)
            header = header_of(name, prepared, recording)
            recorded = _recorded(prepared, recording)
            with claimed(fast):
                try:
                    summary = _pack(fast, path, header, recorded, wanted.level, packing)
                except KeyboardInterrupt:  # of who will not wait for the best compression
                    summary = _pack(fast, path, header, recorded, _FAST_LEVEL, packing)
        except TraceError as error:
            if isinstance(error.__cause__, OSError):
                raise CaptureError(f"{error}; make room there, or choose another --out") from error
            raise
        finally:
            fast.unlink(missing_ok=True)
    return Captured(path, good, summary, recording)


def _name_of(prepared: Prepared) -> str:
    """A trace's name for want of one: guest, workload, vCPUs."""
    guest = f"linux-{prepared.kernel.release}" if prepared.kernel else "disk"
    if prepared.machine.disk:
        guest = prepared.machine.disk.stem
    words = (guest, prepared.workload.name if prepared.workload else "")
    kept = re.sub(r"[^A-Za-z0-9._+-]", "_", "-".join(filter(None, words)))
    return f"{kept}-{prepared.machine.vcpus}cpu"


def prepare(wanted: Wanted, scratch: Path) -> Prepared:
    """Find or build all parts; nothing runs yet but QEMU's answer to a question.

    Raises:
        CaptureError: something is missing or contradicts.
    """
    _check_wanted(wanted)
    workload = workload_named(wanted.workload_name) if wanted.workload_name else None
    kernel = None
    if not wanted.disk or wanted.kernel:
        kernel = read_kernel(wanted.kernel or find_kernel())
    qemu = find_qemu(wanted.qemu, wanted.extra)
    initramfs = None
    if workload and kernel:
        initramfs = build_initramfs(
            scratch / "initramfs", workload, bits=kernel.bits, scale=wanted.scale,
            busybox=wanted.busybox,
        )  # fmt: skip
    is_marked = workload is not None and workload.name != "boot"
    start: Start = "boot" if wanted.start == "boot" or not (is_marked or wanted.start) else "mark"
    machine = Machine(
        kernel=kernel.path if kernel else None,
        initrd=initramfs.path if initramfs else wanted.initrd,
        disk=wanted.disk,
        append=wanted.append,
        vcpus=wanted.vcpus,
        memory_mib=wanted.memory_mib or (workload.memory_mib if workload else 256),
        cpu=wanted.cpu,
        start=start,
        slots=wanted.slots,
        refresh=wanted.refresh,
        events_max=wanted.events_max,
        swap=_swap_disk(scratch, workload.swap_mib) if workload and workload.swap_mib else None,
        extra=wanted.extra,
    )
    return Prepared(qemu, machine, kernel, initramfs, workload)


def _check_wanted(wanted: Wanted) -> None:
    if wanted.workload and (wanted.initrd or wanted.disk):
        raise CaptureError(
            "--workload is for the guest that this command builds; with --initrd or --disk the "
            "guest does what is in them"
        )
    for option, path in (("--initrd", wanted.initrd), ("--disk", wanted.disk)):
        if path is not None:
            try:
                path.open("rb").close()
            except OSError as error:
                raise CaptureError(f"{option} {path} cannot be read: {error.strerror}") from error
    if wanted.start not in {"", "boot", "mark"}:
        raise CaptureError(f"--start {wanted.start}: boot or mark")
    if wanted.initrd and not wanted.kernel:
        raise CaptureError("--initrd needs the --kernel that it belongs to")


def _swap_disk(scratch: Path, mib: int) -> Path:
    path = scratch / "swap"
    with path.open("wb") as file:
        file.truncate(mib << 20)
    return path


def _record(
    wanted: Wanted,
    prepared: Prepared,
    fast: Path,
    scratch: Path,
    progress: Callable[[Progress], None] | None,
) -> Recording:
    header = provisional_header(fast.name, prepared)
    partial = fast.with_name(fast.name + PARTIAL)
    with (
        TraceWriter(fast, header, level=_FAST_LEVEL, block_events=_FAST_BLOCK_EVENTS) as writer,
        claimed(partial),
    ):
        recording = record(
            prepared.qemu, prepared.machine, writer, scratch=scratch, timeout=wanted.timeout,
            progress=progress,
        )  # fmt: skip
        writer.close(recording.stream.recorded or {})
    return recording


def _check_workload(prepared: Prepared, recording: Recording) -> None:
    """Refuse a workload that failed: the guest is not what the trace would say it is."""
    if prepared.workload is not None and FAILED_MARK in recording.stream.marks:
        raise CaptureError(
            f"the workload {prepared.workload.name} failed in the guest, which said: "
            + recording.console.strip()[-600:]
        )


def _recorded(prepared: Prepared, recording: Recording) -> dict[str, int]:
    """What the plugin counted, for the closing index.

    With one vCPU every stored value that QEMU tells must be the one in memory. With several, each
    in a thread of its own, QEMU tells the operand of an atomic instruction, and the value is taken
    from memory: that many stores were so.
    """
    unlike = recording.report.get("unlike_memory")
    counted = {"events": recording.stream.event_count, **(recording.stream.recorded or {})}
    if unlike is not None:
        is_exact = prepared.machine.vcpus == 1
        counted["unexplained_stores" if is_exact else "stores_read_from_memory"] = unlike
    return counted


def _pack(
    fast: Path,
    path: Path,
    header: TraceHeader,
    recorded: dict[str, int],
    level: int,
    packing: Callable[[int, int], None] | None,
) -> TraceSummary:
    with TraceReader(fast) as reader, TraceWriter(path, header, level=level) as writer:
        total = recorded["events"]
        for block in reader.blocks():
            writer.append_block(block)
            if packing is not None:
                packing(block.first_event_index + block.event_count, total)
        return writer.close(recorded)


def _check_room(machine: Machine, out: Path) -> None:
    """Refuse a guest that this machine's memory or disk has no room for.

    Raises:
        CaptureError: says how much there is.
    """
    available = _available_mib()
    if available is not None and machine.memory_mib + _MEMORY_SPARE_MIB > available:
        raise CaptureError(
            f"the guest's {machine.memory_mib} MiB and {_MEMORY_SPARE_MIB} MiB for the recording "
            f"do not fit into the {available} MiB of memory that are free; give less with --memory"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
    except OSError as error:
        raise CaptureError(f"--out {out} cannot be used: {error.strerror}") from error
    if free < _DISK_SPARE_BYTES:
        raise CaptureError(
            f"{out} has {free >> 20} MiB left and a trace needs at least "
            f"{_DISK_SPARE_BYTES >> 20}; choose another --out"
        )
    if not os.access(out, os.W_OK):
        raise CaptureError(f"--out {out} cannot be written; choose another folder")


def _available_mib() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) >> 10
    except (OSError, ValueError, IndexError):
        return None
    return None


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for what a guest is made of; gone afterwards, as are those of killed captures."""
    try:
        sweep_scratch()
        folder = tempfile.TemporaryDirectory(prefix=SCRATCH)
    except OSError as error:
        raise CaptureError(
            f"no temporary folder: {error.strerror or error}; set TMPDIR to one with room"
        ) from error
    with folder as name, claimed(Path(name)):
        yield Path(name)
