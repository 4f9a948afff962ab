"""Counters of a real host as one more column of a comparison: shown, never judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from refault.compare import layout

LABEL: Final = "host, not replayed"
HEAD: Final = ("host, not", "replayed")

#: The counter of ours that counts what a host calls otherwise; the rest have the same name.
BESIDE: Final[dict[str, str]] = {
    "exits": "vm_exits",
    "kvm_exit": "vm_exits",
    "kvm_page_fault": "exits",
    "kvm_mmu_sync_page": "synced",
    "kvm_mmu_zap_page": "mmu_shadow_zapped",
    "kvm_mmu_prepare_zap_page": "mmu_shadow_zapped",
}


@dataclasses.dataclass(frozen=True, slots=True)
class HostCounters:
    """The numbers of one file; ``name`` is the file's, ``form`` the tool that wrote it."""

    name: str
    form: str
    values: Mapping[str, int]

    def beside(self) -> dict[str, tuple[str, int]]:
        """For each counter of ours the host's name and number; the first of several names."""
        found: dict[str, tuple[str, int]] = {}
        for name, value in self.values.items():
            found.setdefault(BESIDE.get(name, name), (name, value))
        return found

    def only_here(self, counters: frozenset[str]) -> dict[str, int]:
        """The numbers that stand beside none of these counters."""
        placed = {name for ours, (name, _) in self.beside().items() if ours in counters}
        return {name: value for name, value in self.values.items() if name not in placed}

    def note(self) -> str:
        """What a reader must know of the column."""
        others = ", ".join(
            f"{name} beside {BESIDE[name]}" for name in self.values if name in BESIDE
        )
        told = f" Its {others}." if others else ""
        return (
            f'The column "{LABEL}" has the counters of {self.name} ({self.form}) as a host kept '
            f"them; no verdict rests on it.{told}"
        )

    def to_dict(self, counters: frozenset[str]) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "label": LABEL,
            "file": self.name,
            "form": self.form,
            "counters": {
                ours: {"name": name, "value": value}
                for ours, (name, value) in self.beside().items()
                if ours in counters
            },
            "only_host": self.only_here(counters),
        }


def aside_of(host: HostCounters | None) -> dict[str, str]:
    """What a host counted, by the counter of ours it stands beside."""
    return {} if host is None else {ours: str(value) for ours, (_, value) in host.beside().items()}


def host_text(host: HostCounters | None, counters: Sequence[str], width: int) -> list[str]:
    """What the host's column is, and what it counted that these counters of ours do not."""
    if host is None:
        return []
    lines = layout.wrap(layout.clean(host.note()), width)
    if rest := host.only_here(frozenset(counters)):
        told = ", ".join(f"{name} {value}" for name, value in rest.items())
        lines += layout.wrap(layout.clean(f"Counted by the host alone: {told}."), width)
    return lines
