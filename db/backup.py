"""Back up a whole installation to a folder, and restore it.

::

    FOLDER/
    ├── manifest.json       migration level; order, columns and row counts of tables; sha256 of all
    ├── database.tar        one zstandard-compressed COPY text per table, one snapshot
    └── blobs/3f/3fa9…      one file per trace, tree and program

The manifest is written last: a folder without one is an unfinished backup. It
has a sha256 of itself.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import psycopg
import sqlalchemy as sa
import zstandard
from psycopg import sql

from db import revisions, schema
from db.blobs import BlobStore, FolderStore
from db.errors import BlobDamaged
from db.manifest import MANIFEST, BackupError, Manifest, TableEntry, sha256_of
from db.models import Base
from db.repositories.files import NEEDED
from refault.errors import NotFound

ARCHIVE = "database.tar"
# `python -m db upgrade` writes rows there, which the backup replaces.
_FILLED_BY_UPGRADE = {"patches", "projects"}
_NEEDED = f"SELECT digest, max(size_bytes) FROM ({NEEDED}) AS needed GROUP BY 1 ORDER BY 1"  # noqa: S608
_CHUNK_BYTES = 1 << 20
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}

Progress = Callable[[str, int, int], None]
"""Called with the step, how much of it is done, and the total."""


def _quiet(what: str, done: int, total: int) -> None:
    del what, done, total


def write(
    engine: sa.Engine,
    blobs: BlobStore,
    folder: Path,
    *,
    copy_blobs: bool = False,
    progress: Progress = _quiet,
) -> Manifest:
    """Writes a backup into a new or empty folder.

    The tables are one snapshot of the database. Blobs are hard links where the
    file system allows it (they never change) unless ``copy_blobs``.

    Raises:
        BackupError: the folder is not empty, the database is at another
            migration, or a blob is missing or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: name a new folder for each backup")
    revision = revisions.current(engine)
    if revision != revisions.head():
        raise BackupError(
            f"the database is at migration {revision or 'none'}, this release is at "
            f"{revisions.head()}: run `python -m db upgrade`, or the matching release"
        )
    # Linked before the snapshot too, so that what is deleted meanwhile still has its file.
    keep = _Keeper(blobs, folder, copy_blobs=copy_blobs)
    with _connection(engine) as connection:
        early = connection.execute(_NEEDED).fetchall()
    for digest, _ in early:
        keep.take(digest)
    with _connection(engine) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        entries, archive_digest = _write_tables(connection, folder / ARCHIVE, progress)
        wanted = connection.execute(_NEEDED).fetchall()
    for digest, _ in wanted:
        keep.take(digest)
    keep.drop_others({digest for digest, _ in wanted})
    keep.check(dict(wanted), progress)
    manifest = Manifest(
        revision=revision,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        archive_sha256=archive_digest,
        tables=entries,
        blobs=dict(wanted),
    )
    _write_durably(folder / MANIFEST, manifest.to_text())
    return manifest


def check(folder: Path, progress: Progress = _quiet) -> Manifest:
    """Reads every byte of a backup; :class:`BackupError` names the first damaged part."""
    manifest = Manifest.read(folder)
    archive = folder / ARCHIVE
    if not archive.is_file():
        raise BackupError(f"{archive} is missing")
    if sha256_of(archive) != manifest.archive_sha256:
        raise BackupError(f"{archive} is damaged: its sha256 does not match the manifest")
    with _opened_tables(archive) as tables:
        for number, entry in enumerate(manifest.tables):
            progress("tables", number, len(manifest.tables))
            seen = hashlib.sha256()
            for chunk in tables(entry.name):
                seen.update(chunk)
            if seen.hexdigest() != entry.sha256:
                raise BackupError(f"{archive}: table {entry.name} is damaged")
    progress("tables", len(manifest.tables), len(manifest.tables))
    _Keeper(FolderStore(folder / "blobs"), folder, copy_blobs=False).check(manifest.blobs, progress)
    return manifest


