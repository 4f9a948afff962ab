"""What every reader of a host's log yields: events, and facts about the log as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final, NamedTuple

UNKNOWN: Final = -1

#: Events about one shadow page, whose fields are gfn, root_count, unsync and those of the role.
PAGE_EVENTS: Final = frozenset(
    {
        "kvm_mmu_get_page",
        "kvm_mmu_sync_page",
        "kvm_mmu_unsync_page",
        "kvm_mmu_zap_page",
        "kvm_mmu_prepare_zap_page",
    }
)
#: A text that a user wrote to ``trace_marker``, under the kernel's name and trace-cmd's.
MARKS: Final = frozenset({"tracing_mark_write", "print"})

# The kernel's name of a field (struct entry) → ours, by event; other fields keep their name.
_RENAMED: Final[dict[str, dict[str, str]]] = {
    "kvm_entry": {"vcpu_id": "vcpu"},
    "kvm_exit": {"vcpu_id": "vcpu", "guest_rip": "rip", "exit_reason": "reason"},
    "kvm_page_fault": {"vcpu_id": "vcpu", "guest_rip": "rip", "fault_address": "address"},
    "kvm_cr": {"rw": "write", "val": "value"},
    "kvm_msr": {"ecx": "msr", "data": "value"},
    "kvm_mmu_pagetable_walk": {"addr": "address", "pferr": "error_code"},
    "kvm_mmu_walker_error": {"pferr": "error_code"},
}
# Exit reasons of Intel's and AMD's processors, by the number the hardware gives; the rest keep it.
_REASONS: Final[dict[int, dict[int, str]]] = {
    1: {
        0: "EXCEPTION_NMI",
        1: "EXTERNAL_INTERRUPT",
        2: "TRIPLE_FAULT",
        7: "INTERRUPT_WINDOW",
        8: "NMI_WINDOW",
        9: "TASK_SWITCH",
        10: "CPUID",
        12: "HLT",
        13: "INVD",
        14: "INVLPG",
        18: "VMCALL",
        28: "CR_ACCESS",
        29: "DR_ACCESS",
        30: "IO_INSTRUCTION",
        31: "MSR_READ",
        32: "MSR_WRITE",
        40: "PAUSE_INSTRUCTION",
        48: "EPT_VIOLATION",
        49: "EPT_MISCONFIG",
        58: "INVPCID",
    },
    2: {
        0x4E: "excp_14",
        0x60: "interrupt",
        0x72: "cpuid",
        0x78: "hlt",
        0x79: "invlpg",
        0x7C: "msr",
        0x400: "npf",
    },
}


class HostEvent(NamedTuple):
    """One tracepoint that fired.

    ``time_ns`` is the host's clock, or :data:`UNKNOWN` as ``cpu``, ``thread`` and ``vcpu`` may be.
    ``fields`` are numbers under one name whatever printed them, and texts where the log has no
    number; what a log does not tell is left out.
    """

    time_ns: int
    cpu: int
    thread: int
    vcpu: int
    name: str
    fields: Mapping[str, int | str]


@dataclasses.dataclass(slots=True)
class LogFacts:
    """What is known of a log; whole once all of its events were read.

    ``lost_counts`` are the events that were lost, as each place of the log that counts them says
    it: the same loss may be told twice. ``lost_places`` are gaps of unknown size.
    ``unread_count`` are events of KVM whose fields could not be read, ``first_unread`` the first.
    ``sources`` are the buffers that events are of, by the events' names; ``twice`` is an event that
    two buffers hold, with their names.
    """

    form: str = ""
    kernel: str = ""
    event_count: int = 0
    lost_counts: dict[str, int] = dataclasses.field(default_factory=dict)
    lost_places: int = 0
    unread_count: int = 0
    first_unread: str = ""
    threads_of: dict[int, set[int]] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    twice: tuple[str, str, str] | None = None

    @property
    def lost_count(self) -> int:
        """Events that are known to be lost, at least."""
        return max(self.lost_counts.values(), default=0)

    @property
    def is_complete(self) -> bool:
        """Whether the log tells of every event that fired, as far as the log knows."""
        return not (self.lost_count or self.lost_places or self.unread_count)

    def lose(self, place: str, count: int) -> None:
        """Count events that one kind of place says are lost; 0 is a gap without a number."""
        if count > 0:
            self.lost_counts[place] = self.lost_counts.get(place, 0) + count
        else:
            self.lost_places += 1

    def come_from(self, name: str, source: str) -> None:
        """Note which buffer an event is of; an empty name is the main one."""
        first = self.sources.setdefault(name, source)
        if first != source and name not in MARKS:
            self.twice = self.twice or (name, first, source)

    def not_read(self, what: str) -> None:
        """Count an event whose fields are not as expected."""
        self.unread_count += 1
        self.first_unread = self.first_unread or what

    def gaps(self) -> str:
        """In words, what the log lacks of what it should hold; empty if it lacks nothing."""
        told = []
        if self.lost_count:
            told.append(f"{self.lost_count:,} events were lost")
        if self.lost_places:
            told.append(f"events were lost in {self.lost_places} places, without a number")
        if self.unread_count:
            told.append(
                f"{self.unread_count:,} events could not be read, the first is {self.first_unread}"
            )
        return " and ".join(told)


def renamed(name: str, raw: Mapping[str, int | str]) -> dict[str, int | str]:
    """The fields of an entry of the kernel under our names; exit reasons in words."""
    names = _RENAMED.get(name, {})
    fields = {names.get(key, key): value for key, value in raw.items()}
    if name == "kvm_exit":
        reason = fields.get("reason", 0)
        isa = fields.pop("isa", 0)
        known = _REASONS.get(isa, {}) if isinstance(isa, int) else {}
        if isinstance(reason, int):
            # Bit 31 says that the entry itself failed.
            fields["reason"] = known.get(reason & 0x7FFF_FFFF, str(reason))
    elif name == "kvm_mmu_set_spte":
        for letter in "rxu":
            fields.pop(letter, None)
    return fields
