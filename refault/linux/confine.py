"""Other people's C code, and the compiler that reads it, run behind walls.

A launcher closes everything before the program starts, so that constructors run inside too::

    python confine.py SETTINGS -- COMMAND…
      ├── limits       processor time, memory, size of files                 setrlimit(2)
      ├── files        nothing but the folders named                         Landlock (Linux 5.13)
      ├── network      none                                                  Landlock, seccomp
      ├── privileges   none to gain                                          PR_SET_NO_NEW_PRIVS
      ├── processes    one: it starts no other, and no thread                seccomp
      └── calls        a list of those allowed                               seccomp(2)

:func:`protections` says which of them this machine has.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from refault.linux.launcher import landlock_version

#: Where a toolchain lies.
TOOLCHAIN = tuple(
    Path(name)
    for name in ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
    if Path(name).exists()
)
LAUNCHER = Path(__file__).with_name("launcher.py")
#: What a compiler or a program may write to a pipe before it is told no more.
OUTPUT_BYTES = 1 << 20
_LAST_SECONDS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one process may take; 0 is no limit.

    A command that waits uses no processor time: it is ended after ``wall_seconds``, or if they are
    0 after four times its processor time and a minute.
    """

    cpu_seconds: int
    memory_bytes: int
    file_bytes: int
    wall_seconds: int = 0

    @property
    def patience_seconds(self) -> int:
        """How long a command may last by the clock."""
        return self.wall_seconds or 4 * self.cpu_seconds + 60


@dataclasses.dataclass(frozen=True, slots=True)
class Confinement:
    """Which folders may be read and written, and how much may be taken.

    ``is_program`` asks for the short list of system calls: a program that only computes; one that
    ``is_dynamic`` may load its libraries as well.
    """

    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    limits: Limits
    is_program: bool = False
    is_dynamic: bool = False

    def to_json(self) -> str:
        """As the launcher takes it."""
        return json.dumps(
            {
                "reads": [str(path) for path in self.reads],
                "writes": [str(path) for path in self.writes],
                "limits": dataclasses.asdict(self.limits),
                "is_program": self.is_program,
                "is_dynamic": self.is_dynamic,
            }
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a confined command ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def ended(self) -> str:
        """In words."""
        return how_it_ended(self.returncode)


def protections() -> dict[str, str]:
    """What stands between a patch and this machine, and where there is nothing."""
    version = landlock_version()
    files = f"closed but for what is named (Landlock {version})" if version else ""
    return {
        "files": files or "NOT closed: this kernel has no Landlock (Linux 5.13 and later)",
        "network": "closed (seccomp)",
        "system calls": "of the compiler: those of a list forbidden; of the program: few allowed",
        "limits": "processor time, memory, size of files, time by the clock; one process, which "
        "can start no other",
    }


def what_is_open() -> str:
    """What of the walls this machine lacks, found by trying them; empty if they stand."""
    if not landlock_version():
        return "this kernel has no Landlock (Linux 5.13 and later): files would be open"
    confinement = Confinement(TOOLCHAIN, (), Limits(5, 0, 0))
    for tried, is_refused in (
        (["/bin/true"], False),
        (["/bin/cat", "/proc/1/status"], True),
    ):
        ended = run_confined(tried, confinement, cwd=Path("/"))
        if bool(ended.returncode) is not is_refused:
            return f"the walls do not stand here: {' '.join(tried)} {ended.ended}"
    return ""


def how_it_ended(returncode: int) -> str:
    """What a return code says of a confined process."""
    if returncode >= 0:
        return f"ended with {returncode}"
    number = -returncode
    reasons = {
        signal.SIGSYS: "used a system call that its sandbox forbids",
        signal.SIGXCPU: "took more processor time than it may",
        signal.SIGXFSZ: "wrote more than it may",
        signal.SIGKILL: "was killed (processor time or memory ran out)",
    }
    with contextlib.suppress(ValueError):
        return reasons.get(signal.Signals(number), f"died of {signal.Signals(number).name}")
    return f"died of signal {number}"


def command_for(command: Sequence[str], confinement: Confinement) -> list[str]:
    """The command line that runs ``command`` confined."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), confinement.to_json(), "--", *command]


def environment(scratch: Path | None = None) -> dict[str, str]:
    """All that a confined process is told: no secret of ours is in it."""
    told = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "0",
        # Signals are the program's own to catch: a BUG is one.
        "ASAN_OPTIONS": "handle_segv=0:handle_sigill=0:handle_sigbus=0:handle_sigfpe=0:"
        "detect_leaks=0:use_sigaltstack=0",
    }
    return told | ({"TMPDIR": str(scratch)} if scratch else {})


def run_confined(
    command: Sequence[str],
    confinement: Confinement,
    *,
    cwd: Path,
    output_bytes: int = OUTPUT_BYTES,
) -> Ended:
    """Run a command to its end, or until it has written ``output_bytes``."""
    scratch = confinement.writes[0] if confinement.writes else None
    with subprocess.Popen(
        command_for(command, confinement),
        cwd=cwd,
        env=environment(scratch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = _read_both(process, confinement.limits.patience_seconds, output_bytes)
            # Its pipes are closed a moment before it has ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_SECONDS)
        finally:
            # And whatever it started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Ended(process.returncode, stdout, stderr)


def _read_both(
    process: subprocess.Popen[bytes], seconds: float, output_bytes: int
) -> tuple[str, str]:
    kept: dict[int, bytearray] = {}
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for stream in filter(None, (process.stdout, process.stderr)):
            kept[stream.fileno()] = bytearray()
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > deadline:
                break
            for key, _ in selector.select(1):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                buffer = kept[key.fd]
                buffer += data[: output_bytes - len(buffer)]
                if len(buffer) >= output_bytes:
                    os.killpg(process.pid, signal.SIGKILL)
    texts = [bytes(buffer).decode(errors="replace") for buffer in kept.values()]
    return texts[0], texts[1]
