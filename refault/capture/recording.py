"""Runs the guest and writes what the plugin tells as a trace, in bounded memory.

A thread reads the plugin's pipe into a short queue, so that the guest need not wait while a block
is compressed; everything else happens in the caller's thread, which Ctrl-C reaches.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from refault.capture.qemu import Qemu
from refault.capture.request import Machine, command_line
from refault.capture.stream import RecordStream
from refault.errors import CaptureError
from refault.printable import printable
from refault.trace import TraceWriter

#: Each ends a recording; what there is of it is kept.
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_READ_BYTES: Final = 1 << 20
_QUEUE_CHUNKS: Final = 64
_TICK_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 20.0
_CONSOLE_BYTES_MAX: Final = 16 << 20
_TOLD_LINES: Final = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a recording is; ``is_recording`` is False while the guest boots unrecorded.

    ``seconds`` are since QEMU was started, ``recording_seconds`` since its first record.
    """

    seconds: float
    recording_seconds: float
    instructions: int
    events: int
    bytes_read: int
    is_recording: bool
    console: str


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded. ``ended`` is "end", "interrupted", "timeout" or "limit"."""

    ended: str
    command: tuple[str, ...]
    stream: RecordStream
    report: Mapping[str, int]
    console: str
    seconds: float


@dataclasses.dataclass(slots=True)
class _Run:
    process: subprocess.Popen[bytes]
    chunks: queue.Queue[bytes]
    console: Path
    began: float
    ended: str = "end"
    bytes_read: int = 0
    asked_at: float = 0.0
    interrupts: int = 0
    first_record: float = 0.0


def record(
    qemu: Qemu,
    machine: Machine,
    writer: TraceWriter,
    *,
    scratch: Path,
    timeout: float,
    progress: Callable[[Progress], None] | None = None,
) -> Recording:
    """Run the guest until it ends, its marks end the recording, or ``timeout`` seconds are over.

    Ctrl-C ends the recording; a second one raises KeyboardInterrupt.

    Raises:
        CaptureError: QEMU fails, or the guest ends before anything was recorded.
        TraceError: the trace cannot be written.
    """
    stream = RecordStream(writer)
    with _running(qemu, machine, scratch) as (run, command, report):
        with _interrupts_counted(run):
            _consume(run, stream, timeout, progress)
        stream.finish()
        _stop(run)
        seconds = time.monotonic() - run.began
        console = _console_of(run.console)
        problems = (scratch / "qemu.log").read_text(errors="replace").strip()
    _check(run, stream, console, problems, timeout)
    told = _report_of(report)
    if machine.events_max and stream.event_count >= machine.events_max:
        run.ended = "limit"
    return Recording(run.ended, tuple(command), stream, told, console, seconds)


@contextlib.contextmanager
def _running(
    qemu: Qemu, machine: Machine, scratch: Path
) -> Iterator[tuple[_Run, Sequence[str], list[bytes]]]:
    """QEMU, with a thread that reads its records; both are gone when the block is left."""
    out, out_in = os.pipe()
    report, report_in = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _READ_BYTES)
    command = command_line(qemu, machine, out=out_in, report=report_in)
    console, log = scratch / "console.log", scratch / "qemu.log"
    try:
        with console.open("wb") as stdout, log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(out_in, report_in),
                start_new_session=True,  # so that Ctrl-C reaches this program alone
            )
    except OSError as error:
        raise CaptureError(f"{qemu.path} cannot be run: {error.strerror}") from error
    finally:
        os.close(out_in)
        os.close(report_in)
    chunks: queue.Queue[bytes] = queue.Queue(_QUEUE_CHUNKS)
    reports: list[bytes] = []
    readers = [
        threading.Thread(target=_read_records, args=(out, chunks), daemon=True),
        threading.Thread(target=_read_report, args=(report, reports), daemon=True),
    ]
    for reader in readers:
        reader.start()
    run = _Run(process, chunks, console, time.monotonic())
    try:
        yield run, command, reports
        readers[1].join(_GRACE_SECONDS)
    finally:
        process.kill()
        process.wait()
        while readers[0].is_alive():  # it may wait for room in the queue
            with contextlib.suppress(queue.Empty):
                chunks.get(timeout=_TICK_SECONDS)


@contextlib.contextmanager
def _interrupts_counted(run: _Run) -> Iterator[None]:
    """Signals to end count, and only a second one raises: an exception would lose records."""

    def count(number: int, frame: FrameType | None) -> None:
        del number, frame
        run.interrupts += 1
        if run.interrupts > 1:
            raise KeyboardInterrupt

    with signals_handled(ENDING_SIGNALS, count):
        yield


@contextlib.contextmanager
def signals_handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Those signals go to ``handler`` meanwhile; only the main thread of a process can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _read_records(source: int, chunks: queue.Queue[bytes]) -> None:
    with os.fdopen(source, "rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            chunks.put(data)
    chunks.put(b"")


def _read_report(source: int, reports: list[bytes]) -> None:
    with os.fdopen(source, "rb") as file:
        reports.append(file.read(1 << 16))


def _consume(
    run: _Run,
    stream: RecordStream,
    timeout: float,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Take records until there are no more; ask QEMU to end when it is time."""
    while not _is_over(run, stream, timeout):
        if progress is not None:
            progress(_progress_of(run, stream))


