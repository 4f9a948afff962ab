"""What watched a run, as a document beside its result: the key that names it.

A result says what a run came to. Whatever watches the run more closely (today the event log) is a
document of its own with its own key, so that watching changes no byte of a result::

    kind       what it is: event-log
    level      what was watched, and how closely: kvmmmu
    trace, variant, simulator    the digests that name the run, as in its result

Equal keys name equal bytes.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import msgpack

from refault.errors import ResultError
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


class Packed(abc.ABC):
    """A document that is plain data: one class for its bytes, whatever it tells."""

    __slots__ = ()
    #: What errors call it.
    NOUN: ClassVar[str]

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The document as JSON."""

    @classmethod
    @abc.abstractmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The document ``to_dict()`` made; raises ResultError naming what is wrong."""

    def to_bytes(self) -> bytes:
        """Canonical bytes: the same run gives the same ones on any machine."""
        packed: bytes = msgpack.packb(self.to_dict())
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The document ``to_bytes()`` made; raises ResultError."""
        try:
            return cls.from_dict(msgpack.unpackb(data))
        except (ValueError, msgpack.UnpackException, TypeError, AttributeError) as error:
            raise ResultError(f"{cls.NOUN}: not msgpack: {error}") from error

    @property
    def digest(self) -> str:
        """sha256 (hex) of ``to_bytes()``."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def event_log_key(result: RunResult) -> DocumentKey:
    """The key of the event log of a run: the text of all tracepoints of ``kvmmmu``."""
    return DocumentKey.beside(result, kind="event-log", level="kvmmmu")
