"""The plugin's records, as they arrive, become the events of a trace.

The records are those of a ptt file, and :mod:`refault.trace.importers.ptt` says what each becomes.
A guest that is stopped from outside may end inside a table's snapshot: what belongs to it is left
out, so that the rest is a trace.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refault.errors import CaptureError
from refault.trace import EventKind, TraceWriter
from refault.trace.contents import Block, GuestMode
from refault.trace.importers import ptt

Column = NDArray[Any]
_CR0_PG: Final = 1 << 31
_CR4_PAE: Final = 1 << 5
_CR4_LA57: Final = 1 << 12
_EFER_LME: Final = 1 << 8
_LEVELS: Final[dict[str, GuestMode]] = {"4": "long", "5": "long5", "3": "pae", "2": "32bit"}


class GuestModes:
    """Which paging modes a guest's vCPUs have been in, from their registers."""

    def __init__(self) -> None:
        self._registers: dict[int, list[int]] = {}
        self.levels: set[str] = set()

    def see(self, records: NDArray[np.void]) -> None:
        """Take in the writes of CR0, CR4 and EFER among these records."""
        self._see(*(records[name] for name in ("kind", "vcpu", "aux", "a", "b")))

    def see_events(self, block: Block) -> None:
        """Take in those of a trace."""
        self._see(block.kind, block.vcpu, block.aux, block.a, block.b)

    def _see(self, kind: Column, vcpu: Column, aux: Column, a: Column, b: Column) -> None:
        is_cr = (kind == EventKind.CR) & (aux != 3)
        for at in np.flatnonzero(is_cr | (kind == EventKind.MSR)).tolist():
            registers = self._registers.setdefault(int(vcpu[at]), [0, 0, 0])
            if kind[at] == EventKind.MSR:
                registers[2] = int(b[at])
            else:
                registers[0 if aux[at] == 0 else 1] = int(a[at])
            self._add(*registers)

    def _add(self, cr0: int, cr4: int, efer: int) -> None:
        if not cr0 & _CR0_PG:
            return
        if not cr4 & _CR4_PAE:
            self.levels.add("2")
        elif not efer & _EFER_LME:
            self.levels.add("3")
        else:
            self.levels.add("5" if cr4 & _CR4_LA57 else "4")

    @property
    def guest_mode(self) -> GuestMode:
        """The header's word for them."""
        modes = {_LEVELS[level] for level in self.levels}
        if "long5" in modes:
            return "long5"  # a kernel that uses five levels comes from four
        return modes.pop() if len(modes) == 1 else "mixed" if modes else "nonpaging"


class RecordStream:
    """Bytes of the plugin in, events of a trace out."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._held = b""
        self._has_header = False
        self._snapshot: NDArray[np.void] = np.empty(0, ptt.RECORD)
        self.event_count = 0
        self.instruction_count = 0
        self.marks: dict[int, int] = {}
        self.modes = GuestModes()
        self.recorded: dict[str, int] | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes as they come, and append the events of all whole records.

        Raises:
            CaptureError: they are not what the plugin writes.
            TraceError: the trace cannot be written.
        """
        data = self._held + data
        at = 0
        if not self._has_header:
            if len(data) < ptt.HEADER.size:
                self._held = data
                return
            if not data.startswith(ptt.MAGIC):
                raise CaptureError(f"the plugin wrote no header of its own but {data[:8]!r}")
            at = ptt.HEADER.size
            self._has_header = True
        whole = (len(data) - at) // ptt.RECORD.itemsize
        self._held = data[at + whole * ptt.RECORD.itemsize :]
        if whole:
            self._take(np.frombuffer(data, ptt.RECORD, whole, at))

    def finish(self) -> None:
        """Nothing more comes: leave out a snapshot that is not whole."""
        self._snapshot = self._snapshot[:0]

    def _take(self, records: NDArray[np.void]) -> None:
        records = np.concatenate((self._snapshot, records))
        self._snapshot = records[:0]
        ends = np.flatnonzero(records["kind"] == ptt.END)
        if len(ends):
            self.recorded = ptt.recorded_at(records[ends[0]])
            records = records[: ends[0]]
        whole = _whole_snapshots(records)
        records, self._snapshot = records[:whole], records[whole:].copy()
        if not len(records):
            return
        self.modes.see(records)
        for number in records["a"][records["kind"] == EventKind.MARK].tolist():
            self.marks[number] = self.marks.get(number, 0) + 1
        block = ptt.events_of(records)
        self._writer.append_block(block)
        self.event_count += len(records)
        self.instruction_count += int(block.insns.sum(dtype=np.int64))


def _whole_snapshots(records: NDArray[np.void]) -> int:
    """How many records there are before a last snapshot whose entries are not all there."""
    starts = np.flatnonzero(records["kind"] == EventKind.TABLE_SNAPSHOT)
    if not len(starts):
        return len(records)
    last = int(starts[-1])
    return len(records) if last + int(records["b"][last]) < len(records) else last
