"""What watched a run, as a document beside its result: the key that names it.

A result says what a run came to. Whatever watches the run more closely (today the event log) is a
document of its own with its own key, so that watching changes no byte of a result::

    kind       what it is: event-log
    level      what was watched, and how closely: kvmmmu
    trace, variant, simulator    the digests that name the run, as in its result

Equal keys name equal bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Self

import msgpack

from refault.results import RunResult


@dataclasses.dataclass(frozen=True, slots=True)
class DocumentKey:
    """Which document this is; ``kind`` and ``level`` are words without spaces."""

    kind: str
    level: str
    trace_digest: str
    variant_digest: str
    simulator_digest: str

    @classmethod
    def beside(cls, result: RunResult, *, kind: str, level: str) -> Self:
        """The key of the document of that kind and level that watched the run of ``result``."""
        return cls(kind, level, result.trace_digest, result.variant_digest, result.simulator_digest)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the key in canonical msgpack: one word for it."""
        return hashlib.sha256(msgpack.packb(dataclasses.astuple(self))).hexdigest()

    def to_line(self) -> str:
        """The key as a comment in a document of lines: ``# refault: kind=event-log level=…``."""
        words = (f"{name}={value}" for name, value in dataclasses.asdict(self).items())
        return f"# refault: {' '.join(words)}\n"


def event_log_key(result: RunResult) -> DocumentKey:
    """The key of the event log of a run: the text of all tracepoints of ``kvmmmu``."""
    return DocumentKey.beside(result, kind="event-log", level="kvmmmu")
