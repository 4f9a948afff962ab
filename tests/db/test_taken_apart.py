"""A shard that takes its process along is taken apart: poison alone pays for poison."""

import pytest

from db.shards import endings, sweeping
from db.shards.endings import LOSSES_MAX
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES
from tests.builders import transaction


def lose(store, fence, *, is_death=True):
    """Claims and loses; the next attempt's fence, or None."""
    assert store.claim(fence)
    with transaction(store.engine) as session:
        again = endings.give_back(session, fence, "signal 6", is_death=is_death)
    return again and Fence(again.shard_id, again.attempt)


@pytest.fixture
def lost(store):
    """A shard of three runs that has lost as many processes as a shard may."""
    batch, [message] = store.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, message.attempt)
    for _ in range(LOSSES_MAX):
        fence = lose(store, fence)
    return batch, fence


def test_each_run_gets_a_shard_and_one_more_attempt(store, lost):
    batch, first = lost
    runs = store.runs(batch.id)
    ids = {run.shard_id for run in runs}
    assert len(ids) == len(runs) > 1
    assert first.shard_id in ids
    assert {run.state for run in runs} == {"queued"}
    found = [store.shard(shard_id) for shard_id in ids]
    assert {(row.state, row.attempt, row.lost_count) for row in found} == {("queued", 4, 2)}
    [step] = [step for step in store.steps(batch.id) if step.kind == "shard.taken_apart"]
    assert step.body["shard_count"] == len(runs)


def test_the_sweep_sends_the_new_shards(store, lost):
    batch, first = lost
    with transaction(store.engine) as session:
        sent = sweeping.stale_messages(session, older_than_seconds=3600)
    others = {run.shard_id for run in store.runs(batch.id)} - {first.shard_id}
    assert {(message.shard_id, message.attempt) for message in sent} == {(o, 4) for o in others}


def test_poison_alone_fails_and_the_batch_adds_up(store, lost):
    batch, first = lost
    assert lose(store, first) is None
    for run in store.runs(batch.id):
        if run.shard_id != first.shard_id:
            assert store.record(store.claim(Fence(run.shard_id, 4)))
    found = store.batch(batch.id)
    assert (found.state, found.failed_count) == ("failed", 1)
    assert found.done_count == found.run_count - 1
    [failed] = [run for run in store.runs(batch.id) if run.state == "failed"]
    assert failed.error == "given up after 3 attempts: signal 6"


def test_what_is_no_death_takes_nothing_apart(store):
    batch, [message] = store.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, message.attempt)
    for _ in range(LOSSES_MAX):
        fence = lose(store, fence, is_death=False)
    assert fence is None
    assert {run.state for run in store.runs(batch.id)} == {"failed"}
