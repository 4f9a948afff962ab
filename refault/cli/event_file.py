"""Where ``--events`` writes: a file, compressed by its ending, or standard output.

The last line is the key of the log (:mod:`refault.documents`). It comes last because a trace's
digest is known once the trace has been read; a log without it is not whole.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from refault.errors import InvalidParameter

STANDARD_OUTPUT = "-"


@contextlib.contextmanager
def event_file(name: str | None) -> Iterator[Callable[[str], object] | None]:
    """A function that takes the lines of an event log; None without ``--events``.

    A file appears under its name when the log is complete, and not at all if it never is.
    """
    if name is None:
        yield None
        return
    if name == STANDARD_OUTPUT:
        yield sys.stdout.write
        return
    target = Path(name)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(partial.open("wb"))
            write: Callable[[bytes], object] = file.write
            if target.suffix == ".zst":
                stream = zstandard.ZstdCompressor().stream_writer(file)
                write = stack.enter_context(stream).write
            yield lambda text: write(text.encode())
        partial.replace(target)
    except OSError as error:
        raise InvalidParameter(
            f"--events: {target} cannot be written: {error.strerror}; choose another file"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
