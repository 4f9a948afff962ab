"""``refault capture``: a guest of one's own, recorded under QEMU and verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.progress import TaskID

from refault.cli.exits import ExitCode
from refault.cli.progress import progress_bars, status_line
from refault.cli.terminal import print_error, print_json
from refault.errors import CaptureError
from refault.printable import first_unprintable

if TYPE_CHECKING:
    from refault.capture import Captured, Progress, Salvaged
    from refault.verify import Verification

_MARKER_MODE = 0o755


_Workload = Annotated[
    str,
    typer.Option(
        "--workload",
        "-w",
        help="What the guest that this command builds does: boot, fork, exec, gcc, sqlite, "
        "python, pressure or many. Default: boot, and nothing with --initrd or --disk.",
    ),
]
_Kernel = Annotated[
    Path | None, typer.Option(help="A bzImage of x86, of 64 or 32 bits. Default: one of /boot.")
]
_Initrd = Annotated[Path | None, typer.Option(help="An initramfs of your own, for --kernel.")]
_Disk = Annotated[
    Path | None,
    typer.Option(help="A disk image, raw or qcow2, that the guest boots; it is not written."),
]
_Append = Annotated[str, typer.Option(help="More words for the kernel's command line.")]
_Busybox = Annotated[
    Path | None, typer.Option(help="A static busybox for the guest. Default: this machine's.")
]
_Vcpus = Annotated[int, typer.Option(help="How many vCPUs, 1 to 4.")]
_Memory = Annotated[
    int, typer.Option(help="Memory of the guest in MiB. Default: what the workload needs.")
]
_Cpu = Annotated[str, typer.Option(help="QEMU's CPU model and its features.")]
_Start = Annotated[
    str,
    typer.Option(
        help="Where the recording begins: boot, when paging is turned on, or mark, from mark 1 to "
        "mark 2. Default: mark for a workload other than boot, else boot."
    ),
]
_Scale = Annotated[int, typer.Option(help="How often the workload does its work.", min=1)]
_Timeout = Annotated[
    float, typer.Option(help="Seconds the guest has; what is recorded by then is kept.", min=0.1)
]
_MaxEvents = Annotated[
    int, typer.Option(help="End the recording after so many events; 0 is no limit.", min=0)
]
_FilterSlots = Annotated[
    int, typer.Option(help="Pages that a vCPU's filter remembers, a power of two.", min=1)
]
_Refresh = Annotated[
    int, typer.Option(help="Empty the filter every so many instructions; 0 is never.", min=0)
]
_Name = Annotated[str, typer.Option(help="Name of the trace. Default: after the guest.")]
_Out = Annotated[Path, typer.Option(help="Folder for the trace; created if missing.")]
_Level = Annotated[int, typer.Option(help="zstd level.", min=1, max=22)]
_Qemu = Annotated[str, typer.Option(help="The QEMU to use. Default: qemu-system-x86_64 on PATH.")]
_QemuOption = Annotated[
    list[str], typer.Option(help="An option for QEMU, ahead of its others; may be repeated.")
]
_Marker = Annotated[
    Path | None,
    typer.Option(help="Write the program that marks from inside a guest here, and do no more."),
]
_MarkerBits = Annotated[int, typer.Option(help="Of guests of 64 or 32 bits.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def capture(
    *,
    workload: _Workload = "",
    kernel: _Kernel = None,
    initrd: _Initrd = None,
    disk: _Disk = None,
    append: _Append = "",
    busybox: _Busybox = None,
    vcpus: _Vcpus = 1,
    memory: _Memory = 0,
    cpu: _Cpu = "qemu64",
    start: _Start = "",
    scale: _Scale = 1,
    timeout: _Timeout = 300.0,
    max_events: _MaxEvents = 0,
    filter_slots: _FilterSlots = 1 << 14,
    refresh: _Refresh = 0,
    name: _Name = "",
    out: _Out = Path(),
    level: _Level = 19,
    qemu: _Qemu = "",
    qemu_option: _QemuOption = [],  # noqa: B006 - Typer copies it
    marker: _Marker = None,
    marker_bits: _MarkerBits = 64,
    as_json: _AsJson = False,
) -> None:
    """Record what a guest does with its memory, and verify the trace against the guest.

    The guest runs under QEMU's emulation with a plugin that this command compiles: QEMU 9.2 or
    newer and a C compiler are needed, KVM is not. Without --initrd or --disk the guest is built of
    a kernel image and a static busybox. Ctrl-C ends the recording and keeps what there is.

    Example: refault capture --workload fork

    Example: refault capture --kernel bzImage --initrd initrd.img --start boot --timeout 60
    """
    if marker is not None:
        _write_marker(marker, marker_bits)
        return
    if first_unprintable(name) is not None or Path(name).name != name:
        raise CaptureError("--name: a name is printable and has no slash")
    from refault.capture import Wanted, judge
    from refault.capture import capture as run

    given: dict[str, Any] = {
        "name": name, "out": out, "workload": workload, "kernel": kernel, "initrd": initrd,
        "disk": disk, "busybox": busybox, "append": append, "vcpus": vcpus, "memory_mib": memory,
        "cpu": cpu, "start": start, "scale": scale, "timeout": timeout, "level": level,
        "slots": filter_slots, "refresh": refresh, "events_max": max_events, "qemu": qemu,
        "extra": tuple(word for option in qemu_option for word in option.split()),
    }  # fmt: skip
    wanted = Wanted(**given)
    salvaged: list[Salvaged] = []
    try:
        with _CaptureBars(enabled=not as_json) as bars:
            captured = run(
                wanted, progress=bars.running, packing=bars.packing, salvaged=salvaged.append
            )
            path, verified = judge(captured, progress=bars.verifying)
    finally:
        for each in salvaged:  # not amid the bars
            print_error(str(each))
    if as_json:
        print_json(_to_dict(captured, verified, path))
    else:
        _show(captured, verified, path)
    if not verified.is_good:
        print_error(f"{path} is no good trace: {verified.complaint}")
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _write_marker(path: Path, bits: int) -> None:
    from refault.capture import marker as marker_of

    if bits not in {32, 64}:
        raise CaptureError(f"--marker-bits {bits}: 64 or 32")
    try:
        path.write_bytes(marker_of(bits))
        path.chmod(_MARKER_MODE)
    except OSError as error:
        raise CaptureError(f"{path} cannot be written: {error.strerror}") from error
    print(f"{path}: in the guest, `{path.name} 1` begins a recording and `{path.name} 2` ends it")


class _CaptureBars:
    """A line while the guest runs, then a bar while its trace is compressed, then verified."""

    def __init__(self, *, enabled: bool) -> None:
        self._line = status_line(enabled=enabled)
        self._running = self._line.add_task("starting", total=None)
        self._bars = progress_bars(enabled=enabled)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.stop()
        if self._tasks:
            self._bars.stop()

    def running(self, now: Progress) -> None:
        """The guest runs."""
        self._line.update(self._running, description=_told(now))

    def packing(self, done: int, total: int) -> None:
        """So many of its events are compressed."""
        self._show("compressing", done, total)

    def verifying(self, done: int, total: int) -> None:
        """So many bytes are verified."""
        self._show("verifying", done, total)

    def _show(self, what: str, done: int, total: int) -> None:
        if not self._tasks:
            self._line.stop()
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total or None)
        self._bars.update(self._tasks[what], completed=done, total=total or None)


def _told(now: Progress) -> str:
    if not now.is_recording:
        return f"{now.seconds:.0f} s, not recording yet: {now.console[:50] or 'the guest boots'}"
    return (
        f"{now.seconds:.0f} s, {now.instructions / 1e6:,.0f} M instructions, "
        f"{now.events / 1e3:,.0f} k events, {now.bytes_read / 1e6:.0f} MB read, "
        f"{now.events / max(now.recording_seconds, 0.1) / 1e3:,.0f} k/s"
    )


def _to_dict(captured: Captured, verified: Verification, path: Path) -> dict[str, Any]:
    summary = captured.summary
    header = summary.header
    return {
        "trace": str(path),
        "digest": summary.digest,
        "size_bytes": summary.size_bytes,
        "event_count": summary.event_count,
        "instruction_count": summary.instruction_count,
        "events_by_kind": dict(summary.events_by_kind),
        "guest_mode": header.guest_mode,
        "vcpu_count": header.vcpu_count,
        "guest": dict(header.guest),
        "provenance": dict(header.provenance),
        "losses": list(header.losses),
        "ended": captured.recording.ended,
        "seconds": round(captured.recording.seconds, 3),
        "verification": verified.to_dict(),
    }


def _show(captured: Captured, verified: Verification, path: Path) -> None:
    summary = captured.summary
    print(
        f"{path}: {summary.event_count:,} events of {summary.instruction_count:,} instructions, "
        f"{summary.size_bytes:,} bytes ({summary.size_bytes / max(summary.event_count, 1):.2f} an "
        f"event), sha256 {summary.digest[:12]}"
    )
    if captured.recording.ended != "end":
        print(f"  {summary.header.losses[-1]}")
    print(f"  verified: {verified.agreed:,} of {verified.asked:,} witnesses agree")
    if verified.is_good:
        print(f"Next: refault replay {path} -v base -v p3")
