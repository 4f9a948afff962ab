"""What a starting worker compiles is written down while it compiles, and gone when it registers."""

import dataclasses
import threading
import types

import numba
import sqlalchemy as sa

from db.models import WorkerStart
from db.repositories import worker_starts
from db.repositories.worker_starts import Step
from refault.compiling import told
from tests.builders import transaction
from tests.patience import PATIENCE_SECONDS, eventually
from worker.starting import Announcing


def kernels_with_nothing_cached(meanwhile=lambda: None):
    """Three kernels below one door, as an engine's are: the function that compiles them.

    ``meanwhile`` is called when two of the four are compiled, in the thread that compiles.
    """
    module = types.ModuleType("refault.of_a_test")
    module.numba = numba
    module.meanwhile = meanwhile
    source = """
@numba.njit
def one(x): return x + 1
@numba.njit
def two(x): return one(x) * 2
@numba.njit
def three(x): return x - 3
@numba.njit
def unneeded(x): return x
@numba.njit
def door(x): return two(x) + three(x)
def compile_it():
    two(1)
    meanwhile()
    return door(1)
"""
    exec(source, module.__dict__)  # numba wants the source of a module
    return module


def rows(resources):
    with transaction(resources.engine) as session:
        return [
            (row.step, row.step_number, row.step_count, row.kernels_done, row.kernels_total)
            for row in worker_starts.starting(session)
        ]


def test_every_kernel_that_is_compiled_is_counted():
    module, seen = kernels_with_nothing_cached(), []
    with told(lambda done, total: seen.append((done, total))):
        module.compile_it()

    assert [done for done, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[0][1] >= 5, "also the one that turns out not to be needed"
    assert all(done <= total for done, total in seen)


def test_what_is_compiled_is_counted_without_asking_other_objects_what_they_are():
    class Lazy:
        """As Celery's objects: what asks for its class has it read a configuration."""

        @property
        def __class__(self):
            raise AssertionError("asked what it is")

    lazy = Lazy()
    module, seen = kernels_with_nothing_cached(), []
    with told(lambda done, total: seen.append((done, total))):
        module.compile_it()
    assert seen
    del lazy


def test_nothing_is_told_of_kernels_that_are_there():
    module, seen = kernels_with_nothing_cached(), []
    module.compile_it()
    with told(lambda done, total: seen.append((done, total))):
        module.compile_it()
    assert seen == []


def test_what_is_compiled_is_in_the_database_until_the_worker_registers(resources):
    goes_on = threading.Event()
    first = kernels_with_nothing_cached(lambda: goes_on.wait(PATIENCE_SECONDS))
    steps = [("the engine x", first.compile_it), ("the accounts of runs", lambda: None)]

    def start():
        with Announcing(resources) as announcing:
            announcing.do(steps)

    worker = threading.Thread(target=start)
    worker.start()
    try:
        told_so = eventually(
            lambda: [row for row in rows(resources) if row[3] == 2], "what is compiled"
        )
        assert len(told_so) == 1
        assert told_so[0][:4] == ("the engine x", 1, 2, 2)
        assert told_so[0][4] >= 5
    finally:
        goes_on.set()
        worker.join()
    with transaction(resources.engine) as session:
        worker_starts.over(session, resources.name)
    assert rows(resources) == []


def test_a_database_that_is_away_is_no_reason_not_to_compile(resources):
    resources.engine.dispose()
    away = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    done = []
    with Announcing(dataclasses.replace(resources, engine=away)) as announcing:
        announcing.do([("the engine x", lambda: done.append(1))])
    assert done == [1]


def test_a_worker_that_was_killed_while_it_compiled_is_not_shown(resources):
    for name in ("killed", "alive"):
        with transaction(resources.engine) as session:
            worker_starts.announce(
                session, name=name, host="h", pid=1, step=Step("the engine shadow", 1, 3, 4, 270)
            )
    with transaction(resources.engine) as session:
        session.execute(
            sa.update(WorkerStart)
            .where(WorkerStart.name == "killed")
            .values(heartbeat_at=sa.func.now() - sa.text("interval '1 minute'"))
        )
    with transaction(resources.engine) as session:
        assert [row.name for row in worker_starts.starting(session)] == ["alive"]
    with transaction(resources.engine) as session:
        worker_starts.over(session, "alive")
        assert session.scalars(sa.select(WorkerStart)).all() == [], "its row goes with the next"
