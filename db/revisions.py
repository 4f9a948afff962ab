"""Which migrations there are, and how far a database is, without loading what runs them.

Processes that only ask, such as the API, stay smaller by all of Alembic.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

MIGRATIONS = Path(__file__).parent / "migrations"

_LINE = re.compile(r'^(revision|down_revision) = (?:"([0-9a-z]+)"|None)$', re.MULTILINE)
_TABLE = sa.table("alembic_version", sa.column("version_num", sa.String))


def head() -> str:
    """The newest revision this code knows."""
    parents = _parents()
    heads = parents.keys() - parents.values()
    if len(heads) != 1:
        message = f"{len(heads)} newest migrations in {MIGRATIONS}: the installation is damaged"
        raise RuntimeError(message)
    return heads.pop()


def known() -> set[str]:
    """Every revision this code can bring a database to."""
    return set(_parents())


def current(engine: sa.Engine) -> str | None:
    """The revision the database is at; None for an empty database."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(_TABLE.name):
            return None
        return connection.scalar(sa.select(_TABLE.c.version_num))


def _parents() -> Mapping[str, str | None]:
    """Each revision, and the one it follows."""
    found: dict[str, str | None] = {}
    for path in MIGRATIONS.glob("versions/*.py"):
        said = dict(_LINE.findall(path.read_text("utf-8")))
        if said.get("revision"):
            found[said["revision"]] = said.get("down_revision") or None
    return found
