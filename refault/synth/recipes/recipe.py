"""A recipe: its words, what hardware it takes, and the commands it gives, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from refault.synth import words as w
from refault.synth.commands import WRITE, Rows, Script
from refault.synth.dice import Dice
from refault.synth.layouts import LAYOUTS, Layout
from refault.synth.machine import Hardware

CODE: Final = w.MAY_EXECUTE | w.OF_FILE
DATA: Final = w.MAY_WRITE | w.OF_FILE
HEAP: Final = w.MAY_WRITE
LIBRARY: Final = 0  # the file that all programs share
HEAP_PAGES: Final = 256
PROCESSES_PER_MIB: Final = 3
STACK_PAGES: Final = 32

#: Commands of a long round that are handed over before it ends.
WHOLE: Final = 400
SETUP: Final = 1
ROUNDS: Final = 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of load. ``rounds`` gives commands without end; each item is one round.

    ``version`` goes up when the same seed no longer makes the same bytes. ``modes`` are the paging
    modes it makes sense in.
    """

    name: str
    does: str
    rounds: Callable[[World], Iterator[Rows]]
    marks: Mapping[str, str]
    version: int = 2
    vcpus: int = 1
    processes: int = 32
    ram_mib: int = 512
    pti: bool = False
    wants_huge: bool = False
    modes: tuple[str, ...] = tuple(LAYOUTS)

    def memory_for(self, layout: Layout, processes: int) -> int:
        """MiB of memory: more for very many processes, as far as the mode has it."""
        return min(layout.ram_mib_max, max(self.ram_mib, processes // PROCESSES_PER_MIB))

    def hardware(
        self,
        layout: Layout,
        *,
        seed: int,
        vcpus: int | None = None,
        processes: int | None = None,
        ram_mib: int | None = None,
    ) -> Hardware:
        """What the guest has, where not told otherwise."""
        return Hardware(
            layout=layout,
            ram_mib=ram_mib or self.memory_for(layout, processes or self.processes),
            vcpus=vcpus or self.vcpus,
            processes=processes or self.processes,
            seed=seed,
            pti=self.pti,
            wants_huge=self.wants_huge,
        )


@dataclass(slots=True)
class World:
    """What a recipe knows of its guest: the script it writes, and which processes run."""

    hardware: Hardware
    dice: Dice
    script: Script = field(default_factory=Script)
    unused: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unused = list(range(self.hardware.processes, 0, -1))

    @property
    def layout(self) -> Layout:
        """Where things lie."""
        return self.hardware.layout

    def vcpu(self) -> int:
        """One of the vCPUs."""
        return self.dice.below(self.hardware.vcpus)

    def take(self) -> int:
        """The number of a process that does not run."""
        return self.unused.pop()

    def areas(self, program: int) -> tuple[tuple[int, int, int, int], ...]:
        """Code, data, heap, library and stack of a program: first page, pages, HOW and file."""
        layout = self.layout
        file = 1 + program % (self.hardware.files - 1)
        code = 8 + program * 7 % 40
        slide = self.dice.below(1 << 10)  # as ASLR moves what lies high
        data = layout.code_page + code
        return (
            (layout.code_page, code, CODE, file),
            (data, 8, DATA, file),
            (layout.heap_page, HEAP_PAGES, HEAP, 0),
            (layout.library_page + slide, 48, CODE, LIBRARY),
            (layout.library_page + slide + 48, 8, DATA, LIBRARY),
            (layout.stack_page + slide, STACK_PAGES, HEAP, 0),
        )

    def start(self, program: int, *, vcpu: int = 0) -> int:
        """A new process that runs a program, and has touched some of its pages."""
        process = self.take()
        self.script.spawn(vcpu, process)
        self.script.program(vcpu, process, self.areas(program))
        self.script.work(vcpu, process, 24)
        return process

    def fork(self, parent: int, *, vcpu: int = 0) -> int:
        """A child of a process."""
        child = self.take()
        self.script.fork(vcpu, parent, child)
        return child

    def execute(self, process: int, program: int, *, vcpu: int = 0) -> None:
        """The process runs another program."""
        self.script.execute(vcpu, process)
        self.script.program(vcpu, process, self.areas(program))

    def exit(self, process: int, *, vcpu: int = 0) -> None:
        """The process ends; its number is free again."""
        self.script.exit(vcpu, process)
        self.unused.append(process)

    def fill(self, process: int, pages: int, *, vcpu: int = 0, offset: int = 0) -> None:
        """Write pages of the heap one after the other."""
        first = self.layout.heap_page + offset
        self.script.touch(vcpu, process, first, pages, flags=WRITE)

    def rows(self) -> Rows:
        """The commands of this round."""
        return self.script.take()
