"""Opening a case's input as a trace, whatever format it has."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from refault.trace import SUFFIX, TraceReader
from refault.trace.importers.registry import PTT, VECTOR, Wanted

if TYPE_CHECKING:
    from refault.golden.folders import Case


@contextlib.contextmanager
def opened(case: Case) -> Iterator[TraceReader]:
    """The case's input, converted in memory unless it is a trace already.

    Raises:
        RefaultError: it cannot be read.
    """
    if case.source.suffix == SUFFIX:
        with TraceReader(case.source) as reader:
            yield reader
        return
    ram_mib = case.ram_mib if case.is_capture else None
    with TraceReader(io.BytesIO(_converted(case.source, ram_mib))) as reader:
        yield reader


@functools.lru_cache(maxsize=1)
def _converted(source: Path, ram_mib: int | None) -> bytes:
    """A capture (of a guest with so much memory) or a vector as a trace.

    The last one is kept, because a folder's cases come input by input.
    """
    converted = io.BytesIO()
    importer = VECTOR if ram_mib is None else PTT
    importer.convert(source, converted, Wanted(ram_mib=ram_mib, level=1))
    return converted.getvalue()
