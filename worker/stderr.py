"""The last output of a process that died.

While an attempt runs, file descriptor 2 of its process is a file, so that the
output of C code and the interpreter's last traceback survive the process. An
attempt that ends removes its file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from db.shards.fences import Fence

TAIL_BYTES = 4096
# faulthandler's first line, the cause, comes before the tracebacks of all threads.
HEAD_BYTES = 512


def path_of(folder: Path, fence: Fence) -> Path:
    """The path of an attempt's stderr."""
    return folder / f"{fence.shard_id}-{fence.attempt}.stderr"


@contextlib.contextmanager
def kept(folder: Path, fence: Fence) -> Iterator[None]:
    """Redirects stderr to the attempt's file; afterwards copies the file to the original stderr."""
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
    """The beginning and end of a dead attempt's stderr, or nothing; removes the file."""
    try:
        return _take_ends(path_of(folder, fence)).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _take_ends(path: Path) -> bytes:
    """The beginning and end of a file, which is removed."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        text = stream.read(HEAD_BYTES + TAIL_BYTES)
        if size > len(text):
            stream.seek(-TAIL_BYTES, os.SEEK_END)
            text = text[:HEAD_BYTES] + b"\n[...]\n" + stream.read(TAIL_BYTES)
    path.unlink(missing_ok=True)
    return text
