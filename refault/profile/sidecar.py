r"""Accounts in a snapshot: a run that goes on from it has them from its beginning.

They are a skippable frame of zstd behind the state of the hosts, which whoever reads only the state
passes over; the seal covers both::

    ┌───────┬── zstd: state of the hosts ──┬─────────── skippable frame ───────────┬──────┐
    │RFSNAP2│ as refault/replay/snapshot   │ zstd: msgpack │ size 4 bytes │RFACCT1\n│ seal │
    └───────┴──────────────────────────────┴───────────────────────────────────────┴──────┘
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import msgpack
import numpy as np
import zstandard

from refault.engines.account import words as ac
from refault.engines.account.host import Host as AccountHost
from refault.engines.shadow.state import words
from refault.errors import SnapshotRefused
from refault.replay.compile.jit import native
from refault.replay.snapshot import SEAL_BYTES, Snapshot
from refault.replay.snapshot_checks import need
from refault.timeline import MARKS_MAX, PLACES, SAMPLES_MAX, UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from refault.profile.observed import Observed
    from refault.replay.lowering.rows import RowSource
    from refault.trace import TraceReader

SKIPPABLE = 0x184D_2A50
MAGIC = b"RFACCT1\n"
#: A payload, and what it unpacks to, is at most this long; an account has 5 MiB.
BYTES_MAX = 64 << 20
UNPACKED_MAX = 512 << 20
_WORD_BYTES = 8


class Kept(Snapshot):
    """A snapshot with the accounts of its hosts."""

    def __init__(
        self, source: RowSource, hosts: Sequence[Observed], trace: TraceReader, unit: str
    ) -> None:
        super().__init__(source, hosts, trace)  # type: ignore[arg-type]  # as good as hosts
        self._observed = hosts
        self._unit = unit

    def write(self, file: BinaryIO) -> str:
        """Write it to ``file``; answers its seal in hex."""
        sealed = _Resealed(file)
        super().write(cast("BinaryIO", sealed))
        payload = zstandard.compress(msgpack.packb(self._body()), level=1)
        tail = payload + len(payload).to_bytes(4, "little") + MAGIC
        sealed.write(SKIPPABLE.to_bytes(4, "little") + len(tail).to_bytes(4, "little") + tail)
        return sealed.close()

    def _body(self) -> dict[str, Any]:
        source = self._observed[0].clock.instructions_before(self.events) if self._observed else 0
        return {
            "unit": self._unit,
            "events": self.events,
            "instructions": source,
            "hosts": [
                {"samples": each.pack_samples(), "account": _words_of(each)}
                for each in self._observed
            ],
        }


def _words_of(observed: Observed) -> list[bytes]:
    if not isinstance(observed.host, AccountHost):
        return []
    return [np.asarray(each, "<i8").tobytes() for each in observed.host.account]


class _Resealed:
    """A file whose last bytes, the seal, are replaced by one of everything."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._last = b""
        self._is_sealed = False

    def write(self, data: bytes) -> int:
        # The seal is the last write of a snapshot, and of that size alone.
        if self._last:
            is_seal = len(self._last) == SEAL_BYTES and self._last == self._sha256.digest()
            if not is_seal:
                self._sha256.update(self._last)
                self._file.write(self._last)
        self._last = bytes(data)
        return len(data)

    def close(self) -> str:
        """Write what is left, and the seal."""
        self.write(b"")
        self._file.write(self._sha256.digest())
        return self._sha256.hexdigest()


