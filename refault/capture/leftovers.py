"""What a capture that was killed leaves: its recording becomes a trace, its scratch folder goes.

A capture that ends by itself, by an error or by Ctrl-C leaves nothing but its trace. One that is
killed (kill -9, a power cut) cannot tidy up, so the next one does::

    NAME.rft.recording.partial     killed while the guest ran: whole blocks of 2^16 events
    NAME.rft.recording             killed while the trace was compressed: all that was recorded
    NAME.unverified.rft.partial    the same: half a trace, which the next one overwrites
    $TMPDIR/refault-capture-*      initramfs, swap, console

QEMU itself dies with the capture. A capture that lives holds a lock (flock) on what it writes, so
that nothing in use is touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from refault.capture.stream import GuestModes
from refault.errors import CaptureError, RefaultError
from refault.trace import SUFFIX, TraceReader, TraceWriter

RECORDING: Final = f"{SUFFIX}.recording"
PARTIAL: Final = ".partial"
SCRATCH: Final = "refault-capture-"
_SALVAGED: Final = ".salvaged"
_LEVEL: Final = 9
_OLD_SECONDS: Final = 60
_LOST: Final = "the capture was killed; what the guest did after the last event is not in it"


@dataclasses.dataclass(frozen=True, slots=True)
class Salvaged:
    """What was done about a killed capture; ``path`` is None where nothing whole was recorded."""

    leftover: Path
    path: Path | None
    event_count: int

    def __str__(self) -> str:
        """One line for whoever starts the next capture."""
        said = f"an earlier capture was killed and left {self.leftover.name}: "
        if self.path is None:
            return f"{said}nothing of it can be read; removed"
        return f"{said}its {self.event_count:,} events are kept as {self.path}"


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder that exists, so that no other capture tidies it up."""
    held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def salvage(out: Path, name: str) -> list[Salvaged]:
    """Make traces of what killed captures of this name left in a folder, and remove the rest.

    Raises:
        CaptureError: a capture of this name runs now, or the folder cannot be written.
    """
    done = []
    for leftover in (out / f"{name}{RECORDING}{PARTIAL}", out / f"{name}{RECORDING}"):
        if not leftover.is_file():
            continue
        try:
            if _is_held(leftover):
                raise CaptureError(
                    f"{leftover} is being written by another capture; wait for it, or choose "
                    "another --name"
                )
            done.append(_salvage(leftover, out, name))
            leftover.unlink()
        except OSError as error:
            raise CaptureError(
                f"{leftover} of an earlier capture cannot be used: {error.strerror}; remove it"
            ) from error
    return done


def _salvage(leftover: Path, out: Path, name: str) -> Salvaged:
    path = _free_name(out, name)
    try:
        count = _copy(leftover, path)
    except RefaultError as error:
        if isinstance(error.__cause__, OSError):
            raise CaptureError(
                f"{leftover} was left by an earlier capture, and what it recorded cannot be kept: "
                f"{error}; make room, or remove it"
            ) from error
        return Salvaged(leftover, None, 0)
    return Salvaged(leftover, path if count else None, count)


def _copy(leftover: Path, path: Path) -> int:
    """Write the whole blocks of a recording as a trace; answers how many events they have."""
    with TraceReader(leftover, allow_truncated=True) as reader:
        modes, count = GuestModes(), 0
        for block in reader.blocks():
            modes.see_events(block)
            count += block.event_count
    if not count:
        return 0
    header = dataclasses.replace(
        reader.header,
        name=path.name.removesuffix(SUFFIX),
        guest_mode=modes.guest_mode,
        losses=(*reader.header.losses, _LOST),
        provenance={**reader.header.provenance, "ended": "killed"},
    )
    with (
        TraceReader(leftover, allow_truncated=True) as again,
        TraceWriter(path, header, level=_LEVEL) as writer,
    ):
        for block in again.blocks():
            writer.append_block(block)
        writer.close()
    return count


def _free_name(out: Path, name: str) -> Path:
    number = 1
    while True:
        ending = _SALVAGED if number == 1 else f"{_SALVAGED}-{number}"
        path = out / f"{name}{ending}{SUFFIX}"
        if not path.exists():
            return path
        number += 1


def _is_held(path: Path) -> bool:
    held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks there, so nobody holds one
        return False
    finally:
        os.close(held)
    return False


def sweep_scratch() -> None:
    """Remove the scratch folders of captures that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            told = folder.stat(follow_symlinks=False)
            # A younger one may belong to a capture that is about to lock it.
            is_old = time.time() - told.st_mtime > _OLD_SECONDS
            if is_old and told.st_uid == os.getuid() and folder.is_dir() and not _is_held(folder):
                shutil.rmtree(folder, ignore_errors=True)
