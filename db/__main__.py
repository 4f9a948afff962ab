"""``python -m db upgrade|check|current``: the schema of the database in REFAULT_DATABASE_URL."""

from __future__ import annotations

import argparse
import os
import sys

import sqlalchemy as sa

from db import schema, session
from db.repositories import catalogue


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m db", description=__doc__)
    parser.add_argument("--database-url", default=os.environ.get("REFAULT_DATABASE_URL"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="run all migrations and copy the patch catalogue")
    commands.add_parser("check", help="fail if the models and the database differ")
    commands.add_parser("current", help="print the database's revision")
    draft = commands.add_parser("draft", help="draft a migration from the models")
    draft.add_argument("message")
    options = parser.parse_args(arguments)
    if not options.database_url:
        parser.error("no database: set REFAULT_DATABASE_URL or give --database-url")
    try:
        return _run(options)
    except sa.exc.OperationalError as error:
        place = sa.make_url(options.database_url).set(password=None).render_as_string()
        reason = str(error.orig).strip().splitlines()[0]
        sys.stderr.write(f"python -m db {options.command}: {place}: {reason}\n")
        return 1


def _run(options: argparse.Namespace) -> int:
    engine = session.create_engine(options.database_url)
    if options.command == "upgrade":
        schema.upgrade(engine)
        with session.transaction(engine) as opened:
            catalogue.copy_catalogue(opened)
        sys.stdout.write(f"database at revision {schema.current_revision(engine)}\n")
    elif options.command == "draft":
        schema.write_revision(engine, options.message)
    elif options.command == "current":
        sys.stdout.write(f"{schema.current_revision(engine)}\n")
    else:
        found = schema.differences(engine)
        for difference in found:
            sys.stdout.write(f"{difference}\n")
        return 1 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
