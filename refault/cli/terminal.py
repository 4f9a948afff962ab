r"""The one way out: all that a command prints passes a stream that cleans it.

File names, headers of traces, names and messages of a service come from strangers, and a terminal
obeys what it is sent. :func:`clean_output` puts a :class:`CleanStream` before standard output and
standard error for as long as the command runs, so that no ``print``, no error of the option parser
and no warning goes round it. Only progress bars write to the terminal itself; they clean the names
they show (:mod:`refault.cli.progress`).
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from refault.printable import printable

if TYPE_CHECKING:
    from typing import NoReturn


class OutputLost(Exception):
    """Standard output takes no more; ``str()`` says why, and is empty if its reader went away."""


class CleanStream:
    """A text stream that passes on nothing a terminal would obey, and nothing it cannot encode."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        encoding = getattr(stream, "encoding", None) or "utf-8"
        self._encoding = codecs.lookup(encoding).name

    def write(self, text: str) -> int:
        """Write the text with each unprintable character as an escape; newline and tab stay."""
        # CR before LF, the line end of CSV, moves no cursor that LF would not move.
        shown = "\r\n".join(printable(part, lines=True) for part in text.split("\r\n"))
        if self._encoding != "utf-8":
            shown = shown.encode(self._encoding, "backslashreplace").decode(self._encoding)
        try:
            if self._stream is not None:
                self._stream.write(shown)
            elif shown:
                raise OutputLost
        except (OSError, ValueError) as error:
            _lost(error)
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            _lost(error)

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor below; ``OSError`` if there is none."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """The encoding of the stream below."""
        return self._encoding

    @property
    def raw(self) -> TextIO | None:
        """The stream below, for what draws on a terminal."""
        return self._stream


@contextlib.contextmanager
def clean_output() -> Iterator[None]:
    """Cleans all that is printed meanwhile.

    Descriptors that were closed are opened on nothing first: a file of ours would get their
    numbers, and with them what is meant for the terminal.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    out, err = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", CleanStream(out))
    sys.stderr = cast("TextIO", CleanStream(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def print_json(value: Any, *, indent: int | None = 2, file: TextIO | None = None) -> None:
    """Print a value as JSON of ASCII alone, which stays JSON on its way through the stream."""
    # DEL is the one unprintable character that JSON need not escape.
    text = json.dumps(value, indent=indent).replace("\x7f", "\\u007f")
    print(text, file=file, flush=indent is None)


def print_error(message: str) -> None:
    """Say on standard error what went wrong; only the first line begins at the left edge."""
    first, *rest = message.split("\n")
    lines = [f"refault: {first}", *(f"  {line.removeprefix('  ')}" for line in rest)]
    # Where nobody is left to be told, the exit code says it.
    with contextlib.suppress(OutputLost):
        print("\n".join(lines), file=sys.stderr)


def terminal_of(stream: TextIO) -> TextIO:
    """The stream below a cleaned one: for progress bars, which draw by escape sequences."""
    raw = stream.raw if isinstance(stream, CleanStream) else stream
    return raw or Path(os.devnull).open("w", encoding="utf-8")


def _lost(error: OSError | ValueError) -> NoReturn:
    is_full = isinstance(error, OSError) and not isinstance(error, BrokenPipeError)
    raise OutputLost(getattr(error, "strerror", "") if is_full else "") from error
