"""Page faults of a log, each with what KVM's walk of the guest's tables found.

::

    kvm_page_fault: address A              a fault begins
    kvm_mmu_pagetable_walk: addr A         its walk, unless it is of another address (emulation)
    kvm_mmu_paging_element: pte level …    ends in a frame, or
    kvm_mmu_walker_error                   the guest gets the fault
    kvm_entry, kvm_exit, the next fault    the fault is over
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from refault.trace.contents import PAGE_BYTES, GuestMode
from refault.trace.hostlog.events import HostEvent

_ENDS: Final = frozenset({"kvm_entry", "kvm_exit", "kvm_cr", "kvm_msr"})
_PRESENT: Final = 1
_LARGE: Final = 1 << 7
_FRAME: Final = 0xF_FFFF_FFFF_F000
_MODES: Final[dict[int, GuestMode]] = {2: "32bit", 3: "pae", 4: "long", 5: "long"}
_VECTORS: Final = frozenset({"#PF", 14})


@dataclasses.dataclass(slots=True)
class Fault:
    """One fault that reached the host. ``gpa`` is None where no walk ended in a frame."""

    vcpu: int
    address: int
    error_code: int
    is_guests: bool = False
    gpa: int | None = None
    root_level: int = 0
    is_walked: bool = False


class Faults:
    """Puts the events of each vCPU together; ``modes`` are the paging modes its walks were of.

    With ``begin_at_walks`` each walk is a fault: for logs without ``kvm_page_fault``.
    """

    def __init__(self, *, begin_at_walks: bool = False) -> None:
        self.modes: set[GuestMode] = set()
        self._begin_at_walks = begin_at_walks
        self._open: dict[int, Fault] = {}
        self._is_root_next = False

    def note_root(self, event: HostEvent) -> None:
        """Note the paging mode that the first element after a walk's beginning shows."""
        if event.name == "kvm_mmu_pagetable_walk":
            self._is_root_next = True
        elif event.name == "kvm_mmu_paging_element":
            level = event.fields.get("level")
            if self._is_root_next and isinstance(level, int) and level in _MODES:
                self.modes.add(_MODES[level])
            self._is_root_next = False

    def take(self, event: HostEvent, vcpu: int) -> Iterator[Fault]:
        """The fault that this event ends, if it ends one."""
        fields = event.fields
        fault = self._open.get(vcpu)
        if event.name == "kvm_page_fault" or (
            self._begin_at_walks and event.name == "kvm_mmu_pagetable_walk"
        ):
            if fault is not None:
                yield fault
            begun = Fault(vcpu, _integer(fields, "address"), _integer(fields, "error_code"))
            begun.is_walked = self._begin_at_walks
            self._open[vcpu] = begun
        elif fault is None:
            return
        elif event.name in _ENDS:
            yield self._open.pop(vcpu)
        else:
            _refine(fault, event)

    def finish(self) -> Iterator[Fault]:
        """The faults that were still open where the log ends."""
        yield from self._open.values()
        self._open.clear()


def _refine(fault: Fault, event: HostEvent) -> None:
    """Take what an event within the fault says of it."""
    fields = event.fields
    if event.name == "kvm_mmu_pagetable_walk":
        fault.is_walked = _integer(fields, "address") == fault.address
        if fault.is_walked:
            fault.root_level, fault.gpa = 0, None
    elif event.name == "kvm_mmu_paging_element" and fault.is_walked:
        level = _integer(fields, "level")
        fault.root_level = fault.root_level or level
        fault.gpa = _frame(fault, _integer(fields, "pte"), level)
    elif event.name == "kvm_mmu_walker_error" and fault.is_walked:
        fault.is_guests = True
        fault.error_code = _integer(fields, "error_code")
    elif event.name == "kvm_inj_exception" and not fault.is_walked:
        fault.is_guests |= bool({fields.get("vector"), fields.get("exception")} & _VECTORS)


def _frame(fault: Fault, entry: int, level: int) -> int | None:
    """The guest-physical address that an entry ends the walk at; None where it goes on or ends."""
    if not entry & _PRESENT or not 1 <= level <= 3:
        return None
    if level > 1 and not entry & _LARGE:
        return None
    is_32bit = fault.root_level == 2
    index_bits = 10 if is_32bit else 9
    size = PAGE_BYTES << index_bits * (level - 1)
    return (entry & _FRAME & -size) | (fault.address & (size - 1))


def _integer(fields: object, key: str) -> int:
    value = fields.get(key, 0) if isinstance(fields, dict) else 0
    return value if isinstance(value, int) else 0
