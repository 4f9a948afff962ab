"""Which paging modes the vCPUs of an operation vector run in."""

from __future__ import annotations

from typing import Final, cast

from refault.trace.contents import GuestMode

PG: Final = 1 << 31
PAE: Final = 1 << 5
LME: Final = 1 << 8
REGISTERS: Final = ("cr0", "cr3", "cr4", "efer")


class ModeTracker:
    """Follows register writes; a write that the processor would refuse counts as done."""

    def __init__(self) -> None:
        self._registers: dict[int, dict[str, int]] = {}
        self._modes: set[str] = set()

    @property
    def guest_mode(self) -> GuestMode:
        """The one mode all vCPUs were in, or ``mixed``; ``nonpaging`` where none booted."""
        modes = self._modes or {"nonpaging"}
        return cast("GuestMode", modes.pop() if len(modes) == 1 else "mixed")

    def follow(self, operation: str, vcpu: int, values: list[int]) -> None:
        """Takes one operation; all but those that write registers change nothing."""
        registers = self._registers.setdefault(vcpu, dict.fromkeys(REGISTERS, 0))
        if operation in ("boot", "sregs"):
            registers.update(zip(REGISTERS, values, strict=False))
        elif operation in REGISTERS:
            registers[operation] = values[0] if values else 0
        else:
            return
        if not registers["cr0"] & PG:
            self._modes.add("nonpaging")
        elif not registers["cr4"] & PAE:
            self._modes.add("32bit")
        else:
            self._modes.add("long" if registers["efer"] & LME else "pae")
