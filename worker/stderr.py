"""What a process said last, for those who find it dead.

While an attempt runs, file descriptor 2 of its process is a file of its own, so
that the words of C code and the interpreter's last traceback survive the
process. An attempt that ends removes its file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from db.shards.fences import Fence

TAIL_BYTES = 4096
# What the interpreter names its death by stands before the tracebacks of all threads.
HEAD_BYTES = 512


def path_of(folder: Path, fence: Fence) -> Path:
    """Where the stderr of an attempt stands while it runs."""
    return folder / f"{fence.shard_id}-{fence.attempt}.stderr"


@contextlib.contextmanager
def kept(folder: Path, fence: Fence) -> Iterator[None]:
    """Sends stderr to the attempt's file; afterwards it goes where it went, file included."""
    path = path_of(folder, fence)
    before = os.dup(2)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        with contextlib.suppress(FileNotFoundError):
            os.write(2, _take_ends(path))


def take_tail(folder: Path, fence: Fence) -> str:
    """The first and last words of a dead attempt, or nothing; they are said once."""
    try:
        return _take_ends(path_of(folder, fence)).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _take_ends(path: Path) -> bytes:
    """How a file begins and ends; it is removed."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        text = stream.read(HEAD_BYTES + TAIL_BYTES)
        if size > len(text):
            stream.seek(-TAIL_BYTES, os.SEEK_END)
            text = text[:HEAD_BYTES] + b"\n[...]\n" + stream.read(TAIL_BYTES)
    path.unlink(missing_ok=True)
    return text
