"""What one capture is asked for, and QEMU's command line for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final, Literal

from refault.capture.qemu import Qemu, escaped
from refault.errors import CaptureError
from refault.trace import MemorySlot

VCPUS_MAX: Final = 4
MEMORY_MIB_MIN: Final = 32
MEMORY_MIB_MAX: Final = 64 << 10
SLOTS: Final = 1 << 14
_MIB: Final = 1 << 20
_PAGE_BYTES: Final = 4096
_FOUR_GIB: Final = 4 << 30
#: QEMU's "pc" machine puts this much below 4 GiB once there is more than `_UNSPLIT`.
_LOW_BYTES: Final = 3 << 30
_UNSPLIT: Final = 0xE000_0000
_QCOW2: Final = b"QFI\xfb"

Start = Literal["boot", "mark"]


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The guest as QEMU runs it. ``extra`` are QEMU's own options, ahead of all others.

    ``refresh`` empties the filter every so many guest instructions, 0 never; ``events_max`` ends
    the recording, 0 never.
    """

    kernel: Path | None
    initrd: Path | None
    disk: Path | None
    append: str = ""
    vcpus: int = 1
    memory_mib: int = 256
    cpu: str = "qemu64"
    start: Start = "mark"
    slots: int = SLOTS
    refresh: int = 0
    events_max: int = 0
    swap: Path | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.vcpus <= VCPUS_MAX:
            raise CaptureError(f"--vcpus {self.vcpus}: a guest has 1 to {VCPUS_MAX}")
        if not MEMORY_MIB_MIN <= self.memory_mib <= MEMORY_MIB_MAX:
            raise CaptureError(
                f"--memory {self.memory_mib}: {MEMORY_MIB_MIN} to {MEMORY_MIB_MAX} MiB"
            )
        if self.slots < 1 or self.slots & (self.slots - 1):
            raise CaptureError(f"--filter-slots {self.slots}: it must be a power of two")

    @property
    def memory_bytes(self) -> int:
        """All of the guest's memory."""
        return self.memory_mib * _MIB

    @property
    def low_bytes(self) -> int:
        """What of it lies below 4 GiB; the rest begins there."""
        return _LOW_BYTES if self.memory_bytes >= _UNSPLIT else self.memory_bytes

    def memory_slots(self) -> tuple[MemorySlot, ...]:
        """The guest's memory as a trace's header describes it."""
        low = MemorySlot(slot=0, base_gfn=0, page_count=self.low_bytes // _PAGE_BYTES)
        rest = (self.memory_bytes - self.low_bytes) // _PAGE_BYTES
        high = MemorySlot(slot=1, base_gfn=_FOUR_GIB // _PAGE_BYTES, page_count=rest)
        return (low, high) if rest else (low,)

    @property
    def kernel_arguments(self) -> str:
        """The kernel's command line."""
        return f"console=ttyS0 nokaslr quiet panic=-1 {self.append}".strip()


def command_line(qemu: Qemu, machine: Machine, *, out: int, report: int) -> list[str]:
    """QEMU's arguments; records go to file descriptor ``out``, the closing report to ``report``.

    Guest memory is a memfd, which is bound by no file system's size and leaves nothing behind.
    """
    thread = "multi" if machine.vcpus > 1 else "single"
    size = machine.memory_bytes
    plugin = (
        f"{escaped(str(qemu.plugin))},out={out},report={report},ram={size},"
        f"low={machine.low_bytes},start={machine.start},slots={machine.slots},"
        f"refresh={machine.refresh}"
    )
    if machine.events_max:
        plugin += f",max={machine.events_max}"
    command = [
        *(qemu.path, *machine.extra),
        *("-accel", f"tcg,thread={thread}", "-cpu", machine.cpu, "-smp", str(machine.vcpus)),
        *("-object", f"memory-backend-memfd,id=ram,size={size},share=on"),
        *("-machine", "pc,memory-backend=ram", "-m", f"{machine.memory_mib}M"),
        *("-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
    ]
    if machine.kernel:
        command += ["-kernel", str(machine.kernel), "-append", machine.kernel_arguments]
    if machine.initrd:
        command += ["-initrd", str(machine.initrd)]
    if machine.disk:
        kind = disk_format(machine.disk)
        path = escaped(str(machine.disk))
        command += ["-drive", f"file={path},format={kind},if=virtio,snapshot=on"]
    if machine.swap:
        path = escaped(str(machine.swap))
        command += ["-drive", f"file={path},format=raw,if=none,id=swap"]
        command += ["-device", "nvme,drive=swap,serial=swap"]
    return [*command, "-plugin", plugin]


def disk_format(path: Path) -> str:
    """QEMU's name for a disk image's format, by its first bytes.

    Raises:
        CaptureError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.read(len(_QCOW2))
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}; name a disk image") from error
    return "qcow2" if first == _QCOW2 else "raw"
