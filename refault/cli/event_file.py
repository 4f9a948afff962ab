"""Where ``--events`` and ``--out`` write: a file, compressed by its ending, or standard output.

The last line of an event log is its key (:mod:`refault.documents`). It comes last because a trace's
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
def event_file(
    name: str | None, *, option: str = "--events"
) -> Iterator[Callable[[str], object] | None]:
    """A function that takes the text of the file that ``option`` names; None without a name.

    A file appears under its name when all of it is written, and not at all if it never is.
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
            f"{option}: {target} cannot be written: {error.strerror}; choose another file"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
