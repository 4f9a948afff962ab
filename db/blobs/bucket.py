"""Blobs in an S3 bucket, or in any other store the library ``obstore`` knows.

::

    PREFIX/3f/3fa9…         one object per blob, in the bucket

    STAGING/                on each host
    ├── incoming/ partial/  uploads under way, see ``incoming.py``
    └── fetched/3fa9…       copies of blobs that were read here, the least used removed first

An upload is staged here until it is whole and valid, then sent in parts; the bucket shows it once
the last part is there. An upload in several requests must therefore come to one host.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, S3Store

from db.blobs.store import BlobStore, is_digest, missing, verify
from refault.errors import BlobDamaged, Unavailable

# What is in memory of a transfer is a few of these; S3 takes no smaller parts than 5 MiB.
PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 2
FETCHED_BYTES_MAX = 64 * 1024**3


def open_bucket(url: str, staging: Path) -> BucketStore:
    """The store at ``s3://bucket/prefix``; everything else comes from the environment."""
    # A server of one's own in the lab speaks plain HTTP; the address says so.
    is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    objects = S3Store.from_url(url, client_options={"allow_http": is_plain})
    return BucketStore(objects, staging, name=url)


class BucketStore(BlobStore):
    """Blobs as objects. ``name`` is what messages call it."""

    def __init__(
        self,
        objects: ObjectStore,
        staging: Path,
        *,
        name: str,
        fetched_bytes_max: int = FETCHED_BYTES_MAX,
    ) -> None:
        super().__init__(staging)
        self.name = name
        self._objects = objects
        self._fetched = staging / "fetched"
        self._fetched_bytes_max = fetched_bytes_max

    def put(self, path: Path, digest: str) -> None:
        """Sends the file in parts; the staged one is removed once the bucket has it."""
        with _reaching(self.name), path.open("rb") as stream:
            obstore.put(
                self._objects,
                _key(digest),
                stream,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        path.unlink()

    def size_bytes(self, digest: str) -> int | None:
        """What the bucket says of the object."""
        if not is_digest(digest):
            return None
        try:
            with _reaching(self.name):
                return obstore.head(self._objects, _key(digest))["size"]
        except FileNotFoundError:
            return None

    def fetch(self, digest: str) -> Path:
        """A copy in the cache, checked; one that is damaged is fetched again, once."""
        if not is_digest(digest):
            raise missing(digest, self.name)
        copy = self._fetched / digest
        if copy.is_file():
            with contextlib.suppress(BlobDamaged):
                verify(copy, digest, self._fetched)
                os.utime(copy)
                return copy
        self._download(digest, copy)
        return copy

    def delete(self, digest: str) -> bool:
        """Removes the object, and the copy of this host; the others' are never read again."""
        was_there = self.exists(digest)
        if was_there:
            with _reaching(self.name), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._objects, _key(digest))
            (self._fetched / digest).unlink(missing_ok=True)
        return was_there

    def check(self) -> None:
        """The bucket answers, and the staging folder can be written."""
        with _reaching(self.name):
            next(iter(obstore.list(self._objects, chunk_size=1)), None)
        if not os.access(self._fetched.parent, os.W_OK):
            message = f"{self._fetched.parent} cannot be written"
            raise OSError(message)

    def _download(self, digest: str, target: Path) -> None:
        self._fetched.mkdir(exist_ok=True)
        temporary = self._fetched / f".{secrets.token_hex(16)}"
        try:
            with _reaching(self.name):
                answer = obstore.get(self._objects, _key(digest))
                self._make_room(answer.meta["size"])
                with temporary.open("xb") as stream:
                    for part in answer.stream(min_chunk_size=PART_BYTES):
                        stream.write(part)
            verify(temporary, digest, self.name)
            temporary.rename(target)
        except FileNotFoundError:
            raise missing(digest, self.name) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> None:
        """Removes the copies not read for longest until another one of that size fits."""
        copies = sorted(
            ((path.stat().st_mtime, path.stat().st_size, path) for path in self._fetched.glob("*")),
            reverse=True,
        )
        kept_bytes = size_bytes
        for _, copy_bytes, path in copies:
            kept_bytes += copy_bytes
            if kept_bytes > self._fetched_bytes_max:
                path.unlink(missing_ok=True)


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


@contextlib.contextmanager
def _reaching(name: str) -> Iterator[None]:
    """What the library raises becomes ours; a missing object is FileNotFoundError."""
    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise FileNotFoundError(name) from None
    except BaseError as error:
        reason = str(error).strip().splitlines()[0][:300]
        message = f"the store {name} cannot be reached or refuses: {reason}"
        raise Unavailable(message) from error
