"""The program of one build, running: a child behind walls, and the memory shared with it."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from refault.engines.kernel.channel import CHANNEL
from refault.errors import ReplayCancelled, ReplayTooLarge
from refault.linux.confine import Confinement, Limits, command_for, environment, how_it_ended
from refault.printable import printable

#: Address space the program takes whatever the guest: its arena, and pages' structures.
BASE_BYTES = 4 << 30
#: How often the memory of a program is looked at while it works.
LOOK_SECONDS = 0.05
_ASKED, _ANSWERED, _SHARED = 3, 4, 5
_ABORTED = "broken off: nobody wants the rest"
_SETUP = (
    "import fcntl,os,sys\n"
    # Out of the way first: they may lie where another one belongs.
    "high=[fcntl.fcntl(int(x),fcntl.F_DUPFD,64) for x in sys.argv[1:4]]\n"
    "for n,f in enumerate(high):\n"
    " os.dup2(f,n+3)\n"
    "os.closerange(6,256)\n"
    "os.execv(sys.argv[4],sys.argv[4:])\n"
)


class ProgramDied(Exception):
    """The program ended before it answered; ``is_its_own`` unless it ran out of what it may take.

    What it may take depends on the machine, and so is no result.
    """

    def __init__(self, code: int, how: str) -> None:
        super().__init__(how)
        self.is_its_own = code not in (-signal.SIGKILL, -signal.SIGXCPU)
        self.is_forbidden = code == -signal.SIGSYS


class Program:
    """One running program; ``words`` is the channel, shared with it.

    ``on_memory`` is told how many bytes it has while it works, and may raise ReplayTooLarge.
    """

    def __init__(
        self,
        path: Path,
        *,
        guest_bytes: int,
        on_memory: Callable[[int], object],
        cpu_seconds: int,
        is_sanitized: bool,
        tdp: int = 0,
        host_level: int = 0,
    ) -> None:
        self._on_memory = on_memory
        self._is_ended = False
        self._look_at = 0.0
        shared = os.memfd_create("refault-kernel")
        os.ftruncate(shared, CHANNEL.itemsize)
        self._map = mmap.mmap(shared, CHANNEL.itemsize)
        self.words: Any = np.frombuffer(self._map, CHANNEL, count=1)[0]
        self.words["tdp"], self.words["host_level"] = tdp, host_level
        asked_read, self._asked = os.pipe()
        self._answered, answered_write = os.pipe()
        limits = Limits(
            cpu_seconds=cpu_seconds,
            memory_bytes=0 if is_sanitized else BASE_BYTES + guest_bytes,
            file_bytes=0,
        )
        reads = (path, *((Path("/usr"), Path("/lib"), Path("/lib64")) if is_sanitized else ()))
        confinement = Confinement(reads, (), limits, is_program=True, is_dynamic=is_sanitized)
        inherited = (asked_read, answered_write, shared)
        confined = command_for([str(path)], confinement)
        self._process = subprocess.Popen(
            [confined[0], "-I", "-S", "-c", _SETUP, *map(str, inherited), *confined],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=inherited,
            start_new_session=True,
            cwd="/",
        )
        for descriptor in inherited:
            os.close(descriptor)
        opened = [self._asked, self._answered]
        self._finalizer = weakref.finalize(self, _end, self._process, opened)
        # Once: a name is looked up for longer than the numbers are read.
        self._statm = os.open(f"/proc/{self._process.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        opened.append(self._statm)
        self._wait()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def execute(self, start: int, end: int) -> None:
        """Let it execute rows ``start`` to ``end`` - 1 of the channel."""
        self.words["start"], self.words["end"] = start, end
        try:
            os.write(self._asked, b"x")
        except BrokenPipeError:
            self._died()
        self._wait()

    def abort(self) -> None:
        """Kill it, from any thread."""
        self._is_ended = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        """End it."""
        self._finalizer()

    def _wait(self) -> None:
        """Until it answers; its memory is looked at meanwhile."""
        while True:
            ready, _, _ = select.select([self._answered], [], [], LOOK_SECONDS)
            if ready:
                if os.read(self._answered, 1):
                    self._look()
                    return
                self._died()
            self._look()

    def _look(self) -> None:
        """At its memory, unless that was just done: a block may take less than looking does."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        try:
            pages = int(os.pread(self._statm, 128, 0).split()[1])
        except (OSError, IndexError):
            return
        try:
            self._on_memory(pages * mmap.PAGESIZE)
        except ReplayTooLarge:
            self.abort()
            raise

    def _died(self) -> None:
        if self._is_ended:
            raise ReplayCancelled(_ABORTED)
        code = self._process.wait()
        told = b""
        if self._process.stderr is not None:
            told = os.read(self._process.stderr.fileno(), 4096)
        lines = printable(told.decode(errors="replace")).strip().splitlines()
        raise ProgramDied(code, how_it_ended(code) + (f": {lines[-1]}" if lines else ""))


def _end(process: subprocess.Popen[bytes], descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()
