"""After an upgrade: what waits for a simulator that no worker has any more."""

import pytest
import sqlalchemy as sa

from db.models import Batch, Run, Shard
from db.repositories import simulators
from db.shards import cancelling, reopening, sweeping
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES
from tests.builders import digest_of, transaction
from tests.fixtures.database import SIMULATOR

NEW = digest_of("new")


def upgrade(store, digest=NEW):
    """The only worker ends, and one with another simulator starts."""
    with transaction(store.engine) as session:
        simulators.all_ended(session)
        simulators.register(
            session,
            name=f"w-{digest[:6]}",
            simulators={"shadow": digest},
            semantics_version=2,
            host="h",
            pid=9,
        )


def move_on(store, after_seconds=-1):
    with transaction(store.engine) as session:
        found = sweeping.orphan(session, after_seconds=after_seconds)
        return None if found is None else reopening.move_on(session, *found)


def test_nothing_moves_while_its_simulator_lives_or_nobody_does(store):
    store.plan()
    assert move_on(store) is None
    with transaction(store.engine) as session:
        simulators.all_ended(session)
    assert move_on(store) is None


def test_a_worker_that_is_only_being_started_anew_keeps_its_batches(store):
    store.plan()
    upgrade(store)
    assert move_on(store, after_seconds=24 * 3600) is None


def test_a_backlog_goes_on_with_the_new_simulator_and_nothing_of_it_fails(store):
    planned = [store.plan(patches=SEED_SERIES[:count])[0] for count in (2, 3, 4)]
    upgrade(store)
    while move_on(store) is not None:
        pass
    for batch in planned:
        assert store.batch(batch.id).simulator_digest == NEW
        assert {run.state for run in store.runs(batch.id)} == {"queued"}
    while store.claim_next(worker="w9", simulator=NEW) is not None:
        pass
    with transaction(store.engine) as session:
        states = session.execute(sa.select(Shard.state).distinct()).scalars().all()
    assert states == ["running"]


def test_a_batch_half_done_is_computed_wholly_by_the_new_simulator(store):
    batch, messages = store.plan_two_shards()
    store.record(store.claim(Fence(messages[0].shard_id, 1)))
    done_count = store.batch(batch.id).done_count
    assert done_count > 0
    upgrade(store)

    sent = move_on(store)

    assert [(entry.shard_id, entry.attempt) for entry in sent] == [(messages[0].shard_id, 2)]
    moved = store.batch(batch.id)
    assert (moved.done_count, moved.cached_count, moved.failed_count) == (0, 0, 0)
    assert {(run.state, run.result_id, run.again) for run in store.runs(batch.id)} == {
        ("queued", None, False)
    }
    [step] = [step for step in store.steps(batch.id) if step.kind == "batch.moved_on"]
    assert step.body["run_count"] == done_count
    assert (step.body["old_simulator"], step.body["simulator"]) == (SIMULATOR, NEW)


def test_what_was_known_when_it_was_planned_gets_shards_of_its_own(store):
    first, _ = store.plan(patches=SEED_SERIES[:2])
    while (claim := store.claim_next()) is not None:
        store.record(claim)
    assert store.batch(first.id).state == "done"
    batch, _ = store.plan(patches=SEED_SERIES[:4])
    assert store.batch(batch.id).cached_count > 0
    upgrade(store)

    assert move_on(store)

    assert all(run.shard_id is not None for run in store.runs(batch.id))
    # What is over stays as it is.
    assert store.batch(first.id).simulator_digest == SIMULATOR
    assert move_on(store) is None


def test_back_with_the_old_simulator_its_results_are_found_again(store):
    batch, messages = store.plan_two_shards()
    store.record(store.claim(Fence(messages[0].shard_id, 1)))
    done_count = store.batch(batch.id).done_count
    upgrade(store)
    move_on(store)
    upgrade(store, SIMULATOR)
    move_on(store)
    for _ in range(2):
        # The first finds all it needs, so nothing is left to claim of it.
        if (claim := store.claim_next()) is not None:
            store.record(claim)
    over = store.batch(batch.id)
    assert (over.state, over.done_count, over.cached_count) == ("done", over.run_count, done_count)


def test_an_equal_request_finds_the_batch_that_moved_on_and_no_other(store):
    batch, _ = store.plan()
    upgrade(store)
    move_on(store)
    store.simulator = NEW
    again, messages = store.plan()
    assert (again.id, list(messages)) == (batch.id, [])


@pytest.mark.parametrize("state", ["running", "cancelled"])
def test_a_batch_that_is_worked_on_or_cancelled_is_left_alone(store, state):
    batch, [message, _] = store.plan_two_shards()
    if state == "running":
        store.claim(Fence(message.shard_id, 1))
    else:
        with transaction(store.engine) as session:
            cancelling.cancel(session, batch.id)
    upgrade(store)
    assert move_on(store) is None


def test_a_batch_that_somebody_holds_does_not_hold_up_the_others(store):
    first, _ = store.plan(patches=SEED_SERIES[:2])
    second, _ = store.plan(patches=SEED_SERIES[:3])
    upgrade(store)
    with store.engine.connect() as connection:
        connection.execute(sa.select(Batch.id).where(Batch.id == first.id).with_for_update())
        assert move_on(store) is not None
        assert move_on(store) is None
    assert store.batch(first.id).simulator_digest == SIMULATOR
    assert store.batch(second.id).simulator_digest == NEW
    with transaction(store.engine) as session:
        failed = sa.select(sa.func.count()).select_from(Run).where(Run.state == "failed")
        assert session.scalar(failed) == 0
