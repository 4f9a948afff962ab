r"""The state of a replay between two parts of its rows, saved to a file and resumed from it.

The file is written and read in one pass, with little memory beside the state itself::

    ┌───────┬──────────────────────────────── zstd ───────────────────────────────┬────────┐
    │RFSNAP2│ size of head │ head: msgpack │ words of the lowering │ words of each │ sha256 │
    │  \n   │   4 bytes    │               │       6 arrays        │     host      │ of all │
    └───────┴─────────────────────────────────────────────────────────────────────┴────────┘

The head names each host's variant and engine, and the digest of the trace up to the current block,
so that a snapshot cannot be resumed under another machine or on another trace. The seal finds
damage before anything is unpacked. A forged file can have a valid seal: where others can write
snapshots, keep the seal elsewhere. Whatever the seal, what is read is checked against its bounds
(:mod:`refault.replay.snapshot_checks`, and each engine's own checks), because kernels do not check
indices.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgpack
import numpy as np
import zstandard

from refault.engines import get_engine
from refault.errors import SnapshotRefused
from refault.replay import snapshot_checks as checks
from refault.replay.budget import Budget
from refault.replay.compile.jit import native
from refault.replay.lowering.known_memory import Lowering
from refault.replay.lowering.rows import RowSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.trace import Block, TraceHeader, TraceReader

MAGIC = b"RFSNAP2\n"
SEAL_BYTES = 32
CHUNK_BYTES = 1 << 20
#: An array of 64-bit words is at most a few GiB; a head, some MiB.
HEAD_BYTES_MAX = 64 << 20
_WINDOW_BYTES_MAX = 8 << 20


class Schedule:
    """After how many events the next snapshot is due."""

    def __init__(self, events: int, every: int) -> None:
        self._every = every
        self._next = events + every

    def has_come(self, events: int) -> bool:
        """Whether one is due after ``events``."""
        return events >= self._next

    def advance(self, events: int) -> None:
        """One was taken after ``events``."""
        self._next = events + self._every


class Snapshot:
    """The state of a replay, valid until the callback that gets it returns."""

    def __init__(self, source: RowSource, hosts: Sequence[Host], trace: TraceReader) -> None:
        packed = [host.pack() for host in hosts]
        self._states = [state for state, _ in packed]
        self._words = [list(words) for _, words in packed]
        self._source = source
        self._hosts = hosts
        self._trace = trace

    @property
    def events(self) -> int:
        """How many events of the trace are done."""
        return self._source.events

    def write(self, file: BinaryIO) -> str:
        """Write it to ``file``; answers its seal in hex, which :func:`seal_of` reads again."""
        sealed = _Sealed(file)
        sealed.write(MAGIC)
        head = msgpack.packb(self._head())
        compressor = zstandard.ZstdCompressor(level=1)
        with compressor.stream_writer(sealed, closefd=False) as stream:  # type: ignore[arg-type]
            stream.write(len(head).to_bytes(4, "little"))
            stream.write(head)
            for words in self._arrays():
                view = np.asarray(words, "<i8").data.cast("B")
                for at in range(0, len(view), CHUNK_BYTES):
                    stream.write(view[at : at + CHUNK_BYTES])
        seal = sealed.sha256.digest()
        sealed.write(seal)
        return seal.hex()

    def _arrays(self) -> Iterator[Any]:
        yield from self._source.lowering
        for words in self._words:
            yield from words

    def _head(self) -> dict[str, Any]:
        return {
            "events": self._source.events,
            "trace_so_far": self._trace.framed_digest,
            "lowering": [len(words) for words in self._source.lowering],
            "hosts": [
                {
                    "variant": host.variant.digest,
                    "engine": get_engine(host.variant.engine).digest,
                    "operation_count": host.operation_count,
                    "sizes": [len(each) for each in words],
                    "state": state,
                    "notes": host.notes.pack(),
                }
                for host, state, words in zip(self._hosts, self._states, self._words, strict=True)
            ],
        }


class Resumed(NamedTuple):
    """What a snapshot held: the state of lowering, the hosts, the digest of the trace so far."""

    source: RowSource
    hosts: list[Host]
    trace_so_far: str

    def checked(self, trace: TraceReader) -> Iterator[Block]:
        """The trace's blocks; raises SnapshotRefused if those done are not the snapshot's."""
        events = self.source.events
        is_same = False
        for block in trace.blocks(max(0, events - 1)):
            if block.first_event_index + block.event_count >= events and not is_same:
                is_same = trace.framed_digest == self.trace_so_far
                checks.need(is_same, "it was taken on another trace")
            yield block
        checks.need(is_same, "it was taken after the end of this trace")


def seal_of(path: Path) -> str:
    """The seal of a file in hex, which :func:`read` checks its content against.

    Raises:
        SnapshotRefused: there is no such file.
    """
    try:
        with path.open("rb") as file:
            file.seek(-min(SEAL_BYTES, file.seek(0, 2)), 2)
            return file.read().hex()
    except OSError as error:
        raise SnapshotRefused(f"the snapshot cannot be read: {error.strerror}") from error


def read(
    path: Path, header: TraceHeader, variants: Sequence[Variant], budget: Budget | None = None
) -> Resumed:
    """The replay that was saved to ``path``, with its arrays within ``budget``.

    Raises:
        ReplayTooLarge: its arrays would exceed the budget.
        SnapshotRefused: it is damaged, or of other engines, variants or memory slots.
    """
    try:
        with path.open("rb") as file:
            body = _Body(file, _check_seal(file))
            decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
            with decompressor.stream_reader(body) as stream:  # type: ignore[arg-type]
                return _unpacked(stream, header, variants, budget or Budget())
    except OSError as error:
        raise SnapshotRefused(f"the snapshot cannot be read: {error.strerror}") from error
    except zstandard.ZstdError as error:
        raise SnapshotRefused(f"the snapshot cannot be unpacked: {error}") from error


def _unpacked(
    stream: BinaryIO, header: TraceHeader, variants: Sequence[Variant], budget: Budget
) -> Resumed:
    engines = [get_engine(variant.engine) for variant in variants]
    wanted = [(v.digest, engine.digest) for v, engine in zip(variants, engines, strict=True)]
    head = checks.head(_unpack_head(stream), wanted)
    source = RowSource(header, budget)
    source.events = head["events"]
    checks.lowering_sizes(head["lowering"], source.lowering)
    source.share.ask(sum(head["lowering"]), "its snapshot")
    arrays = [_words(stream, count) for count in head["lowering"]]
    checks.lowering(Lowering(*arrays), source.lowering, header.vcpu_count)
    source.lowering = Lowering(*map(native, arrays))
    source.share.settle(source.lowering)
    hosts = []
    for variant, engine, entry in zip(variants, engines, head["hosts"], strict=True):
        host = engine.open(variant, header, budget)
        host.operation_count = entry["operation_count"]
        host.notes.restore(entry["notes"])
        host.restore(entry["state"], entry["sizes"], functools.partial(_words, stream))
        hosts.append(host)
    checks.need(stream.read(1) == b"", "bytes follow its end")
    return Resumed(source, hosts, head["trace_so_far"])


def _unpack_head(stream: BinaryIO) -> object:
    size = int.from_bytes(_exactly(stream, 4), "little")
    checks.need(size <= HEAD_BYTES_MAX, f"its head has {size} bytes")
    try:
        return msgpack.unpackb(_exactly(stream, size))
    except (ValueError, msgpack.UnpackException) as error:
        raise SnapshotRefused(
            f"the snapshot cannot be used: its head is not msgpack: {error}"
        ) from (error)


def _words(stream: BinaryIO, count: int) -> Any:
    """``count`` words, read a piece at a time into the array they stay in."""
    words = np.zeros(count, "<i8")
    view = words.data.cast("B")
    at = 0
    while at < len(view):
        data = stream.read(min(CHUNK_BYTES, len(view) - at))
        checks.need(bool(data), "it ends early")
        view[at : at + len(data)] = data
        at += len(data)
    return words


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(min(CHUNK_BYTES, size - len(data)))
        checks.need(bool(piece), "it ends early")
        data += piece
    return data


def _check_seal(file: BinaryIO) -> int:
    """Check the magic and the seal of a file; answers how many bytes are between them."""
    size = file.seek(0, 2)
    file.seek(0)
    checks.need(file.read(len(MAGIC)) == MAGIC, "it is not a snapshot of this version")
    checks.need(size > len(MAGIC) + SEAL_BYTES, "it ends early")
    sha256 = hashlib.sha256(MAGIC)
    left = body_bytes = size - len(MAGIC) - SEAL_BYTES
    while left:
        data = file.read(min(CHUNK_BYTES, left))
        checks.need(bool(data), "it ends early")
        sha256.update(data)
        left -= len(data)
    is_whole = hmac.compare_digest(file.read(SEAL_BYTES), sha256.digest())
    checks.need(is_whole, "its checksum does not match: it is damaged")
    return body_bytes


class _Sealed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.sha256.update(data)
        return len(data)


class _Body:
    """What is between the magic and the seal, to be read once."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        file.seek(len(MAGIC))
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data
