"""The header of a captured trace: what was kept, what was lost, and where it comes from."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING, Final

from refault.capture.kernels import file_sha256
from refault.capture.workloads import MARKS
from refault.printable import printable
from refault.trace import TraceHeader
from refault.trace.importers import ptt

if TYPE_CHECKING:
    from refault.capture.capturing import Prepared
    from refault.capture.recording import Recording

TOOL: Final = "refault capture 1"
TIME_UNIT: Final = "guest instructions of all vCPUs together, exact to one translation block"
EPOCH: Final = (
    "an access is recorded once until the vCPU loads CR0, CR3 or CR4, invalidates the page, a "
    "present entry that maps it changes, or another page takes its place in the filter"
)
_TEXT_MAX: Final = 4096
#: A guest may make 65,536 of them, and a header does not hold so many.
_MARKS_TOLD: Final = 256
_LOST: Final = (
    "it holds the first access to a page of each kind (load, store, fetch) in an epoch, no others",
    "it lacks implicit accesses: page walks, descriptor tables, the stack of an exception",
    "it lacks the accessed and dirty bits that the processor sets, and stores of devices",
)  # fmt: skip
_LOST_SMP: Final = "the order between vCPUs is that of the recording, not that of a memory bus"
_ENDED: Final = {
    "interrupted": "the recording was interrupted; the guest had not ended",
    "timeout": "the recording ended at its time limit; the guest had not ended",
    "limit": "the recording ended at its limit of events; the guest had not ended",
}


def provisional_header(name: str, prepared: Prepared) -> TraceHeader:
    """What is known before the guest runs, and all there is if the capture is killed."""
    machine = prepared.machine
    return TraceHeader(
        content="capture",
        name=name,
        guest_mode="long5",  # of all modes the one that may have every level
        vcpu_count=machine.vcpus,
        slots=machine.memory_slots(),
        capture_tool=TOOL,
        capture_filter={
            "slots": machine.slots,
            "refresh_instructions": machine.refresh,
            "epoch": EPOCH,
            "keeps": ptt.KEEPS,
            "loses": ptt.LOSES,
        },
        time_unit=TIME_UNIT,
        guest=_guest_of(prepared),
        origin="captured",
        losses=_losses_of(prepared),
        provenance=_provenance_of(prepared),
    )


def header_of(name: str, prepared: Prepared, recording: Recording) -> TraceHeader:
    """The header of the trace, once the recording has ended."""
    stream = recording.stream
    known = provisional_header(name, prepared)
    marks = sorted(stream.marks.items())[:_MARKS_TOLD]
    ended = (_ENDED[recording.ended],) if recording.ended in _ENDED else ()
    return dataclasses.replace(
        known,
        guest_mode=stream.modes.guest_mode,
        workload_marks={
            str(number): MARKS.get(str(number), "a mark of the guest's own") for number, _ in marks
        },
        losses=(*known.losses, *ended),
        provenance={
            **known.provenance,
            "paging_levels": ", ".join(sorted(stream.modes.levels)),
            "ended": recording.ended,
            **{f"mark_{number}": count for number, count in marks},
            **{f"plugin_{name}": count for name, count in recording.report.items()},
        },
    )


def _losses_of(prepared: Prepared) -> tuple[str, ...]:
    return (*_LOST, _LOST_SMP) if prepared.machine.vcpus > 1 else _LOST


def _guest_of(prepared: Prepared) -> dict[str, str]:
    machine = prepared.machine
    told = {
        "memory": f"{machine.memory_mib} MiB",
        "cpu": machine.cpu,
        "vcpus": str(machine.vcpus),
    }
    if prepared.kernel:
        told["kernel"] = f"Linux {prepared.kernel.release}, {prepared.kernel.bits} bits"
        told["command line"] = _short(machine.kernel_arguments)
    if machine.disk:
        told["disk"] = _short(machine.disk.name)
    if prepared.workload:
        told["workload"] = f"{prepared.workload.name}: {prepared.workload.title}"
    return told


def _provenance_of(prepared: Prepared) -> dict[str, str | int]:
    machine = prepared.machine
    told: dict[str, str | int] = {
        "qemu": _short(prepared.qemu.version),
        "plugin_api": prepared.qemu.api,
        "plugin_sha256": file_sha256(prepared.qemu.plugin),
        "start": machine.start,
        "qemu_options": _short(_options_of(prepared)),
    }
    if prepared.kernel:
        told["kernel_release"] = prepared.kernel.release
        told["kernel_sha256"] = prepared.kernel.sha256
        told["kernel_command_line"] = _short(machine.kernel_arguments)
    if machine.initrd:
        told["initrd_sha256"] = file_sha256(machine.initrd)
    if machine.disk:
        told["disk_name"] = _short(machine.disk.name)
    if prepared.workload:
        told["workload"] = prepared.workload.name
    return told


def _options_of(prepared: Prepared) -> str:
    """QEMU's options that shape the guest; no paths of this machine."""
    machine = prepared.machine
    thread = "multi" if machine.vcpus > 1 else "single"
    return shlex.join(
        [
            *("-accel", f"tcg,thread={thread}", "-cpu", machine.cpu, "-smp", str(machine.vcpus)),
            *("-m", f"{machine.memory_mib}M", "-machine", "pc"),
        ]
    )


def _short(text: str) -> str:
    return printable(text)[:_TEXT_MAX]
