"""What every engine refuses of a guest: its mode, vCPUs and memory slots.

Nothing here needs a compiler.
"""

from __future__ import annotations

from collections.abc import Iterable

from refault.errors import ReplayRefused
from refault.trace.contents import TraceHeader
from refault.trace.format import MAX_GFN, MAX_SLOTS, MAX_VCPUS


def has_five_levels(header: TraceHeader) -> bool:
    """Whether the guest may have five levels of page tables (CR4.LA57)."""
    return header.guest_mode == "long5"


def needs_five_levels(header: TraceHeader) -> str:
    """Why an engine that knows four levels cannot replay such a trace, or an empty string."""
    if has_five_levels(header):
        return (
            "a guest with five levels of page tables (CR4.LA57): the MMUs that are modelled here "
            "know four; replay it on a kernel of your own (`-v kernel:NAME`), capture it again "
            "with `-cpu qemu64,la57=off`, or boot it with `no5lvl`"
        )
    return ""


def check_vcpu_count(count: int, event: int) -> None:
    """Raise ReplayRefused unless a host can have so many vCPUs."""
    if not 1 <= count <= MAX_VCPUS:
        raise ReplayRefused(f"event {event}: {count} vCPUs; a host has 1 to {MAX_VCPUS}")


def check_slot_number(slot: int) -> None:
    """Raise ReplayRefused unless a host has a memory slot of that number."""
    if not 0 <= slot < MAX_SLOTS:
        raise ReplayRefused(f"memory slot {slot} is not one of 0..{MAX_SLOTS - 1}")


def check_slot(
    slot: int, base_gfn: int, page_count: int, used: Iterable[tuple[int, int, int]]
) -> None:
    """Raise ReplayRefused unless a slot fits beside those ``used``: number, first gfn, pages."""
    check_slot_number(slot)
    if page_count < 1 or base_gfn < 0 or base_gfn + page_count > MAX_GFN:
        raise ReplayRefused(
            f"memory slot {slot}: {page_count} pages from frame {base_gfn:#x} lie outside 40 bits"
        )
    for other, base, pages in used:
        if other == slot:
            raise ReplayRefused(f"memory slot {slot} is already in use")
        if base < base_gfn + page_count and base_gfn < base + pages:
            raise ReplayRefused(f"memory slot {slot} overlaps slot {other}")
