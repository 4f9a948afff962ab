"""Opening a case's input as a trace, whatever format it has."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from refault.trace import SUFFIX, TraceReader
from refault.trace.importers.golden import import_golden
from refault.trace.importers.ptt import import_ptt

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
    converted = io.BytesIO()
    if case.is_capture:
        import_ptt(case.source, converted, ram_mib=case.ram_mib, level=1)
    else:
        import_golden(case.source, converted, level=1)
    converted.seek(0)
    with TraceReader(converted) as reader:
        yield reader
