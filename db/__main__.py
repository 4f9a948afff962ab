"""``python -m db``: migrate, back up, restore and verify a database."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from db import backup, revisions, schema, session, verify
from db.blobs import open_store
from db.manifest import Manifest
from db.repositories import patches
from refault.errors import RefaultError

_EXAMPLES = """
examples:
  python -m db upgrade
  python -m db backup /srv/backups/2026-11-25
  python -m db verify --backup /srv/backups/2026-11-25
  python -m db restore /srv/backups/2026-11-25
  python -m db verify

REFAULT_DATABASE_URL and REFAULT_BLOBS say which installation is meant.

exit codes: 0 done, and nothing is wrong; 1 refused, damaged, or not reachable: the message says
which; 2 the command line or the environment is incomplete
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    wants_database = not (options.command == "verify" and options.backup)
    if wants_database and not options.database_url:
        parser.error("no database: set REFAULT_DATABASE_URL or give --database-url")
    wants_blobs = wants_database and options.command in ("backup", "restore", "verify")
    if wants_blobs and not options.blobs:
        parser.error("no folder of blobs: set REFAULT_BLOBS or give --blobs")
    try:
        return _run(options)
    except sa.exc.OperationalError as error:
        place = sa.make_url(options.database_url).set(password=None).render_as_string()
        reason = str(error.orig).strip().splitlines()[0]
        sys.stderr.write(f"python -m db {options.command}: {place}: {reason}\n")
    except (RefaultError, OSError) as error:
        sys.stderr.write(f"python -m db {options.command}: {error}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m db",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--database-url",
        default=os.environ.get("REFAULT_DATABASE_URL"),
        help="postgresql://user:password@host:port/name",
    )
    parser.add_argument(
        "--blobs",
        type=Path,
        default=os.environ.get("REFAULT_BLOBS"),
        help="folder of the trace files",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="run all migrations and copy the patch catalogue")
    commands.add_parser("check", help="fail if the models and the database differ")
    commands.add_parser("current", help="print the database's revision")
    draft = commands.add_parser("draft", help="draft a migration from the models")
    draft.add_argument("message")
    made = commands.add_parser(
        "backup",
        help="write a consistent snapshot of every table, and every trace file, into a new folder",
    )
    made.add_argument("folder", type=Path, help="a new or empty folder")
    made.add_argument(
        "--copy",
        action="store_true",
        help="copy trace files even if they could be hard links",
    )
    restored = commands.add_parser("restore", help="restore a backup into an empty database")
    restored.add_argument("folder", type=Path, help="the folder of the backup")
    verified = commands.add_parser(
        "verify", help="read every row and byte of the installation, or of a backup"
    )
    verified.add_argument("--backup", type=Path, help="the folder of a backup to check instead")
    verified.add_argument(
        "--drop-false-crashes",
        action="store_true",
        help="first drop crash results that are faults of the service; their runs"
        " are then failed, and `refault batches retry` computes them again",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.command == "verify" and options.backup:
        with _Bars() as bars:
            manifest = backup.check(options.backup, bars.show)
        sys.stdout.write(f"sound: {_summary(manifest)}\n")
        return 0
    engine = session.create_engine(options.database_url)
    try:
        if options.command in ("backup", "restore", "verify"):
            return _keep(options, engine)
        return _change(options, engine)
    finally:
        engine.dispose()


def _change(options: argparse.Namespace, engine: sa.Engine) -> int:
    if options.command == "upgrade":
        schema.upgrade(engine)
        with session.transaction(engine) as opened:
            patches.copy_catalogue(opened)
        sys.stdout.write(f"database at revision {revisions.current(engine)}\n")
    elif options.command == "draft":
        schema.write_revision(engine, options.message)
    elif options.command == "current":
        sys.stdout.write(f"{revisions.current(engine)}\n")
    else:
        found = schema.differences(engine)
        for difference in found:
            sys.stdout.write(f"{difference}\n")
        return 1 if found else 0
    return 0


def _keep(options: argparse.Namespace, engine: sa.Engine) -> int:
    blobs = open_store(options.blobs, staging=Path(tempfile.gettempdir()) / "refault-blobs")
    with _Bars() as bars:
        if options.command == "verify":
            if options.drop_false_crashes:
                result_count, run_count = verify.drop_false_crashes(engine)
                sys.stdout.write(f"dropped: {result_count} results of {run_count} runs\n")
            found = list(verify.live(engine, blobs, bars.show))
        elif options.command == "backup":
            manifest = backup.write(
                engine, blobs, options.folder, copy_blobs=options.copy, progress=bars.show
            )
        else:
            manifest = backup.restore(engine, blobs, options.folder, progress=bars.show)
    if options.command == "verify":
        for sentence in found:
            sys.stdout.write(f"{sentence}\n")
        sys.stdout.write("sound\n" if not found else f"faults found: {len(found)}\n")
        return 1 if found else 0
    done = "written" if options.command == "backup" else "restored"
    sys.stdout.write(f"{done}: {_summary(manifest)}\n")
    return 0


def _summary(manifest: Manifest) -> str:
    row_count = sum(entry.row_count for entry in manifest.tables)
    return (
        f"{row_count} rows of {len(manifest.tables)} tables at migration {manifest.revision}, "
        f"{len(manifest.blobs)} trace files of {sum(manifest.blobs.values())} bytes"
    )


class _Bars:
    """Progress on standard error, if it is a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """One bar per kind of work."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
