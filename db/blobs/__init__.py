"""Trace files by digest: in a folder or in an S3 bucket, behind one interface.

::

    open_store("/var/lib/refault/blobs")   FolderStore: shared by the API and the workers
    open_store("s3://bucket/prefix")       BucketStore: each host stages and caches locally

A blob appears under its name atomically and never changes. :meth:`BlobStore.fetch` returns a file
whose sha256 was just computed and checked. No blob is held in memory.
"""

from __future__ import annotations

from pathlib import Path

from db.blobs.folder import FolderStore
from db.blobs.incoming import IncomingBlob, Partial
from db.blobs.snapshots import SnapshotStore
from db.blobs.store import BlobStore

__all__ = [
    "BlobStore",
    "FolderStore",
    "IncomingBlob",
    "Partial",
    "SnapshotStore",
    "is_bucket",
    "open_snapshots",
    "open_store",
]

S3_PREFIX = "s3://"


def is_bucket(location: str | Path) -> bool:
    """Whether blobs are in a bucket instead of a shared folder."""
    return str(location).startswith(S3_PREFIX)


def open_store(location: str | Path, *, staging: Path | None = None) -> BlobStore:
    """The store at a folder or an ``s3://bucket/prefix``; connects to nothing yet.

    ``staging`` is the local folder in which a bucket's uploads and fetched copies stand; a
    folder's stand in itself. Endpoint and credentials of a bucket come from the environment, under
    the names every S3 tool has: ``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, ``AWS_REGION``, ….
    """
    if not is_bucket(location):
        return FolderStore(Path(location))
    # Imported late: a folder does not need the library.
    from db.blobs.bucket import BucketStore  # noqa: PLC0415
    from db.blobs.objects import Objects  # noqa: PLC0415

    return BucketStore(Objects.open(str(location)), _staging(location, staging))


def open_snapshots(
    location: str | Path, folder: Path | None, *, staging: Path | None = None
) -> SnapshotStore:
    """The snapshots of the store at ``location``: in its bucket, or in a folder.

    ``folder`` is another place than beside a folder of blobs.
    """
    if not is_bucket(location):
        return SnapshotStore(folder or Path(location) / "snapshots")
    from db.blobs.bucket_snapshots import BucketSnapshots  # noqa: PLC0415
    from db.blobs.objects import Objects  # noqa: PLC0415

    return BucketSnapshots(Objects.open(str(location)), _staging(location, staging) / "snapshots")


def _staging(location: str | Path, staging: Path | None) -> Path:
    if staging is None:
        message = (
            f"{location}: a bucket needs a local folder to stage in: set REFAULT_BLOBS_STAGING"
        )
        raise ValueError(message)
    return staging
