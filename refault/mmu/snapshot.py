r"""A replay put aside between two parts of its rows, and taken up again.

A file, written and read in one pass and in little memory beside the state itself::

    ┌───────┬──────────────────────────────── zstd ───────────────────────────────┬────────┐
    │RFSNAP1│ size of head │ head: msgpack │ words of the lowering │ words of each │ sha256 │
    │  \n   │   4 bytes    │               │       6 arrays        │ host: 7 arrays│ of all │
    └───────┴─────────────────────────────────────────────────────────────────────┴────────┘

The head names the simulator, the variants and the very bytes of the trace up to the block under
way, so that a snapshot cannot be taken up under another machine or on another trace. The seal
finds damage before anything is unpacked. A forged file could have a good seal: where snapshots
cross a border, keep the seal on your own side. What is read is held against its
bounds all the same (:mod:`refault.mmu.snapshot_checks`), because kernels do not check indices.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgpack
import numpy as np
import zstandard

from refault.errors import ResultError, SnapshotRefused
from refault.mmu import layout as x86
from refault.mmu import replay as loop
from refault.mmu import snapshot_checks as checks
from refault.mmu.budget import Budget
from refault.mmu.jit import INTERPRETED
from refault.mmu.machine import Machine
from refault.mmu.model import Lowering
from refault.mmu.outcomes import DigestState, OutcomeDigest
from refault.mmu.rows import RowSource
from refault.mmu.source import simulator_digest
from refault.mmu.variant_host import Host
from refault.results import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from refault.catalogue import Variant
    from refault.trace import Block, TraceHeader, TraceReader

MAGIC = b"RFSNAP1\n"
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
        """One was offered there."""
        self._next = events + self._every


class Snapshot:
    """The state of a replay, which goes on when the call it was given to ends."""

    def __init__(self, source: RowSource, hosts: Sequence[Host], trace: TraceReader) -> None:
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
        for host in self._hosts:
            yield from host.machine

    def _head(self) -> dict[str, Any]:
        return {
            "simulator": simulator_digest(),
            "events": self._source.events,
            "trace_so_far": self._trace.framed_digest,
            "lowering": [len(words) for words in self._source.lowering],
            "hosts": [_head_of(host) for host in self._hosts],
        }


def _head_of(host: Host) -> dict[str, Any]:
    stopped = host.findings.stopped
    return {
        "variant": host.variant.digest,
        "sizes": [len(words) for words in host.machine],
        "operation_count": host.operation_count,
        "body_count": host.body_count,
        "limit_is_due": host.limit_is_due,
        "tally": [int(word) for word in host.log.state[loop.TALLY : loop.SHIFT]],
        "findings": [finding.to_dict() for finding in host.findings.kept],
        "finding_count": host.findings.count,
        "stopped": None if stopped is None else stopped.to_dict(),
        "outcomes": list(host.outcomes.state),
    }


class Resumed(NamedTuple):
    """What a snapshot held: where the rows stand, the hosts, and the trace they have seen."""

    source: RowSource
    hosts: list[Host]
    trace_so_far: str

    def checked(self, trace: TraceReader) -> Iterator[Block]:
        """The trace's blocks; raises SnapshotRefused if those done are not the snapshot's."""
        events = self.source.events
        is_same = False
        for block in trace.blocks():
            if block.first_event_index + block.event_count >= events and not is_same:
                is_same = trace.framed_digest == self.trace_so_far
                checks.need(is_same, "it was taken on another trace")
            yield block
        checks.need(is_same, "it was taken further on than the trace goes")


def seal_of(path: Path) -> str:
    """What a file gives itself out to be: its seal in hex, which :func:`read` holds it against.

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
    """The replay that was put aside in ``path``; its arrays are within ``budget``, or not made.

    Raises:
        ReplayTooLarge: they would not be.
        SnapshotRefused: it is damaged, or not of this simulator, these variants and such a trace.
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
    head = checks.head(_unpack_head(stream), simulator_digest(), [v.digest for v in variants])
    source = RowSource(header, budget)
    source.events = head["events"]
    checks.lowering_sizes(head["lowering"], source.lowering)
    source.share.ask(sum(head["lowering"]), "its snapshot")
    arrays = [_words(stream, count) for count in head["lowering"]]
    checks.lowering(Lowering(*arrays), source.lowering, header.vcpu_count)
    source.lowering = Lowering(*map(_native, arrays))
    source.share.settle(source.lowering)
    hosts = []
    for variant, entry in zip(variants, head["hosts"], strict=True):
        host = Host(variant, header, budget=budget)
        checks.machine_sizes(entry["sizes"])
        host.share.ask(sum(entry["sizes"]), "its snapshot")
        machine = Machine(*(_words(stream, count) for count in entry["sizes"]))
        checks.machine(machine, variant.knobs)
        host.machine = Machine(*map(_native, machine))
        host.share.settle(host.machine)
        _restore(host, entry)
        hosts.append(host)
    checks.need(stream.read(1) == b"", "bytes follow its end")
    return Resumed(source, hosts, head["trace_so_far"])


def _restore(host: Host, entry: dict[str, Any]) -> None:
    host.operation_count = entry["operation_count"]
    host.body_count = entry["body_count"]
    host.limit_is_due = entry["limit_is_due"]
    host.log.state[loop.TALLY : loop.SHIFT] = entry["tally"]
    host.outcomes = OutcomeDigest.from_state(DigestState(*entry["outcomes"]))
    try:
        findings = [Finding.from_dict(finding) for finding in entry["findings"]]
        stopped = None if entry["stopped"] is None else Finding.from_dict(entry["stopped"])
    except ResultError as error:
        raise SnapshotRefused(f"the snapshot cannot be used: {error}") from error
    host.findings.kept, host.findings.count = findings, entry["finding_count"]
    host.findings.stopped = stopped
    host.stopped = stopped is not None
    checks.need(host.stopped == bool(host.machine.vm[x86.BUG]), "a host broke without a finding")


def _unpack_head(stream: BinaryIO) -> object:
    size = int.from_bytes(_exactly(stream, 4), "little")
    checks.need(size <= HEAD_BYTES_MAX, f"its head has {size} bytes")
    try:
        return msgpack.unpackb(_exactly(stream, size))
    except (ValueError, msgpack.UnpackException) as error:
        raise SnapshotRefused(
            f"the snapshot cannot be used: its head is no msgpack, {error}"
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


def _native(words: Any) -> Any:
    return words.tolist() if INTERPRETED else words.astype(np.int64, copy=False)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = stream.read(min(CHUNK_BYTES, size - len(data)))
        checks.need(bool(piece), "it ends early")
        data += piece
    return data


def _check_seal(file: BinaryIO) -> int:
    """The file must begin and end like a snapshot; answers how many bytes stand between."""
    size = file.seek(0, 2)
    file.seek(0)
    checks.need(file.read(len(MAGIC)) == MAGIC, "it does not begin like one of this version")
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
    """What stands between the magic and the seal, to be read once."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        file.seek(len(MAGIC))
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data
