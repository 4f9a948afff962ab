"""Makes a trace by recipe and seed: the same bytes each time, of any length, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from refault.errors import InvalidParameter
from refault.synth import words as w
from refault.synth.dice import Dice
from refault.synth.layouts import RAM_MIB_MIN, get_layout
from refault.synth.machine import Hardware, Machine
from refault.synth.recipes import Recipe, get_recipe
from refault.synth.recipes.recipe import World
from refault.trace import Block, EventKind, MemorySlot, TraceHeader, TraceSummary, TraceWriter

ORIGIN: Final = "synthetic"
FRAMES_PER_MIB: Final = 256
PROCESSES_MAX: Final = 8192
#: Packing a block sorts it: small ones fit a processor's cache, and cost 4 % of the size.
BLOCK_EVENTS: Final = 1 << 18
#: Threads that pack blocks, which takes most of the time.
PACKERS: Final = 2
SEED_MAX: Final = (1 << 63) - 1
LOSSES: Final = (
    "a made guest: no real program ran; how often it faults, switches and stores is the recipe's",
    "each kind of access to a page is recorded once in an epoch, as captures do",
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; None where the recipe decides.

    ``events`` or ``instructions`` is the length: the trace ends with the first event at or behind
    it that does not cut a table's content.
    """

    recipe: str
    seed: int = 1
    mode: str = "long"
    events: int | None = None
    instructions: int | None = None
    vcpus: int | None = None
    processes: int | None = None
    ram_mib: int | None = None
    name: str = ""

    def checked(self) -> tuple[Recipe, Hardware]:
        """The recipe and the guest's hardware.

        Raises:
            InvalidParameter: a value is out of its range; names it.
        """
        recipe = get_recipe(self.recipe)
        layout = get_layout(self.mode)
        if (self.events is None) == (self.instructions is None):
            raise InvalidParameter("give the length once: as events or as instructions")
        for name, value, low, high in (
            ("seed", self.seed, 0, SEED_MAX),
            ("events", self.events, 1, 1 << 40),
            ("instructions", self.instructions, 1, 1 << 60),
            ("vcpus", self.vcpus, 1, 8),
            ("processes", self.processes, 16, PROCESSES_MAX),
            ("ram-mib", self.ram_mib, RAM_MIB_MIN, layout.ram_mib_max),
        ):
            if value is not None and not low <= value <= high:
                raise InvalidParameter(f"{name} {value}: it must be from {low} to {high}")
        hardware = recipe.hardware(
            layout,
            seed=self.seed,
            vcpus=self.vcpus,
            processes=self.processes,
            ram_mib=self.ram_mib,
        )
        return recipe, hardware

    def part_done(self, events: int, instructions: int) -> float:
        """How much of the length that is, from 0 to 1."""
        if self.events is not None:
            return min(1.0, events / self.events)
        return min(1.0, instructions / (self.instructions or 1))


def make(
    order: Order,
    target: Path | BinaryIO,
    *,
    level: int = 3,
    progress: Callable[[float], None] | None = None,
) -> TraceSummary:
    """Write the trace; ``progress`` is told the part that is done, from 0 to 1.

    Raises:
        InvalidParameter: the order cannot be carried out.
        SynthFailed: the guest has too little memory for the recipe.
        TraceError: the trace cannot be written.
    """
    recipe, hardware = order.checked()
    machine = Machine(hardware, batch=order.events or Machine.BATCH)
    world = World(hardware, Dice(order.seed))
    events = instructions = 0
    header = _header(order, recipe, hardware)
    with (
        TraceWriter(
            target, header, level=level, block_events=BLOCK_EVENTS, packers=PACKERS
        ) as writer,
        ahead(machine.blocks(recipe.rounds(world))) as blocks,
    ):
        for block in blocks:
            part = _up_to(block, order, events, instructions)
            writer.append_block(part, is_given=True)
            events += part.event_count
            instructions += int(part.insns.sum(dtype=np.int64))
            done = order.part_done(events, instructions)
            if progress is not None:
                progress(done)
            if done >= 1:
                break
        return writer.close()


@contextmanager
def ahead(blocks: Iterator[Block]) -> Iterator[Iterator[Block]]:
    """The blocks, each made by another thread while the one before is written."""
    with ThreadPoolExecutor(1) as pool:

        def made() -> Iterator[Block]:
            coming = pool.submit(next, blocks, None)
            while (block := coming.result()) is not None:
                coming = pool.submit(next, blocks, None)
                yield block

        yield made()


def _up_to(block: Block, order: Order, events: int, instructions: int) -> Block:
    """The events of a block that belong to the trace: a table's content is not cut."""
    count = block.event_count
    if order.events is not None:
        count = min(count, order.events - events)
    elif order.instructions is not None:
        passed = instructions + np.cumsum(block.insns, dtype=np.int64)
        count = min(count, int(np.searchsorted(passed, order.instructions)) + 1)
    while count < block.event_count and block.kind[count] == EventKind.TABLE_ENTRY:
        count += 1
    return block.part(0, count)


def slots_of(hardware: Hardware) -> tuple[MemorySlot, ...]:
    """The guest's memory, in one piece from 0."""
    return (MemorySlot(slot=0, base_gfn=0, page_count=hardware.ram_mib * FRAMES_PER_MIB),)


def capture_filter() -> dict[str, str | int]:
    """What the recorder keeps: the rule of the project's captures."""
    return {
        "slots": w.FILTER_SLOTS,
        "keeps": "per vCPU the first access of a kind to a page since CR0, CR3 or CR4 was loaded, "
        "the page invalidated, its entry changed, or a slot of the filter reused",
        "loses": "further accesses of the same kind; accessed and dirty bits set by hardware",
    }


def _header(order: Order, recipe: Recipe, hardware: Hardware) -> TraceHeader:
    return TraceHeader(
        content="capture",
        name=order.name or f"synth-{recipe.name}-{hardware.layout.mode}-{order.seed}",
        guest_mode=hardware.layout.mode,
        vcpu_count=hardware.vcpus,
        slots=slots_of(hardware),
        capture_tool="refault synth",
        capture_filter=capture_filter(),
        time_unit="guest instructions, an estimate",
        workload_marks=recipe.marks,
        guest={"recipe": recipe.does},
        origin=ORIGIN,
        losses=LOSSES,
        provenance={
            "recipe": recipe.name,
            "recipe_version": recipe.version,
            "seed": order.seed,
            "mode": hardware.layout.mode,
            "vcpus": hardware.vcpus,
            "processes": hardware.processes,
            "ram_mib": hardware.ram_mib,
            "pti": int(hardware.pti),
        },
    )
