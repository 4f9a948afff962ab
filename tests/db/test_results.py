import dataclasses

import pytest
import sqlalchemy as sa

from db.errors import ServiceFault
from db.models import Result
from db.repositories import results
from db.repositories.results import Outcome
from refault.results import RunResult
from tests.builders import make_finding, make_result, transaction, write_result
from tests.fixtures.database import SIMULATOR

RESULT = make_result(findings=(make_finding(gva=0xFFFF_8000_0000_1000, got=(1 << 64) - 1),))


def write(store, outcome, worker="w1"):
    with transaction(store.engine) as session:
        return write_result(
            session,
            outcome,
            trace_digest=RESULT.trace_digest,
            simulator_digest=SIMULATOR,
            worker=worker,
        )


def complete(**changes):
    result = dataclasses.replace(RESULT, **changes)
    return Outcome(result.variant_digest, result)


def crashed(text="IndexError"):
    return Outcome(RESULT.variant_digest, crash=text)


def test_a_result_comes_back_as_the_same_bytes(store):
    row, _ = write(store, complete())
    with transaction(store.engine) as session:
        stored = results.get(session, row.id)
    again = RunResult.from_dict(stored.body)
    assert again == RESULT
    assert again.to_bytes() == RESULT.to_bytes()
    assert stored.body_digest == RESULT.digest


def test_the_same_bytes_again_change_nothing(store):
    first, _ = write(store, complete())
    second, alarmed = write(store, complete(), worker="w2")
    assert (second.id, alarmed, second.integrity_alarm) == (first.id, False, None)
    assert second.recomputed_at is not None
    assert store.count(Result) == 1


def test_other_bytes_raise_the_alarm_and_the_first_stay(store):
    first, _ = write(store, complete())
    other = complete(counters=RESULT.counters | {"pf_fixed": 1})
    row, alarmed = write(store, other, worker="w2")
    assert alarmed is True
    assert (row.id, row.body) == (first.id, RESULT.to_dict())
    assert row.integrity_alarm["stored_digest"] == RESULT.digest
    assert row.integrity_alarm["other_digest"] == other.result.digest
    assert row.integrity_alarm["worker"] == "w2"


def test_a_crash_where_there_was_a_result_raises_the_alarm(store):
    write(store, complete())
    row, alarmed = write(store, crashed())
    assert (alarmed, row.outcome) == (True, "complete")
    assert row.integrity_alarm["other_crash"] == "IndexError"


def test_a_result_replaces_a_crash(store):
    first, _ = write(store, crashed())
    row, alarmed = write(store, complete())
    assert (row.id, row.outcome, row.crash, alarmed) == (first.id, "complete", None, False)
    assert row.body == RESULT.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        "outcome = 'perhaps'",
        "body = NULL",
        "crash = 'both'",
        "trace_digest = 'ABC'",
        "variant_digest = repeat('g', 64)",
    ],
)
def test_the_database_refuses_a_row_that_makes_no_sense(store, change):
    write(store, complete())
    with pytest.raises(ServiceFault, match="SQLSTATE 23514"), transaction(store.engine) as session:
        session.execute(sa.text(f"UPDATE results SET {change}"))


def test_three_digests_have_one_row(store):
    write(store, complete())
    columns = "trace_digest, variant_digest, simulator_digest, outcome, crash, worker"
    with (
        pytest.raises(ServiceFault, match="SQLSTATE 23505"),
        transaction(store.engine) as session,
    ):
        session.execute(
            sa.text(
                f"INSERT INTO results (id, {columns}) SELECT gen_random_uuid(), trace_digest,"
                " variant_digest, simulator_digest, 'crashed', 'x', 'w' FROM results"
            )
        )
