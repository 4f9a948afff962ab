"""What every store of blobs can do."""

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
    """Files named by their sha256. ``incoming`` is where they stand until they are whole."""

    def __init__(self, folder: Path) -> None:
        self.incoming = Incoming(folder)
        # Workers may have the folder read-only, so only uploads make what is in it.
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def receive(self) -> Iterator[IncomingBlob]:
        """A place to write a blob of unknown digest.

        Leaving the block stores it if :meth:`IncomingBlob.keep` was called and
        removes every byte of it otherwise, also when the block raises.
        """
        with self.incoming.write() as (path, incoming):
            yield incoming
            if incoming.kept_as is not None:
                incoming.sync()
                self.put(path, incoming.kept_as)

    @abc.abstractmethod
    def put(self, path: Path, digest: str) -> None:
        """Stores a local file, which is on disk and has that digest, under it; the file is gone.

        A blob that is there already is replaced: one that was damaged is whole again.
        """

    @abc.abstractmethod
    def size_bytes(self, digest: str) -> int | None:
        """The size of the blob; None if it is not here."""

    @abc.abstractmethod
    def fetch(self, digest: str) -> Path:
        """A local file of the blob, its sha256 checked just now.

        Raises:
            NotFound: there is no such blob.
            BlobDamaged: its bytes are not those of its name.
        """

    @abc.abstractmethod
    def delete(self, digest: str) -> bool:
        """Removes the blob; answers whether there was one."""

    @abc.abstractmethod
    def kept(self) -> Iterator[tuple[str, float]]:
        """Digest and age in seconds of every blob, in no order; the age by this host's clock."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raises OSError, saying why, if nothing can be stored now."""

    def exists(self, digest: str) -> bool:
        """Whether a blob of that digest is here."""
        return self.size_bytes(digest) is not None

    def sweep_incoming(self) -> int:
        """Removes one-request uploads whose process died; answers how many."""
        return self.incoming.sweep()


def is_digest(name: str) -> bool:
    """Whether a name can be that of a blob; all else is looked for nowhere."""
    return _DIGEST.fullmatch(name) is not None


def missing(digest: str) -> NotFound:
    """What to raise where there is no such blob."""
    return NotFound(f"no blob {digest}: upload the trace again")


def verify(path: Path, digest: str) -> None:
    """Reads the whole file and holds its sha256 against its name.

    What is raised names no folder: whoever reads a batch may read it.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != digest:
        message = (
            f"blob {digest} is damaged: its {path.stat().st_size} bytes have sha256 "
            f"{found}; upload the trace again, which replaces it"
        )
        raise BlobDamaged(message)
