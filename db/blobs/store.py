"""The interface of blob stores."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from db.blobs.incoming import Incoming, IncomingBlob
from db.errors import BlobDamaged
from refault.errors import NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore(abc.ABC):
    """Files named by their sha256. ``incoming`` has them until they are complete."""

    def __init__(self, folder: Path) -> None:
        self.incoming = Incoming(folder)
        # Workers may have the folder read-only, so only uploads create files.
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def receive(self) -> Iterator[IncomingBlob]:
        """A place to write a blob of unknown digest.

        Leaving the block stores it if :meth:`IncomingBlob.keep` was called and
        removes it otherwise, also when the block raises.
        """
        with self.incoming.write() as (path, incoming):
            yield incoming
            if incoming.kept_as is not None:
                incoming.sync()
                self.put(path, incoming.kept_as)

    @abc.abstractmethod
    def put(self, path: Path, digest: str) -> None:
        """Moves a flushed local file with that digest into the store.

        An existing blob is replaced, which repairs a damaged one.
        """

    @abc.abstractmethod
    def size_bytes(self, digest: str) -> int | None:
        """The size of the blob; None if it does not exist."""

    @abc.abstractmethod
    def fetch(self, digest: str) -> Path:
        """A local file of the blob, with its sha256 checked.

        Raises:
            NotFound: there is no such blob.
            BlobDamaged: its sha256 is not its name.
        """

    @abc.abstractmethod
    def delete(self, digest: str) -> bool:
        """Removes the blob; returns whether there was one."""

    @abc.abstractmethod
    def kept(self) -> Iterator[tuple[str, float]]:
        """Digest and age in seconds of every blob, in no order; the age by this host's clock."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raises OSError with the reason if nothing can be stored now."""

    def exists(self, digest: str) -> bool:
        """Whether a blob of that digest is here."""
        return self.size_bytes(digest) is not None

    def sweep_incoming(self) -> int:
        """Removes one-request uploads whose process died; answers how many."""
        return self.incoming.sweep()


def is_digest(name: str) -> bool:
    """Whether a name can be a blob's; others are never looked up."""
    return _DIGEST.fullmatch(name) is not None


def missing(digest: str) -> NotFound:
    """The error for a missing blob."""
    return NotFound(f"no blob {digest}: upload the trace again")


def verify(path: Path, digest: str) -> None:
    """Reads the whole file and compares its sha256 with its name.

    The error names no folder, as readers of a batch see it.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != digest:
        message = (
            f"blob {digest} is damaged: its {path.stat().st_size} bytes have sha256 "
            f"{found}; upload the trace again, which replaces it"
        )
        raise BlobDamaged(message)
