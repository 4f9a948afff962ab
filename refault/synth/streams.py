"""Address streams run through a synthetic guest: real addresses, synthetic tables.

Each process of the stream is one of the guest: the first starts with an empty address space in
which any access maps a page, further ones are forked from it. Another thread's turn is a pass
through the scheduler; another process's, a load of CR3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from refault.errors import ImportFailed, SynthFailed
from refault.synth import words as w
from refault.synth.commands import Accesses, Part, Script
from refault.synth.layouts import LONG, RAM_MIB_MIN
from refault.synth.machine import Hardware, Machine
from refault.synth.making import ahead, capture_filter, slots_of
from refault.trace import TraceHeader, TraceSummary, TraceWriter
from refault.trace.importers.registry import Importer, Wanted
from refault.trace.importers.streams import ORIGIN, Aliases, OpenStream, References

PROCESSES: Final = 256
RAM_MIB: Final = 1024
ANYWHERE: Final = w.MAY_WRITE | w.MAY_EXECUTE | w.GROWS_ANYWHERE


def convert(
    importer: Importer, path: Path, target: Path | BinaryIO, wanted: Wanted
) -> TraceSummary:
    """Make a trace of an address stream, in bounded memory.

    Raises:
        ImportFailed: the file is damaged, or the guest cannot run what it holds.
        TraceError: the trace cannot be written.
    """
    if importer.references is None:
        raise ImportFailed(f"{path}: {importer.title} is no address stream")
    return _convert(importer.references, path, target, wanted)


def _convert(
    opens: OpenStream, path: Path, target: Path | BinaryIO, wanted: Wanted
) -> TraceSummary:
    stream = opens(path, wanted.progress)
    ram_mib = wanted.ram_mib or RAM_MIB
    if not RAM_MIB_MIN <= ram_mib <= LONG.ram_mib_max:
        raise ImportFailed(
            f"{path}: --ram-mib {ram_mib}: the guest that runs an address stream has {RAM_MIB_MIN} "
            f"to {LONG.ram_mib_max} MiB"
        )
    hardware = Hardware(
        layout=LONG,
        ram_mib=ram_mib,
        processes=PROCESSES,
        alias_slots=1 << (ram_mib * 512).bit_length() if stream.knows_frames else 0,
    )
    header = TraceHeader(
        content="capture",
        name=wanted.name or path.name,
        guest_mode=LONG.mode,
        vcpu_count=1,
        slots=slots_of(hardware),
        capture_tool=f"refault import of {stream.facts['format']}",
        capture_filter=capture_filter(),
        time_unit="instructions of the stream, and an estimate for the synthetic kernel's",
        origin=ORIGIN,
        losses=stream.loses,
        provenance={**stream.facts, "ram_mib": ram_mib},
    )
    player = _Player(path)
    machine = Machine(hardware)
    with TraceWriter(target, header, level=wanted.level) as writer:
        try:
            with ahead(machine.blocks(player.parts(stream.references))) as blocks:
                for block in blocks:
                    writer.append_block(block)
        except SynthFailed as error:
            raise ImportFailed(f"{path}: {error}") from error
        return writer.close(player.counted())


class _Player:
    """Turns the tool's process and thread numbers into the guest's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._script = Script()
        self._processes: dict[int, int] = {}
        self._frames: dict[int, int] = {}
        self._threads: set[int] = set()
        self._running: tuple[int, int] | None = None
        self._references = 0
        self._left_out = 0

    def counted(self) -> dict[str, int]:
        """What was in the stream, for the closing index."""
        return {
            "references": self._references,
            "references_left_out": self._left_out,
            "processes": len(self._processes),
            "threads": len(self._threads),
        }

    def parts(self, batches: Iterator[References]) -> Iterator[Part]:
        """Commands and accesses for the guest."""
        for batch in batches:
            self._references += len(batch.address)
            self._left_out += batch.left_out
            yield from self._of(batch)
        if not self._references:
            raise ImportFailed(f"{self._path}: no reference of a program is in this stream")

    def _of(self, batch: References) -> Iterator[Part]:
        """Stretches of one thread, cut where a frame becomes known."""
        count = len(batch.address)
        changes = (np.diff(batch.process) != 0) | (np.diff(batch.thread) != 0)
        cuts = {0, *(np.flatnonzero(changes) + 1).tolist(), count}
        aliases = batch.aliases
        if aliases is not None:
            cuts |= set(aliases.at.tolist())
        told = 0
        places = sorted(cuts)
        for begin, end in zip(places, [*places[1:], count], strict=True):
            if aliases is not None:
                told = self._tell(aliases, told, begin)
            if end > begin:
                process = self._turn(int(batch.process[begin]), int(batch.thread[begin]))
                if len(self._script):
                    yield self._script.take()
                part = (column[begin:end] for column in batch[2:5])
                yield Accesses(process, *part)
        if len(self._script):
            yield self._script.take()

    def _tell(self, aliases: Aliases, told: int, at: int) -> int:
        """Give the guest what is known of frames up to a reference; answers how many."""
        while told < len(aliases.at) and aliases.at[told] <= at:
            process = self._process(int(aliases.process[told]))
            physical = int(aliases.physical[told])
            key = self._frames.setdefault(physical, len(self._frames))
            self._script.alias(0, process, int(aliases.page[told]), key)
            told += 1
        return told

    def _process(self, number: int) -> int:
        """The guest's process for one of the stream; made when it is first seen."""
        if number in self._processes:
            return self._processes[number]
        process = len(self._processes) + 1
        if process > PROCESSES:
            raise ImportFailed(
                f"{self._path}: more than {PROCESSES} processes in one stream; import them one by "
                "one"
            )
        self._processes[number] = process
        if process == 1:
            self._script.spawn(0, process)
            self._script.mmap(0, process, 0, LONG.user_end, how=ANYWHERE)
        else:
            self._script.fork(0, 1, process)
        return process

    def _turn(self, process: int, thread: int) -> int:
        """The process that runs next; another thread of the same one passes the scheduler."""
        mine = self._process(process)
        before = self._running
        if before is not None and before[0] == process and before[1] != thread:
            self._script.yield_turn(0, mine)
        self._threads.add(thread)
        self._running = (process, thread)
        return mine