def _is_over(run: _Run, stream: RecordStream, timeout: float) -> bool:
    now = time.monotonic()
    if not run.asked_at and run.interrupts:
        _ask_to_end(run, "interrupted")
    if not run.asked_at and now - run.began > timeout:
        _ask_to_end(run, "timeout")
    if not run.asked_at and _is_too_talkative(run.console):
        raise CaptureError(
            f"the guest wrote more than {_CONSOLE_BYTES_MAX >> 20} MiB to its console; it may be "
            "in a loop: " + _tail(_console_of(run.console))
        )
    if run.asked_at and now - run.asked_at > _GRACE_SECONDS:
        run.process.kill()
    try:
        data = run.chunks.get(timeout=_TICK_SECONDS)
    except queue.Empty:
        return False
    if not data:
        return True
    run.bytes_read += len(data)
    stream.feed(data)
    if stream.event_count and not run.first_record:
        run.first_record = time.monotonic()
    return False


def _ask_to_end(run: _Run, why: str) -> None:
    run.ended = why
    run.asked_at = time.monotonic()
    run.process.terminate()  # QEMU lets the plugin write its last records


def _stop(run: _Run) -> None:
    """The records are complete; the guest may still run."""
    run.process.terminate()
    try:
        run.process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        run.process.kill()


def _check(run: _Run, stream: RecordStream, console: str, problems: str, timeout: float) -> None:
    """Refuse what is no recording.

    Raises:
        CaptureError: says what QEMU or the guest said last.
    """
    has_crashed = run.process.returncode != 0 or stream.event_count
    if stream.recorded is None and run.ended == "end" and has_crashed:
        status = run.process.returncode
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise CaptureError(
            f"QEMU ended with {how} while it recorded: {_tail(problems) or _tail(console)}"
        )
    if stream.event_count:
        return
    if run.ended == "interrupted":
        raise KeyboardInterrupt
    said = _tail(console) or "nothing"
    if run.ended == "timeout":
        raise CaptureError(
            f"the guest did not come to its recording within {timeout:g} s; it said: {said}\n"
            "Give it more with --timeout, record from power on with --start boot, or see whether "
            "this kernel and initrd boot at all"
        )
    raise CaptureError(
        "the guest ended and nothing was recorded: no mark 1 with --start mark, or no paging with "
        f"--start boot; it said: {_tail(problems) or said}"
    )


def _progress_of(run: _Run, stream: RecordStream) -> Progress:
    now = time.monotonic()
    return Progress(
        seconds=now - run.began,
        recording_seconds=now - run.first_record if run.first_record else 0.0,
        instructions=stream.instruction_count,
        events=stream.event_count,
        bytes_read=run.bytes_read,
        is_recording=stream.event_count > 0,
        console=_console_of(run.console, 400).rpartition("\n")[0].rpartition("\n")[2],
    )


def _report_of(reports: Sequence[bytes]) -> dict[str, int]:
    try:
        told: dict[str, Any] = json.loads(b"".join(reports) or b"{}")
    except ValueError:
        return {}
    return {name: int(value) for name, value in told.items()}


def _is_too_talkative(console: Path) -> bool:
    return console.stat().st_size > _CONSOLE_BYTES_MAX


def _console_of(path: Path, last_bytes: int = 1 << 16) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - last_bytes))
        text = file.read().decode("utf-8", "replace").replace("\r", "")
    return printable(text, lines=True)


def _tail(text: str) -> str:
    return "\n".join(printable(text, lines=True).strip().splitlines()[-_TOLD_LINES:])
