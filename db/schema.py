"""Brings a database to the present schema, and says how it differs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import alembic.autogenerate
import alembic.command
import alembic.config
from alembic.runtime.migration import MigrationContext

from db.models import Base
from db.revisions import MIGRATIONS

if TYPE_CHECKING:
    import sqlalchemy as sa


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


def differences(engine: sa.Engine) -> list[object]:
    """What the models say and the migrated database does not; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(alembic.autogenerate.compare_metadata(context, Base.metadata))
