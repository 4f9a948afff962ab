"""Objects of an S3 bucket, or of any other store the library ``obstore`` knows, by their keys."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, S3Store

from refault.errors import Unavailable

# A transfer holds a few of these in memory; S3's minimum part is 5 MiB.
PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 2


class Objects:
    """``name`` names the store in messages.

    Every method raises :class:`~refault.errors.Unavailable` where the store cannot be reached or
    refuses, and FileNotFoundError if there is no such object.
    """

    def __init__(self, store: ObjectStore, *, name: str) -> None:
        self.name = name
        self._store = store

    @classmethod
    def open(cls, url: str) -> Objects:
        """Those at ``s3://bucket/prefix``; everything else comes from the environment."""
        # A local server may use plain HTTP, as its address says.
        is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return cls(S3Store.from_url(url, client_options={"allow_http": is_plain}), name=url)

    def send(self, path: Path, key: str) -> None:
        """Stores a file in parts; the store shows it after the last part."""
        with self._reaching(), path.open("rb") as stream:
            obstore.put(
                self._store,
                key,
                stream,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    def receive(
        self, key: str, path: Path, *, make_room: Callable[[int], None] = lambda _size_bytes: None
    ) -> None:
        """Writes an object to a new file; ``make_room`` is told its size before the first byte."""
        with self._reaching():
            answer = obstore.get(self._store, key)
            make_room(answer.meta["size"])
            with path.open("xb") as stream:
                for part in answer.stream(min_chunk_size=PART_BYTES):
                    stream.write(part)

    def size_bytes(self, key: str) -> int:
        """How large an object is."""
        with self._reaching():
            return obstore.head(self._store, key)["size"]

    def delete(self, key: str) -> None:
        """Removes an object."""
        with self._reaching():
            obstore.delete(self._store, key)

    def list(self, prefix: str = "") -> Iterator[tuple[str, datetime.datetime]]:
        """Key and time of the last change of every object below a folder, some at a time."""
        with self._reaching():
            for found in obstore.list(self._store, prefix or None):
                for entry in found:
                    yield entry["path"], entry["last_modified"]

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise FileNotFoundError(self.name) from None
        except BaseError as error:
            reason = str(error).strip().splitlines()[0][:300]
            message = f"the store {self.name} is unreachable or refuses: {reason}"
            raise Unavailable(message) from error
