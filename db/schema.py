"""Brings a database to the present schema, and says how far it is from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import alembic.autogenerate
import alembic.command
import alembic.config
import alembic.script
from alembic.runtime.migration import MigrationContext

from db.models import Base

if TYPE_CHECKING:
    import sqlalchemy as sa

MIGRATIONS = Path(__file__).parent / "migrations"


def _configuration(engine: sa.Engine) -> alembic.config.Config:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    configuration.attributes["engine"] = engine
    return configuration


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Runs every migration up to ``revision``; does nothing if they have all been run."""
    alembic.command.upgrade(_configuration(engine), revision)


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Undoes migrations down to ``revision`` (``base`` for all of them). Loses data."""
    alembic.command.downgrade(_configuration(engine), revision)


def write_revision(engine: sa.Engine, message: str) -> None:
    """Drafts a migration from the difference between models and database, to be read and edited."""
    alembic.command.revision(_configuration(engine), message, autogenerate=True)


def head_revision() -> str:
    """The newest revision this code knows."""
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    head = alembic.script.ScriptDirectory.from_config(configuration).get_current_head()
    if head is None:
        message = f"no migrations in {MIGRATIONS}: the installation is incomplete"
        raise RuntimeError(message)
    return head


def known_revisions() -> set[str]:
    """Every revision this code can bring a database to."""
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    scripts = alembic.script.ScriptDirectory.from_config(configuration)
    return {script.revision for script in scripts.walk_revisions()}


def current_revision(engine: sa.Engine) -> str | None:
    """The revision the database is at; None for an empty database."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_current(engine: sa.Engine) -> bool:
    """Whether the database has the schema this code was written for."""
    return current_revision(engine) == head_revision()


def differences(engine: sa.Engine) -> list[object]:
    """What the models say and the migrated database does not; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(alembic.autogenerate.compare_metadata(context, Base.metadata))