def restore(
    engine: sa.Engine, blobs: BlobStore, folder: Path, *, progress: Progress = _quiet
) -> Manifest:
    """Restores a backup into an empty database and its blobs into the store.

    The backup is verified before anything is written, and the tables are
    written in one transaction. A backup of an older release is restored at its
    own migration and then upgraded.

    Raises:
        BackupError: the backup is damaged or of a newer release, or the database
            has rows or is at another migration.
    """
    manifest = check(folder, progress)
    _refuse_unfit(engine, manifest)
    schema.upgrade(engine, manifest.revision)
    source = FolderStore(folder / "blobs")
    for number, digest in enumerate(manifest.blobs):
        progress("blobs", number, len(manifest.blobs))
        _put(source.path(digest), blobs)
    with _connection(engine) as connection, _opened_tables(folder / ARCHIVE) as tables:
        # Rows written by migrations are in the backup too.
        names = sql.SQL(", ").join(sql.Identifier(entry.name) for entry in manifest.tables)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
        _refuse_rows(connection, manifest)
        # All others are empty, and some have triggers against DELETE.
        for name in sorted(_FILLED_BY_UPGRADE):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
        for number, entry in enumerate(manifest.tables):
            progress("rows of tables", number, len(manifest.tables))
            _read_table(connection, entry, tables(entry.name))
        connection.commit()
    progress("rows of tables", len(manifest.tables), len(manifest.tables))
    schema.upgrade(engine)
    return manifest


def _refuse_unfit(engine: sa.Engine, manifest: Manifest) -> None:
    if manifest.revision not in revisions.known():
        raise BackupError(
            f"the backup is at migration {manifest.revision}, which this release does not know: "
            "restore it with the release that made it, or a newer one"
        )
    present = revisions.current(engine)
    tables = set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    if present is None and not tables:
        return
    if present != manifest.revision:
        raise BackupError(
            f"the database is at migration {present or 'none'} and the backup at "
            f"{manifest.revision}: restore into a database without tables"
        )
    with _connection(engine) as connection:
        _refuse_rows(connection, manifest)


def _refuse_rows(connection: psycopg.Connection, manifest: Manifest) -> None:
    for entry in manifest.tables:
        if entry.name in _FILLED_BY_UPGRADE:
            continue
        query = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT 1) AS first")
        if _one(connection.execute(query.format(sql.Identifier(entry.name)))):
            raise BackupError(
                f"the database is not empty (table {entry.name} has rows), and no row was changed: "
                "restore into a new database"
            )


def _write_tables(
    connection: psycopg.Connection, path: Path, progress: Progress
) -> tuple[list[TableEntry], str]:
    # Parents before children, so that a restore satisfies every foreign key.
    tables = Base.metadata.sorted_tables
    entries = []
    with tarfile.open(path, "w") as archive:
        for number, table in enumerate(tables):
            progress("tables", number, len(tables))
            with tempfile.TemporaryFile(dir=path.parent) as spool:
                entries.append(_copy_out(connection, table, spool))
                information = tarfile.TarInfo(_member(table.name))
                information.size = spool.tell()
                information.mode = 0o600
                spool.seek(0)
                archive.addfile(information, spool)
    progress("tables", len(tables), len(tables))
    path.chmod(0o600)
    return entries, sha256_of(path)


def _copy_out(connection: psycopg.Connection, table: sa.Table, spool: IO[bytes]) -> TableEntry:
    columns = [column.name for column in table.columns]
    statement = sql.SQL("COPY {} ({}) TO STDOUT").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    seen = hashlib.sha256()
    with (
        zstandard.ZstdCompressor(level=3).stream_writer(spool, closefd=False) as compressed,
        connection.cursor() as cursor,
    ):
        with cursor.copy(statement) as copy:
            for chunk in copy:
                seen.update(chunk)
                compressed.write(chunk)
        row_count = cursor.rowcount
    identities = {}
    for column in table.columns:
        if column.identity is not None:
            query = sql.SQL("SELECT coalesce(max({}), 0) + 1 FROM {}").format(
                sql.Identifier(column.name), sql.Identifier(table.name)
            )
            identities[column.name] = _one(connection.execute(query))
    return TableEntry(table.name, columns, row_count, seen.hexdigest(), identities)


