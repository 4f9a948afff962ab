"""Only the engine makes a result: what anything else raises is never a variant's doing."""

import psycopg
import pytest
import sqlalchemy as sa

from db.errors import ServiceFault
from db.models import Result
from refault.catalogue import SEED_SERIES, PatchSet, resolve
from refault.engines.account import loop as account_loop
from refault.engines.shadow import host as variant_host
from refault.engines.shadow import loop
from refault.errors import NotFound, SimulatorCrashed, Unavailable
from refault.replay import session as engine
from tests.builders import transaction
from tests.fixtures.database_faults import LOST, DatabaseFaults, where
from worker import replaying
from worker.shards import Ending, run

VARIANTS = [resolve(PatchSet(patches=SEED_SERIES[:count])) for count in range(3)]

FOREIGN = [
    ValueError("x"),
    IndexError("x"),
    TypeError("x"),
    RuntimeError("can't start new thread"),
    RecursionError("x"),
    MemoryError("x"),
    OSError("x"),
    psycopg.errors.LockNotAvailable("x"),
    sa.exc.OperationalError("SELECT 1", {}, psycopg.OperationalError("x")),
    sa.exc.PendingRollbackError("x"),
    Unavailable("x"),
    ServiceFault("x"),
    NotFound("x"),
]


def raising(error):
    def callback(*_):
        raise error

    return callback


class Keeps:
    """A keeper whose answers fail."""

    def __init__(self, **fails):
        self.found = fails.get("found", lambda: None)
        self.offer = fails.get("offer", lambda _snapshot: None)


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("door", ["progress", "is_cancelled", "found", "offer"])
def test_what_a_callback_raises_makes_no_outcome_and_comes_out_as_it_is(small_trace, error, door):
    given = {"progress": lambda *_: None, "is_cancelled": lambda: False, "keeper": Keeps()}
    if door in given:
        given[door] = raising(error)
    else:
        given["keeper"] = Keeps(**{door: raising(error)})
    with pytest.raises(type(error)) as raised:
        replaying.outcomes(small_trace, VARIANTS[:1], **given)
    assert raised.value is error


def outcomes(small_trace, variants=VARIANTS):
    return replaying.outcomes(
        small_trace, variants, progress=lambda *_: None, is_cancelled=lambda: False
    )


@pytest.fixture
def broken(monkeypatch):
    """The kernels raise this under the second variant."""

    def break_(error):
        execute, run_rows = variant_host.Host.execute, loop.run
        run_accounted = account_loop.run_accounted
        variant = []

        def execute_under(host, *rest):
            variant[:] = [host.variant]
            execute(host, *rest)

        def run_or_break(*given):
            if variant == [VARIANTS[1]]:
                raise error
            return run_rows(*given)

        def accounted_or_break(*given):
            if variant == [VARIANTS[1]]:
                raise error
            return run_accounted(*given)

        monkeypatch.setattr(variant_host.Host, "execute", execute_under)
        monkeypatch.setattr(loop, "run", run_or_break)
        monkeypatch.setattr(account_loop, "run_accounted", accounted_or_break)

    return break_


@pytest.mark.parametrize(
    "error", [IndexError("row 7"), ZeroDivisionError(), AssertionError("a law")], ids=repr
)
def test_a_defect_of_the_simulator_is_a_crash_of_the_variant_it_met_and_of_no_other(
    small_trace, broken, error
):
    broken(error)
    found = outcomes(small_trace)
    assert [each.crash is not None for each in found] == [False, True, False]
    assert type(error).__name__ in found[1].crash.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("x"),
        RuntimeError("x"),
        RecursionError(),
        SystemError(),
        ImportError(),
    ],
    ids=repr,
)
def test_what_the_machine_lacks_while_it_simulates_is_no_crash(small_trace, broken, error):
    broken(error)
    with pytest.raises(type(error)):
        outcomes(small_trace)


def test_a_callback_of_the_event_log_that_fails_is_no_crash(small_trace):
    with pytest.raises(IndexError):
        engine.replay(small_trace, VARIANTS[:1], events=raising(IndexError("of the caller")))


def test_a_crash_after_a_snapshot_was_read_is_held_against_the_beginning(small_trace):
    seen = []

    def replay(trace, variants, *, resume_from=None, **options):
        seen.append(resume_from)
        if resume_from is not None:
            raise SimulatorCrashed("IndexError: of a state that was read back")
        return engine.replay(trace, variants, **options)

    [outcome] = replaying.outcomes(
        small_trace,
        VARIANTS[:1],
        progress=lambda *_: None,
        is_cancelled=lambda: False,
        keeper=Keeps(found=lambda: small_trace),
        replay=replay,
    )
    assert seen == [small_trace, None]
    assert outcome.result is not None


@pytest.mark.parametrize("kind", ["lock timeout", "unknown column", LOST])
def test_a_fault_of_the_database_amid_a_replay_leaves_no_result_and_no_sql(room, kind):
    _, [message] = room.plan(patches=SEED_SERIES[:2])
    faults = DatabaseFaults(room.resources.engine)

    def ask_the_database(trace, variants, **options):
        def progress(*_):
            with faults.injected(where("SELECT", kind)), transaction(room.resources.engine) as it:
                it.scalar(sa.text("SELECT 1"))

        return engine.replay(trace, variants, **{**options, "progress": progress})

    [ending] = run(room.resources, replay=ask_the_database)
    assert ending is (Ending.GIVEN_BACK if kind == "unknown column" else Ending.PUT_OFF)
    assert room.count(Result) == 0
    shard = room.shard(message.shard_id)
    assert (shard.state, shard.lost_count) == ("queued", int(kind == "unknown column"))
    assert "database" in shard.error
    assert "SELECT" not in shard.error
    assert run(room.resources) == [Ending.RECORDED]
