"""What the driver raises leaves ``db/session.py`` as an error of ours, without a word of SQL."""

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors

from db.errors import ServiceFault
from db.session import create_engine, transaction
from refault.errors import Unavailable
from tests.fixtures.database_faults import DatabaseFaults

EVERY = sorted(
    {kind for kind in vars(errors).values() if isinstance(kind, type)} - {errors.Error},
    key=lambda kind: kind.__name__,
)
PASSING = (
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.AdminShutdown,
    errors.CannotConnectNow,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.TooManyConnections,
    errors.ConnectionFailure,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)
SECRET = "SELECT secret"


@pytest.fixture
def nowhere():
    """Nothing of it connects."""
    return create_engine("postgresql://somebody:password@127.0.0.1:1/nowhere")


def raised_in(engine, error):
    with pytest.raises((Unavailable, ServiceFault)) as raised, transaction(engine):
        raise error
    return raised.value


def test_every_error_there_is_becomes_ours_and_tells_no_sql(nowhere):
    kinds = [kind for kind in EVERY if issubclass(kind, psycopg.Error)]
    assert len(kinds) > 200
    for kind in kinds:
        wrapped = sa.exc.DBAPIError(SECRET, {"x": SECRET}, kind(f"first line\n{SECRET}"))
        for error in (kind(f"first line\n{SECRET}"), wrapped):
            assert SECRET not in str(raised_in(nowhere, error))


@pytest.mark.parametrize("kind", PASSING, ids=lambda kind: kind.__name__)
def test_what_passes_is_told_from_what_does_not(nowhere, kind):
    assert type(raised_in(nowhere, kind("x"))) is Unavailable
    for other in (errors.UndefinedColumn, errors.UniqueViolation, psycopg.DataError):
        assert type(raised_in(nowhere, other("x"))) is ServiceFault


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sa.exc.TimeoutError("QueuePool limit"), Unavailable),
        (sa.exc.NoResultFound("x"), ServiceFault),
        (sa.exc.PendingRollbackError("x"), ServiceFault),
    ],
)
def test_what_sqlalchemy_raises_by_itself_is_ours_too(nowhere, error, kind):
    assert type(raised_in(nowhere, error)) is kind


def test_what_the_block_raises_by_itself_comes_out_as_it_is(nowhere):
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as raised, transaction(nowhere):
        raise error
    assert raised.value is error


def test_a_lock_that_is_not_to_be_had_is_an_outage_that_says_so(store):
    batch, _ = store.plan_one_shard()
    update = f"UPDATE batches SET priority = 1 WHERE id = '{batch.id}'"
    with store.engine.connect() as other:
        other.execute(sa.text("SELECT 1 FROM batches FOR UPDATE"))
        with (
            pytest.raises(Unavailable, match=r"a lock timed out \(SQLSTATE 55P03"),
            transaction(store.engine) as session,
        ):
            session.connection().exec_driver_sql(f"SET LOCAL lock_timeout = '20ms'; {update}")


def test_a_database_that_is_not_there_is_an_outage_with_its_place(nowhere):
    with (
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 is unreachable"),
        transaction(nowhere) as session,
    ):
        session.execute(sa.text("SELECT 1"))


def test_a_connection_that_cannot_roll_back_keeps_no_lock(engine):
    """It would have been in its transaction for as long as a log keeps the exception."""

    def kind_of(_number, statement):
        return "deadlock" if statement.startswith(("SELECT 'fails'", "ROLLBACK TO")) else None

    def fail():
        with transaction(engine) as session:
            session.begin_nested()
            session.execute(sa.text("LOCK TABLE traces"))
            session.execute(sa.text("SELECT 'fails'"))

    with DatabaseFaults(engine).injected(kind_of), pytest.raises(Unavailable) as kept:
        fail()
    assert kept.value.__traceback__ is not None
    assert engine.pool.checkedout() == 0
    with transaction(engine) as session:
        # Its server process may need a moment to see that nobody is there.
        session.execute(sa.text("LOCK TABLE traces"))