def _read_table(connection: psycopg.Connection, entry: TableEntry, chunks: Iterable[bytes]) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(entry.name), sql.SQL(", ").join(map(sql.Identifier, entry.columns))
    )
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for chunk in chunks:
                copy.write(chunk)
        if cursor.rowcount != entry.row_count:
            raise BackupError(
                f"table {entry.name}: {cursor.rowcount} rows were read, the manifest says "
                f"{entry.row_count}; nothing was changed"
            )
    for column, following in entry.identities.items():
        connection.execute(
            "SELECT setval(pg_get_serial_sequence(%s, %s), %s, false)",
            (entry.name, column, following),
        )


@contextlib.contextmanager
def _opened_tables(path: Path) -> Iterator[Callable[[str], Iterator[bytes]]]:
    """Access to the COPY text of each table of an archive."""
    try:
        archive = tarfile.open(path, "r")  # noqa: SIM115  # closed below
    except tarfile.TarError as error:
        raise BackupError(f"{path} is damaged: {error}") from error

    def text_of(name: str) -> Iterator[bytes]:
        try:
            stream = archive.extractfile(_member(name))
        except KeyError:
            stream = None
        if stream is None:
            raise BackupError(f"{path}: table {name} is missing")
        try:
            with zstandard.ZstdDecompressor().stream_reader(stream) as reader:
                yield from iter(lambda: reader.read(_CHUNK_BYTES), b"")
        except zstandard.ZstdError as error:
            raise BackupError(f"{path}: table {name} is damaged: {error}") from error

    with archive:
        yield text_of


class _Keeper:
    """The blobs of a backup."""

    def __init__(self, source: BlobStore, folder: Path, *, copy_blobs: bool) -> None:
        self._source = source
        self._folder = folder / "blobs"
        self._copies = copy_blobs
        self._folder.mkdir(exist_ok=True, mode=0o700)

    def take(self, digest: str) -> None:
        """Links or copies a blob, if it exists and is not in the backup yet."""
        target = self._folder / digest[:2] / digest
        if target.exists() or not self._source.exists(digest):
            return
        target.parent.mkdir(exist_ok=True)
        _link_or_copy(self._source.fetch(digest), target, copies=self._copies)

    def drop_others(self, wanted: set[str]) -> None:
        """Removes early links that nothing needs any more."""
        for path in self._folder.glob("*/*"):
            if path.name not in wanted:
                path.unlink()

    def check(self, wanted: dict[str, int], progress: Progress) -> None:
        """Reads every blob; :class:`BackupError` for a missing or damaged one."""
        for number, digest in enumerate(wanted):
            progress("blobs read", number, len(wanted))
            path = self._folder / digest[:2] / digest
            if not path.is_file():
                raise BackupError(f"blob {digest} is missing from {self._folder}")
            if sha256_of(path) != digest:
                raise BackupError(f"blob {path} is damaged: its sha256 is not its name")
        progress("blobs read", len(wanted), len(wanted))


def _put(source: Path, blobs: BlobStore) -> None:
    """Copies a blob into the store; no link, so that the store does not depend on the backup."""
    with contextlib.suppress(NotFound, BlobDamaged):
        blobs.fetch(source.name)
        return
    digest = hashlib.sha256()
    with source.open("rb") as stream, blobs.receive() as incoming:
        for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            incoming.write(chunk)
            digest.update(chunk)
        if digest.hexdigest() != source.name:
            raise BackupError(f"blob {source} is damaged: its sha256 is not its name")
        incoming.keep(source.name)


def _link_or_copy(source: Path, target: Path, *, copies: bool) -> None:
    if not copies:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        else:
            return
    shutil.copyfile(source, target)


@contextlib.contextmanager
def _connection(engine: sa.Engine) -> Iterator[psycopg.Connection]:
    """An engine without the timeouts of requests, for long statements."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, application_name="refault-backup", autocommit=False) as connection:
        yield connection


def _one(cursor: psycopg.Cursor[Any]) -> int:
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("the database returned no row where it always returns one")
    return int(row[0])


def _member(table: str) -> str:
    return f"tables/{table}.copy.zst"


def _write_durably(path: Path, text: str) -> None:
    with io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text.encode())
        os.fsync(stream.fileno())
