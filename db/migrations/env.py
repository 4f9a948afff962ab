"""Runs the migrations on one connection, with timeouts.

A migration that waits for a lock makes every query behind it wait too, so it
gives up after five seconds and is run again when the table is quiet. An
advisory lock keeps two upgrades from running at once.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from db.models import Base

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "120s"
# An arbitrary number that nothing else in this database uses.
UPGRADE_LOCK = 0x7265_6661


def run(connection: sa.Connection) -> None:
    """Brings the database behind ``connection`` to the wanted revision."""
    # Taken before the timeouts are set: another upgrade may hold it for long.
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


engine: sa.Engine = context.config.attributes["engine"]
with engine.begin() as upgrade_connection:
    run(upgrade_connection)
