"""A file on its way to the service: its digest, its headers, its bytes in chunks."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from refault.client.calls import ROOT
from refault.errors import NotATrace, NotATree
from refault.printable import first_unprintable, name_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from refault.errors import RefaultError

    Progress = Callable[[int, int], None]

CHUNK_BYTES = 256 * 1024
PATH = f"{ROOT}/traces"


@dataclass(frozen=True)
class LocalFile:
    """A file to upload. ``size_bytes`` and ``digest`` are those of its bytes when it was opened."""

    path: Path
    name: str
    size_bytes: int
    digest: str

    #: What the service answers once it has the last byte: a header, and a key of the upload.
    ANSWER: ClassVar[tuple[str, str]]

    @property
    def words(self) -> dict[str, str]:
        """What goes with an upload in parts."""
        return {"name": self.name, "sha256": self.digest}

    def chunks(
        self, progress: Progress | None, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """The bytes, or a part of them; ``progress(sent, total)`` after each that was taken."""
        sent_bytes, stop = start, self.size_bytes if stop is None else stop
        with self.path.open("rb") as stream:
            stream.seek(start)
            while chunk := stream.read(min(CHUNK_BYTES, stop - sent_bytes)):
                yield chunk
                sent_bytes += len(chunk)
                if progress is not None:
                    progress(sent_bytes, self.size_bytes)


@dataclass(frozen=True)
class TraceFile(LocalFile):
    """A trace."""

    tags: tuple[str, ...] = ()
    note: str = ""

    ANSWER = ("refault-trace", "trace_id")

    @classmethod
    def open(
        cls, path: Path, name: str | None, tags: Sequence[str] = (), note: str = ""
    ) -> TraceFile:
        """Read the file once for its digest; ``NotATrace`` if it cannot be read."""
        size_bytes, digest = _measured(path, NotATrace)
        place = first_unprintable(path.stem) if name is None else None
        if place is not None:
            raise NotATrace(
                f"{printable(str(path))}: no trace is called by {name_of(path.stem[place])}; give "
                "the trace a name of its own"
            )
        name = name if name is not None else path.stem
        return cls(path, name, size_bytes, digest, tuple(tags), note)

    @property
    def words(self) -> dict[str, str]:
        """With its tags and its note."""
        return {
            "name": self.name,
            "tags": " ".join(self.tags),
            "note": self.note,
            "sha256": self.digest,
        }

    @property
    def query(self) -> dict[str, str | list[str]]:
        """The query of the upload."""
        return {"name": self.name, "tag": list(self.tags), "note": self.note}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the upload; by the digest the service sees damage on the way."""
        digest = base64.b64encode(bytes.fromhex(self.digest)).decode("ascii")
        return {
            "content-type": "application/vnd.refault.trace",
            "content-length": str(self.size_bytes),
            "content-digest": f"sha-256=:{digest}:",
        }


@dataclass(frozen=True)
class TreeFile(LocalFile):
    """A packed tree."""

    ANSWER = ("refault-tree", "tree")

    @classmethod
    def open(cls, path: Path) -> TreeFile:
        """Read the file once for its digest; ``NotATree`` if it cannot be read."""
        return cls(path, "tree", *_measured(path, NotATree))

    @property
    def words(self) -> dict[str, str]:
        """Without a name: a tree is called by its digest alone."""
        return {"content": "tree", "sha256": self.digest}


def _measured(path: Path, failure: type[RefaultError]) -> tuple[int, str]:
    """Size and digest of a file."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            return size_bytes, hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise failure(f"{path}: cannot be read: {error.strerror}") from error
