"""The traces a command reads: foreign files become traces, and what engines refuse is told."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from refault.cli.terminal import print_error
from refault.errors import ImportFailed, ReplayRefused, TraceError
from refault.limits import FAULTS_ONLY, limits_of
from refault.trace import SUFFIX, TraceSummary
from refault.trace.importers import hostevents
from refault.trace.importers.ptt import trace_name
from refault.trace.importers.recognition import Kind, look
from refault.trace.importers.registry import Importer, Wanted

STANDARD_INPUT = Path("-")
_COPY_BYTES = 1 << 20

if TYPE_CHECKING:
    from refault.catalogue import Variant


def importer_of(source: Path, wanted: Wanted) -> Importer:
    """What makes a trace of the source.

    Raises:
        ImportFailed: nothing does, or more must be known.
    """
    found = look(source)
    if found.kind is Kind.TRACE:
        raise ImportFailed(found.refusal().replace(Kind.TRACE.value, "already a trace", 1))
    if found.kind is not Kind.IMPORTABLE:
        raise ImportFailed(found.refusal())
    if found.importer is None:
        raise AssertionError("what is importable has an importer")
    if reason := found.importer.refuses(wanted):
        raise ImportFailed(f"{source}: {reason}")
    return found.importer


def convert(importer: Importer, source: Path, target: Path, wanted: Wanted) -> TraceSummary:
    """Make a trace of the source; a synthetic guest runs an address stream.

    Raises:
        ImportFailed: the source is damaged.
        TraceError: the trace cannot be written.
    """
    if importer.references is None:
        return importer.convert(source, target, wanted)
    from refault.synth import streams

    return streams.convert(importer, source, target, wanted)


@contextmanager
def as_trace(source: Path) -> Iterator[Path]:
    """The source as a trace: itself, or what `refault import` makes of it, for as long as needed.

    Raises:
        ImportFailed, TraceError: it is neither.
    """
    if look(source).kind is Kind.TRACE:
        _refuse_fault_only(source, source)
        yield source
        return
    wanted = Wanted(name=trace_name(source))
    importer = importer_of(source, wanted)
    with tempfile.TemporaryDirectory(prefix="refault-") as folder:
        target = Path(folder) / f"{wanted.name}{SUFFIX}"
        convert(importer, source, target, wanted)
        _refuse_fault_only(target, source)
        yield target


@contextmanager
def on_disk(source: Path) -> Iterator[Path]:
    """The source as a file: standard input is kept in one as long, for some are read twice."""
    if source != STANDARD_INPUT:
        yield source
        return
    with tempfile.NamedTemporaryFile(prefix="refault-") as kept:
        try:
            shutil.copyfileobj(sys.stdin.buffer, kept, _COPY_BYTES)
            kept.flush()
        except (OSError, AttributeError) as error:
            raise ImportFailed(f"standard input cannot be read: {error}") from error
        try:
            yield Path(kept.name)
        except ImportFailed as error:
            raise ImportFailed(str(error).replace(kept.name, "standard input")) from error


def _refuse_fault_only(trace: Path, source: Path) -> None:
    """Refuse what every engine would, before one is compiled; ``source`` is the file to name."""
    from refault.trace import TraceReader

    with naming(trace), TraceReader(trace, allow_truncated=True) as reader:
        origin = reader.header.origin
    if origin == hostevents.ORIGIN:
        raise ReplayRefused(f"{source}: {FAULTS_ONLY}")


def is_refused(path: Path, variants: Sequence[Variant]) -> bool:
    """Whether an engine refuses the trace by its header; says why, before anything is compiled.

    What comes out of a pipe can be read once only, and is refused when it is replayed.
    """
    from refault.engines import get_engine
    from refault.trace import TraceReader

    if not path.is_file():
        return False
    with naming(path), TraceReader(path, allow_truncated=True) as trace:
        for variant in variants:
            if reason := get_engine(variant.engine).refuses(trace.header, variant):
                print_error(f"{path}: engine {variant.engine} cannot replay this: {reason}")
                return True
    return False


def limits_told(path: Path) -> tuple[str, ...]:
    """What the numbers of a trace cannot say; nothing of what comes out of a pipe."""
    from refault.trace import TraceReader

    if not path.is_file():
        return ()
    with naming(path), TraceReader(path, allow_truncated=True) as trace:
        return limits_of(trace.header.origin, trace.header.losses)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in the error about a trace that cannot be replayed."""
    try:
        yield
    except (TraceError, ReplayRefused) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
