"""What a recipe tells the synthetic guest to do: rows of six numbers.

::

    op │ vcpu │ process │ a │ b │ c

A vCPU that runs another process than the row names switches to it first, as a scheduler would.
:class:`Script` makes the rows; ``refault/synth/kernels/machine.py`` executes them.
"""

from __future__ import annotations

from array import array
from typing import Any, Final, NamedTuple

import numpy as np

from refault.synth import words as w
from refault.trace.format import EventKind

COLUMNS: Final = 6

TOUCH = 1  # a address, b flags, c pages
WORK = 2  # a accesses, b pages of each area that they stay in
FORK = 3  # a child
EXEC = 4
EXIT = 5
MMAP = 6  # a first page, b pages, c HOW | file << 8 | offset << 32
MUNMAP = 7  # a first page, b pages
PROTECT = 8  # a first page, b pages, c writable or not
SWITCH = 9
COPY = 10  # the kernel reads (c 0) or writes (c 1) b pages of a program's memory at a
COLLAPSE = 11  # a address
SPLIT = 12  # a address
VMAP = 13  # a first page of the vmalloc area, b pages
VUNMAP = 14  # a, b likewise; c 1: flushed by CR4.PGE, else by INVLPG
RECLAIM = 15  # a frames
MARK = 16  # a number
HOST = 17  # a event of that kind, process column: aux, b and c: its a and b
HOST_PAGE = 18  # an event of kind a about the frame behind address b; c its b
SPAWN = 19  # a process: like FORK from no parent
ALIAS = 20  # page a of the process shows the shared frame number b
YIELD = 21  # another thread of the process

READ: Final = 0
WRITE: Final = 1
FETCH: Final = 2
USER: Final = 4

Rows = np.ndarray[Any, np.dtype[np.int64]]


class Accesses(NamedTuple):
    """Accesses of one program in order: an address stream, without numbers of its own.

    ``flags`` are READ, WRITE or FETCH, ``size`` is in bytes.
    """

    process: int
    address: Any
    flags: Any
    size: Any


#: What a synthetic guest is told: rows of commands, or accesses.
Part = Rows | Accesses


class Script:
    """Rows of commands, appended one by one and taken as an array."""

    def __init__(self) -> None:
        self._words = array("q")

    def __len__(self) -> int:
        return len(self._words) // COLUMNS

    def take(self) -> Rows:
        """The rows so far, of shape (rows, 6); the script is empty again."""
        words, self._words = self._words, array("q")
        return np.frombuffer(words, np.int64).reshape(-1, COLUMNS)

    def _add(self, op: int, vcpu: int, process: int, a: int = 0, b: int = 0, c: int = 0) -> None:
        self._words.extend((op, vcpu, process, a, b, c))

    def touch(self, vcpu: int, process: int, page: int, pages: int = 1, *, flags: int) -> None:
        """A program accesses pages one after the other; ``flags`` are READ, WRITE or FETCH."""
        self._add(TOUCH, vcpu, process, page << 12, flags | USER, pages)

    def work(self, vcpu: int, process: int, accesses: int, *, within: int = 16) -> None:
        """A program accesses its areas here and there, in the first pages of each."""
        self._add(WORK, vcpu, process, accesses, within)

    def fork(self, vcpu: int, parent: int, child: int) -> None:
        """The parent forks; the child has run nothing yet."""
        self._add(FORK, vcpu, parent, child)

    def spawn(self, vcpu: int, process: int) -> None:
        """The kernel starts a process with an empty address space."""
        self._add(SPAWN, vcpu, 0, process)

    def execute(self, vcpu: int, process: int) -> None:
        """The process gets a new, empty address space, and the old one is freed."""
        self._add(EXEC, vcpu, process)

    def exit(self, vcpu: int, process: int) -> None:
        """The process ends, and the vCPU is idle."""
        self._add(EXIT, vcpu, process)

    def mmap(
        self,
        vcpu: int,
        process: int,
        page: int,
        pages: int,
        *,
        how: int,
        file: int = 0,
        offset: int = 0,
    ) -> None:
        """A new area of a process: anonymous, or a file's pages if ``how`` has OF_FILE."""
        self._add(MMAP, vcpu, process, page, pages, how | file << 8 | offset << 32)

    def munmap(self, vcpu: int, process: int, page: int, pages: int) -> None:
        """Remove an area, which was mapped as a whole."""
        self._add(MUNMAP, vcpu, process, page, pages)

    def protect(self, vcpu: int, process: int, page: int, pages: int, *, writable: bool) -> None:
        """Make a whole area writable or read-only."""
        self._add(PROTECT, vcpu, process, page, pages, writable)

    def switch(self, vcpu: int, process: int) -> None:
        """A context switch; process 0 is the idle one."""
        self._add(SWITCH, vcpu, process)

    def copy(self, vcpu: int, process: int, page: int, pages: int, *, writes: bool) -> None:
        """A system call in which the kernel reads or writes a program's memory."""
        self._add(COPY, vcpu, process, page << 12, pages, writes)

    def collapse(self, vcpu: int, process: int, page: int) -> None:
        """Make a large page of the small ones around ``page``."""
        self._add(COLLAPSE, vcpu, process, page << 12)

    def split(self, vcpu: int, process: int, page: int) -> None:
        """Make small pages of the large one around ``page``."""
        self._add(SPLIT, vcpu, process, page << 12)

    def alias(self, vcpu: int, process: int, page: int, key: int) -> None:
        """A page of a process shows the shared frame of that number from now on."""
        self._add(ALIAS, vcpu, process, page, key)

    def yield_turn(self, vcpu: int, process: int) -> None:
        """Another thread of the process goes on."""
        self._add(YIELD, vcpu, process)

    def vmap(self, vcpu: int, process: int, first: int, pages: int) -> None:
        """The kernel maps pages for itself, as for a module."""
        self._add(VMAP, vcpu, process, first, pages)

    def vunmap(self, vcpu: int, process: int, first: int, pages: int, *, by_cr4: bool) -> None:
        """It removes them and flushes every vCPU, by CR4.PGE or by INVLPG."""
        self._add(VUNMAP, vcpu, process, first, pages, by_cr4)

    def reclaim(self, vcpu: int, process: int, frames: int) -> None:
        """The kernel takes pages from programs; their next access is a fault."""
        self._add(RECLAIM, vcpu, process, frames)

    def mark(self, number: int) -> None:
        """A MARK event."""
        self._add(MARK, 0, 0, number)

    def host(self, kind: EventKind, *, aux: int = 0, a: int = 0, b: int = 0) -> None:
        """An action of the host."""
        self._add(HOST, 0, aux, int(kind), a, b)

    def host_page(self, kind: EventKind, process: int, page: int, *, b: int = 0) -> None:
        """An action of the host on the frame behind a program's page, if it has one."""
        self._add(HOST_PAGE, 0, process, int(kind), page << 12, b)

    def program(
        self, vcpu: int, process: int, areas: tuple[tuple[int, int, int, int], ...]
    ) -> None:
        """Areas of a program: first page, pages, HOW and file of each."""
        for page, pages, how, file in areas:
            self.mmap(vcpu, process, page, pages, how=how, file=file)


ANONYMOUS: Final = w.MAY_WRITE
