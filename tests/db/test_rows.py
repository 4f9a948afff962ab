import contextlib
import uuid

import pytest
import sqlalchemy as sa

from db.errors import Conflict, NoSimulator
from db.identifiers import batch_code, uuid7
from db.models import PatchSet, Trace
from db.repositories import patch_sets, simulators, trace_deletion, traces
from db.session import create_engine
from refault.catalogue import SEED_SERIES
from refault.errors import NotFound, Unavailable
from tests.builders import digest_of, transaction
from tests.fixtures.database import SIMULATOR


def get_trace(store, name):
    with transaction(store.engine) as session:
        return traces.get(session, name)


def test_ids_sort_by_the_time_they_were_made():
    made = [uuid7() for _ in range(200)]
    assert len(set(made)) == 200
    assert {value.version for value in made} == {7}
    assert {value.variant for value in made} == {uuid.RFC_4122}
    milliseconds = [value.int >> 80 for value in made]
    assert milliseconds == sorted(milliseconds)


def test_codes_have_no_letters_that_are_mistaken_for_others():
    letters = set("".join(batch_code(40)[2:] for _ in range(50)))
    assert not letters & set("ilou")
    assert len(letters) == 32


def test_the_same_trace_twice_is_one_row(store):
    first = store.add_trace()
    with transaction(store.engine) as session:
        row, created = traces.add(
            session,
            **{
                column.key: getattr(first, column.key)
                for column in sa.inspect(Trace).column_attrs
                if column.key not in ("id", "project_id", "created_at")
            },
        )
    assert (row.id, created) == (first.id, False)
    assert store.count(Trace) == 1


def test_a_trace_is_found_by_id_digest_and_beginning_of_digest(store):
    row = store.add_trace()
    for name in (row.id, str(row.id), row.digest, row.digest[:8], row.digest.upper()):
        assert get_trace(store, name).id == row.id


@pytest.mark.parametrize("name", ["", "abc", "%", "0" * 64, str(uuid.UUID(int=0)), "no-such-one"])
def test_an_unknown_trace_is_not_found(store, name):
    store.add_trace()
    with pytest.raises(NotFound):
        get_trace(store, name)


def test_a_beginning_that_fits_two_traces_is_refused(store):
    store.add_trace("one", digest="a" * 63 + "0")
    store.add_trace("two", digest="a" * 63 + "1")
    with pytest.raises(Conflict, match="several traces"):
        get_trace(store, "a" * 20)


def test_a_trace_of_a_batch_stays(store):
    store.plan()
    with pytest.raises(Conflict, match="part of batch"), transaction(store.engine) as session:
        trace_deletion.delete(session, traces.get(session, digest_of("boot")), cascade=False)
    with transaction(store.engine) as session:
        trace_deletion.delete(session, store.add_trace("unused"), cascade=False)
    assert store.count(Trace) == 1


def test_pages_hold_every_trace_once_newest_first(store):
    names = [f"trace {number}" for number in range(7)]
    for name in names:
        store.add_trace(name)
    seen, cursor = [], None
    while True:
        with transaction(store.engine) as session:
            page = traces.list_page(session, after=cursor, limit=3)
        seen += [row.name for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == names[::-1]


def test_the_same_patch_set_twice_is_one_row_with_its_order(store):
    first, second = store.add_patch_set(), store.add_patch_set()
    assert first.id == second.id
    assert second.patches == SEED_SERIES
    assert store.count(PatchSet) == 1


def test_another_name_is_another_patch_set_of_the_same_variant(store):
    first, second = store.add_patch_set(name="v1"), store.add_patch_set(name="v2")
    assert first.id != second.id
    assert first.variant_digest == second.variant_digest


def test_a_patch_set_that_is_not_there_is_not_found(store):
    with pytest.raises(NotFound), transaction(store.engine) as session:
        patch_sets.get(session, uuid7())


def test_without_any_worker_there_is_no_simulator(engine):
    with (
        pytest.raises(NoSimulator, match="python -m worker"),
        transaction(engine) as session,
    ):
        simulators.current(session)


def register(store, name, digest):
    with transaction(store.engine) as session:
        simulators.register(
            session, name=name, simulators={"shadow": digest}, semantics_version=1, host="h", pid=2
        )


def current(store):
    with transaction(store.engine) as session:
        return simulators.current(session)["shadow"]


def test_batches_are_planned_for_the_worker_that_started_last(store):
    assert current(store) == SIMULATOR
    register(store, "w2", digest_of("new"))
    assert current(store) == digest_of("new")


def test_a_living_worker_counts_before_a_later_one_that_has_ended(store):
    register(store, "w2", digest_of("new"))
    with transaction(store.engine) as session:
        simulators.ended(session, "w2", in_order=True)
    assert current(store) == SIMULATOR
    with transaction(store.engine) as session:
        simulators.ended(session, "w1", in_order=False)
    # Nobody lives; somebody with the newest will.
    assert current(store) == digest_of("new")


def test_a_worker_that_is_not_heard_of_is_not_alive(store):
    with transaction(store.engine) as session:
        assert [worker.name for worker in simulators.alive_workers(session)] == ["w1"]
        session.execute(sa.text("UPDATE workers SET heartbeat_at = now() - interval '1 minute'"))
    with transaction(store.engine) as session:
        assert simulators.alive_workers(session) == []
        simulators.heartbeat(session, "w1")
    with transaction(store.engine) as session:
        assert len(simulators.alive_workers(session)) == 1


def test_an_exception_in_a_transaction_leaves_no_row(store):
    def fail():
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError), transaction(store.engine) as session:
        session.execute(sa.text("DELETE FROM workers"))
        fail()
    with transaction(store.engine) as session:
        assert len(simulators.alive_workers(session)) == 1


def test_a_database_that_is_not_there_is_named_without_its_password():
    engine = create_engine("postgresql://u:secret@127.0.0.1:1/d")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as caught, transaction(engine) as s:
        s.execute(sa.text("SELECT 1"))
    assert "secret" not in str(caught.value)
    engine.dispose()


def test_a_slow_statement_is_stopped(engine):
    with transaction(engine) as session:
        assert session.scalar(sa.text("SHOW statement_timeout")) == "30s"
        assert session.scalar(sa.text("SHOW lock_timeout")) == "10s"