def read(path: Path) -> dict[str, Any]:
    """The accounts in a snapshot, whose seal is checked elsewhere.

    Raises:
        SnapshotRefused: there are none, or they are damaged.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2) - SEAL_BYTES
            foot = _at(file, end, 4 + len(MAGIC))
            need(foot[4:] == MAGIC, "it has no accounts: it was taken by an earlier release")
            size = int.from_bytes(foot[:4], "little")
            need(size <= BYTES_MAX, f"its accounts have {size} bytes")
            payload = _at(file, end - len(foot), size)
        unpacked = zstandard.ZstdDecompressor().decompress(payload, max_output_size=UNPACKED_MAX)
        need(len(unpacked) <= UNPACKED_MAX, "its accounts are too long")
        return _checked(msgpack.unpackb(unpacked))
    except OSError as error:
        raise SnapshotRefused(f"the snapshot cannot be read: {error.strerror}") from error
    except (ValueError, msgpack.UnpackException, zstandard.ZstdError) as error:
        raise SnapshotRefused(f"the snapshot's accounts cannot be unpacked: {error}") from error


def _at(file: BinaryIO, end: int, size: int) -> bytes:
    need(end >= size, "it ends early")
    file.seek(end - size)
    return file.read(size)


def _checked(body: Any) -> dict[str, Any]:
    need(isinstance(body, dict) and body.get("unit") in UNITS, "accounts of another release")
    need(all(_is_count(body.get(name)) for name in ("events", "instructions")), "no counts")
    need(isinstance(body.get("hosts"), list), "accounts of no hosts")
    for host in body["hosts"]:
        need(isinstance(host, dict) and set(host) == {"samples", "account"}, "no account")
        _check_samples(host["samples"])
    found: dict[str, Any] = body
    return found


def _check_samples(noted: Any) -> None:
    names = {"interval", "next_window", "samples", "marks", "mark_count"}
    need(isinstance(noted, dict) and set(noted) == names, "no samples")
    counts = [noted[name] for name in ("interval", "next_window", "mark_count")]
    need(all(map(_is_count, counts)), "no counts")
    for rows, most, length in (
        (noted["samples"], SAMPLES_MAX, 1 + len(PLACES)),
        (noted["marks"], MARKS_MAX, 3),
    ):
        need(isinstance(rows, list) and len(rows) <= most, "more samples than there may be")
        for row in rows:
            is_row = isinstance(row, list) and len(row) >= length
            need(is_row and all(type(word) is int for word in row), "a sample of no numbers")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def restore(observed: Observed, kept: dict[str, Any]) -> None:
    """Give a host what it noted and summed before.

    Raises:
        SnapshotRefused: no run leads there.
    """
    observed.restore_samples(kept["samples"])
    host = observed.host
    if not isinstance(host, AccountHost):
        return
    need(len(kept["account"]) == len(ac.SIZES), "an account of other arrays")
    found: list[Any] = []
    for size, data in zip(ac.SIZES, kept["account"], strict=True):
        need(isinstance(data, bytes) and len(data) == size * _WORD_BYTES, "an account cut short")
        found.append(np.frombuffer(data, "<i8"))
    account = ac.Account(*found)
    _check_account(account, host.account)
    host.account = ac.Account(*(native(np.array(each)) for each in found))
    host.account.state[ac.LINK_NODES] = len(host.machine.link) // words.LINK_WORDS - 1


def _check_account(found: ac.Account, fresh: ac.Account) -> None:
    """Kernels do not check indices: rows must be rows."""
    state = found.state
    rows = (
        (state[ac.MARK_COUNT], ac.FIRST_ROWS + ac.MARKS_MAX),
        (state[ac.SPACE_COUNT], ac.FIRST_ROWS + ac.SPACES_MAX),
        (state[ac.TABLE_COUNT], ac.FIRST_ROWS + ac.TABLES_MAX),
    )
    need(all(ac.FIRST_ROWS <= count <= most for count, most in rows), "more rows than there are")
    need(0 <= state[ac.MARK] < state[ac.MARK_COUNT], "a mark without a row")
    for hashed, count in (
        (found.space_hash, state[ac.SPACE_COUNT]),
        (found.table_hash, state[ac.TABLE_COUNT]),
    ):
        places = hashed[1 :: ac.SLOT_WORDS]
        need(bool(np.all((places >= 0) & (places < count))), "a row behind the last")
    is_same = np.array_equal(found.begins, np.asarray(fresh.begins, "<i8"))
    need(is_same and state[ac.REGION_COUNT] == fresh.state[ac.REGION_COUNT], "other regions")
