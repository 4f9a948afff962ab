import pytest

from db.models import Shard
from db.models.runs import SHARD_STATES
from db.shards import states

FULL = {
    "attempt": 4,
    "lost_count": 2,
    "lease_until": "later",
    "snapshot_digest": "ab" * 32,
    "snapshot_events": 7,
    "error": "the last attempt died",
    "events_done": 9,
    "started_at": "before",
    "finished_at": "since",
}


def shard_in(state):
    return Shard(state=state, **FULL)


def test_every_state_can_be_reached_and_no_other():
    reached = {step.after for step in states.STEPS}
    assert reached == set(SHARD_STATES) == {*states.OPEN, *states.ENDED}
    assert {state for step in states.STEPS for state in step.before} == set(SHARD_STATES)


@pytest.mark.parametrize("step", states.STEPS, ids=lambda step: step.name)
@pytest.mark.parametrize("state", SHARD_STATES)
def test_a_step_begins_where_the_table_says_and_changes_nothing_elsewhere(step, state):
    shard = shard_in(state)
    if state in step.before:
        states.take_step(shard, step)
        assert shard.state == step.after
        return
    with pytest.raises(RuntimeError, match=f"is {state}; step '{step.name}' begins in"):
        states.take_step(shard, step)
    assert shard.state == state
    assert {name: getattr(shard, name) for name in FULL} == FULL


LEAVING = [step for step in states.STEPS if states.RUNNING in step.before]
ENDING = [step for step in states.STEPS if step.after in states.ENDED]


@pytest.mark.parametrize("step", LEAVING, ids=lambda step: step.name)
def test_a_shard_that_runs_no_longer_has_no_lease(step):
    shard = shard_in("running")
    states.take_step(shard, step)
    assert shard.lease_until is None


@pytest.mark.parametrize("step", ENDING, ids=lambda step: step.name)
def test_a_shard_that_has_ended_keeps_nothing_of_the_guest(step):
    shard = shard_in(step.before[0])
    states.take_step(shard, step)
    assert shard.snapshot_digest is shard.snapshot_events is None


def test_whoever_held_the_attempt_before_finds_its_fence_closed():
    back = {step.name for step in states.STEPS if step.is_new_attempt}
    assert back == {step.name for step in states.STEPS if step.after == states.QUEUED}


def test_an_attempt_that_is_looked_into_starts_with_nothing_of_the_old_ones():
    shard = shard_in("failed")
    states.take_step(shard, states.REOPEN, published_at="now")
    assert shard.attempt == FULL["attempt"] + 1
    assert (shard.lost_count, shard.events_done) == (0, 0)
    assert shard.error is shard.started_at is shard.finished_at is shard.snapshot_digest is None
    assert shard.published_at == "now"


def test_an_attempt_that_was_lost_leaves_its_snapshot_and_its_losses():
    shard = shard_in("running")
    states.take_step(shard, states.REQUEUE)
    assert shard.snapshot_digest == FULL["snapshot_digest"]
    assert shard.lost_count == FULL["lost_count"]
    assert shard.lease_until is None
