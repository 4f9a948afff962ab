"""Codes of outcomes, and the digest of what a guest saw, which a resumed replay continues.

The state of an unfinished SHA-256 cannot be stored. So the stream is cut into blocks of a fixed
size, each hashed after the digest of all before it; the state is then one digest and at most a
block of bytes::

    link 0 = nothing      link n+1 = sha256(link n ‖ block n)

    digest = sha256(rest)                        up to one block: plain SHA-256
             sha256(link ‖ rest ‖ length)        beyond

Rows have 32 bytes, so the 8 bytes of the length keep the two forms apart.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from refault.errors import SnapshotRefused

# --- How an operation came out: the code of a record ------------------------------------
NONE = 0  # nothing to report
OK = 1  # an access reached an address
PF = 2  # the guest got a #PF
PF_DIRECT = 3  # a #PF that did not exit to the host
MMIO = 4
FAIL = 5  # a fetch from outside memory
GP = 6
LIVELOCK = 7
TRIPLE = 8
RETURN = 9  # a host operation's answer

BLOCK_BYTES = 1 << 18
ROW_BYTES = 32


class DigestState(NamedTuple):
    """All that an :class:`OutcomeDigest` remembers."""

    link: bytes
    rest: bytes
    size_bytes: int


class OutcomeDigest:
    """Takes the stream of outcomes in pieces of any size; the digest does not depend on them."""

    def __init__(self) -> None:
        self._link = b""
        self._rest = bytearray()
        self._size_bytes = 0
        #: The same without what a dirty log may hold beyond what was written; it begins where the
        #: first log is read that was held against that.
        self.lawful: OutcomeDigest | None = None

    def append(self, seen: bytes, lawful: bytes | None = None) -> None:
        """Append rows; ``lawful`` are the same rows, if they tell of a dirty log, without that."""
        if lawful is not None and self.lawful is None:
            self.lawful = OutcomeDigest.from_state(self.state)
        self.update(seen)
        if self.lawful is not None:
            self.lawful.update(seen if lawful is None else lawful)

    def update(self, data: bytes) -> None:
        """Append ``data``."""
        self._size_bytes += len(data)
        self._rest += data
        # A block is folded only once more bytes follow, so that one whole block is plain SHA-256.
        while len(self._rest) > BLOCK_BYTES:
            self._link = hashlib.sha256(self._link + self._rest[:BLOCK_BYTES]).digest()
            del self._rest[:BLOCK_BYTES]

    def hexdigest(self) -> str:
        """The digest of everything so far."""
        length = self._size_bytes.to_bytes(8, "little") if self._link else b""
        return hashlib.sha256(self._link + self._rest + length).hexdigest()

    @property
    def state(self) -> DigestState:
        """What :meth:`from_state` continues from."""
        return DigestState(self._link, bytes(self._rest), self._size_bytes)

    @classmethod
    def from_state(cls, state: DigestState) -> OutcomeDigest:
        """The digest as it was; raises SnapshotRefused if no stream leads there."""
        link, rest, size_bytes = state
        folded = size_bytes - len(rest)
        is_one = (
            size_bytes >= 0
            and size_bytes % ROW_BYTES == 0
            and len(rest) <= BLOCK_BYTES
            and folded % BLOCK_BYTES == 0
            and (len(link), bool(rest)) == ((32, True) if folded else (0, size_bytes > 0))
        )
        if not is_one:
            raise SnapshotRefused("the digest of outcomes is in a state that no outcomes lead to")
        found = cls()
        found._link, found._rest, found._size_bytes = link, bytearray(rest), size_bytes
        return found
