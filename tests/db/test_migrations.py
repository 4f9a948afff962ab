import os
import subprocess
import sys

import psycopg
import pytest
import sqlalchemy as sa

from db import revisions, schema
from db.session import create_engine
from tests.patience import PATIENCE_SECONDS

TABLES = {
    "audit",
    "batch_columns",
    "batch_events",
    "batch_traces",
    "batches",
    "counter_limits",
    "devices",
    "documents",
    "findings",
    "idempotency_keys",
    "identities",
    "imported_bundles",
    "kernel_builds",
    "kernel_patches",
    "kernels",
    "login_flows",
    "login_sessions",
    "memberships",
    "notes",
    "patch_set_patches",
    "patch_sets",
    "patches",
    "placements",
    "programs",
    "projects",
    "questions",
    "rate_windows",
    "results",
    "runs",
    "share_links",
    "shards",
    "simulators",
    "tallies",
    "tokens",
    "traces",
    "trees",
    "uploads",
    "users",
    "variants",
    "visits",
    "webhook_deliveries",
    "webhooks",
    "worker_starts",
    "workers",
}


@pytest.fixture
def empty(empty_database_url):
    engine = create_engine(empty_database_url)
    yield engine
    engine.dispose()


def tables(engine):
    return set(sa.inspect(engine).get_table_names()) - {"alembic_version"}


def test_an_empty_database_gets_every_table(empty):
    assert revisions.current(empty) is None
    schema.upgrade(empty)
    assert tables(empty) == TABLES
    assert revisions.current(empty) == revisions.head()


def test_models_and_migrations_agree(engine):
    assert schema.differences(engine) == []


def test_a_missing_column_is_noticed(engine):
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE traces DROP COLUMN truncated"))
    assert any("truncated" in str(difference) for difference in schema.differences(engine))


def test_upgrading_twice_changes_nothing(engine):
    before = revisions.current(engine)
    schema.upgrade(engine)
    assert revisions.current(engine) == before == revisions.head()


def test_every_migration_can_be_undone(empty):
    schema.upgrade(empty)
    schema.downgrade(empty, "base")
    assert tables(empty) == set()
    schema.upgrade(empty)
    assert schema.differences(empty) == []


def test_two_upgrades_at_once_take_turns(empty, empty_database_url):
    environment = {"PATH": os.environ["PATH"], "REFAULT_DATABASE_URL": empty_database_url}
    command = [sys.executable, "-m", "db", "upgrade"]
    upgrades = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    ended = [
        (*upgrade.communicate(timeout=PATIENCE_SECONDS), upgrade.returncode) for upgrade in upgrades
    ]
    assert [(error, code) for _, error, code in ended] == [(b"", 0)] * 3
    assert tables(empty) == TABLES


def test_a_migration_does_not_wait_for_a_lock_for_ever(engine, database_url):
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT * FROM traces")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            schema.downgrade(engine, "base")
    assert tables(engine) == TABLES


def run_db(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "db", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_upgrades_and_copies_the_catalogue(empty, empty_database_url):
    done = run_db("upgrade", REFAULT_DATABASE_URL=empty_database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"database at revision {revisions.head()}\n"
    with empty.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM patches")) == 44
    assert run_db("check", REFAULT_DATABASE_URL=empty_database_url).returncode == 0


def test_the_command_without_a_database_says_what_to_set():
    done = run_db("upgrade")
    assert done.returncode == 2
    assert "REFAULT_DATABASE_URL" in done.stderr


def test_the_command_names_the_database_it_cannot_reach():
    done = run_db("upgrade", REFAULT_DATABASE_URL="postgresql://u:secret@127.0.0.1:1/d")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
