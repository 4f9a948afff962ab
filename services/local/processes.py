"""One part of the stack as a process: started, watched, stopped; its log is quoted on failure."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.local.errors import StackError

LAUNCH = Path(__file__).with_name("launch.py")
TAIL_LINES = 15
POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Account:
    """An account to run a part as; ``keep_search``: it needs a capability to reach its files."""

    name: str
    user_id: int
    group_id: int
    keep_search: bool = False

    def to_options(self) -> list[str]:
        """The options for ``launch.py``."""
        options = ["--user", str(self.user_id), "--group", str(self.group_id)]
        return [*options, "--keep-search"] if self.keep_search else options


@dataclasses.dataclass(frozen=True)
class Command:
    """How to start and stop a part."""

    part: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    folder: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # Sent by the kernel when the starter dies (PR_SET_PDEATHSIG).
    death_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    inherited: tuple[int, ...] = ()

    def to_arguments(self) -> list[str]:
        """The whole command line, through ``launch.py``."""
        options = ["--parent", str(os.getpid()), "--signal", str(int(self.death_signal))]
        if self.account is not None:
            options += self.account.to_options()
        return [sys.executable, "-I", "-S", str(LAUNCH), *options, "--", *self.arguments]


class Process:
    """A running part.

    Start it from the main thread: the kernel ties a child to the thread that
    started it.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self._stop_requested = False
        with command.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command.to_arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=command.folder,
                env=dict(command.environment),
                pass_fds=command.inherited,
                # Own session: Ctrl-C goes to the starter only, which stops the parts in order.
                start_new_session=True,
            )

    @property
    def part(self) -> str:
        """The name of the part, for messages."""
        return self.command.part

    @property
    def pid(self) -> int:
        """The process id, from start to end."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def tail(self, line_count: int = TAIL_LINES) -> str:
        """The last lines this start of the part has logged, indented."""
        with self.command.log.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - 64 * 1024))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-line_count:]) or "    (nothing logged)"

    def failure(self, what: str) -> StackError:
        """An error that quotes the log."""
        return StackError(f"{self.part}: {what}. The end of {self.command.log}:\n{self.tail()}")

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Waits for the part to be ready; :class:`StackError` if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self.exit_code is not None:
                raise self.failure(f"ended with {describe_exit(self.exit_code)} while starting")
            if time.monotonic() > deadline:
                raise self.failure(f"not ready after {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def wait(self, seconds: float) -> int:
        """Waits for the end; raises :class:`StackError` if it takes too long."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still running after {seconds:.0f} s") from None

    def request_stop(self) -> None:
        """Asks the part to stop, once, without waiting."""
        if self._process.poll() is None and not self._stop_requested:
            self._stop_requested = True
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.command.stop_signal)

    def stop(self) -> None:
        """Stops the part and everything it started."""
        self.request_stop()
        try:
            self._process.wait(self.command.stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # It led a session of its own, so its leftover children are in its process group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """``exit code 3`` or ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
