"""Logs of hosts with EPT or NPT on: the processor walks the guest's tables, KVM does not see them.

With either, ``kvm_page_fault`` has a guest-physical address and an exit qualification (Intel) or a
nested fault's code (AMD), and ``kvm_mmu_pagetable_walk`` fires for emulated instructions only. Such
a log cannot be told from one of shadow paging by its counts, so it is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from refault.errors import ImportFailed
from refault.trace.hostlog.events import PAGE_EVENTS, HostEvent

_EPT_REASONS: Final = frozenset({"EPT_VIOLATION", "EPT_MISCONFIG", "48", "49"})
_NPT_REASONS: Final = frozenset({"npf", "NPF", "1024"})
# Exit qualification of Intel: bit 7, the linear address is valid; bit 8, the fault is in its
# translation. No page fault has these bits in its code.
_QUALIFICATION: Final = 0x180
# What AMD adds to the code of a nested fault: bit 32 the final address, bit 33 a table.
_NESTED_CODE: Final = 0x3_0000_0000
_ROOT_LEVEL: Final = 4
_INTEL: Final = "load kvm_intel with ept=0 (modprobe kvm_intel ept=0)"
_AMD: Final = "load kvm_amd with npt=0 (modprobe kvm_amd npt=0)"


def refuse_nested(path: Path, event: HostEvent) -> None:
    """Nothing, unless the event can only be of a host with EPT or NPT on.

    Raises:
        ImportFailed: it is; says how to record a log of shadow paging.
    """
    found = _evidence(event)
    if found is None:
        return
    what, remedy = found
    raise ImportFailed(
        f"{path}: this is a log of a host with {what}, so it says nothing of shadow paging: "
        f"{_shown(event)}. To record one that does, stop all guests, {remedy} and record again "
        "with `trace-cmd record -e kvm -e kvmmmu`"
    )


def _evidence(event: HostEvent) -> tuple[str, str] | None:
    fields = event.fields
    both = ("EPT or NPT on", f"{_INTEL} or {_AMD}")
    if event.name == "kvm_exit":
        if fields.get("reason") in _EPT_REASONS:
            return "EPT on", _INTEL
        if fields.get("reason") in _NPT_REASONS:
            return "NPT on", _AMD
    elif event.name == "kvm_page_fault":
        code = fields.get("error_code")
        return _of_code(code) if isinstance(code, int) else None
    elif event.name.startswith("kvm_tdp_mmu"):
        return both
    elif event.name in PAGE_EVENTS and fields.get("direct") == 1:
        level = fields.get("level")
        # Shadow paging has direct pages too, but not at the root of four levels.
        if isinstance(level, int) and level >= _ROOT_LEVEL:
            return both
    return None


def _of_code(code: int) -> tuple[str, str] | None:
    if code & _NESTED_CODE:
        return "NPT on", _AMD
    return ("EPT on", _INTEL) if code & _QUALIFICATION else None


def _shown(event: HostEvent) -> str:
    fields = " ".join(
        f"{key} {value:#x}" if isinstance(value, int) else f"{key} {value}"
        for key, value in event.fields.items()
        if key in {"reason", "address", "error_code", "gfn", "level", "direct"}
    )
    return f"{event.name} {fields}".strip()
