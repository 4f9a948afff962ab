import random
import threading
import time

import pytest

from db.errors import Conflict
from db.models import Result, Run, Shard
from db.repositories import results, simulators
from db.shards import cancelling, endings, sweeping
from db.shards.endings import LOSSES_MAX
from db.shards.fences import Fence
from db.shards.leases import Grip
from tests.builders import digest_of, extend_lease, make_result, record_shard, transaction
from tests.fixtures.database import SIMULATOR


def give_back(store, fence, error="no reason", **options):
    with transaction(store.engine) as session:
        return endings.give_back(session, fence, error, **options)


def cancel(store, batch):
    with transaction(store.engine) as session:
        return cancelling.cancel(session, batch.id)


def next_fence(message):
    return Fence(message.shard_id, message.attempt)


def test_a_shard_is_taken_once_however_often_a_worker_is_nudged(store):
    batch, fence = store.plan_one_shard()
    assert store.claim_next().fence == fence
    assert store.claim_next(worker="w2") is None
    assert store.shard(fence.shard_id).worker == "w1"
    assert store.batch(batch.id).state == "running"


def test_a_message_of_an_older_attempt_is_dropped(store):
    _, fence = store.plan_one_shard()
    store.claim(fence)
    message = give_back(store, fence)
    assert message.attempt == 2
    assert store.claim(fence) is None
    assert store.claim(next_fence(message)) is not None


def test_a_worker_with_another_simulator_leaves_the_shard(store):
    _, fence = store.plan_one_shard()
    assert store.claim_next(simulator=digest_of("older")) is None
    assert store.shard(fence.shard_id).state == "queued"
    assert store.claim_next().fence == fence


def test_recording_ends_run_shard_and_batch_together(store):
    batch, fence = store.plan_one_shard()
    assert store.record(store.claim(fence))
    after = store.batch(batch.id)
    assert (after.state, after.done_count, after.cached_count) == ("done", 1, 0)
    assert after.finished_at is not None
    assert store.shard(fence.shard_id).state == "done"
    [run] = store.runs(batch.id)
    assert run.state == "done"
    assert run.result.body == make_result(trace="boot", variant_digest=run.variant_digest).to_dict()
    assert [step.kind for step in store.steps(batch.id)] == [
        "batch.planned",
        "shard.claimed",
        "run.done",
        "shard.done",
        "batch.done",
    ]


def test_recording_twice_counts_once(store):
    batch, fence = store.plan_one_shard()
    claim = store.claim(fence)
    assert store.record(claim) is True
    assert store.record(claim) is False
    assert store.batch(batch.id).done_count == 1
    assert store.count(Result) == 1


def test_a_worker_that_lost_its_shard_writes_nothing(store):
    batch, fence = store.plan_one_shard()
    slow = store.claim(fence)
    store.let_lease_run_out(fence)
    with transaction(store.engine) as session:
        message = sweeping.take_from_lost(session, fence, "not heard of")
    assert store.record(slow, counters={"pf_fixed": 666_666}) is False
    assert store.count(Result) == 0
    quick = store.claim(next_fence(message), worker="w2")
    assert store.record(quick) is True
    assert store.record(slow, counters={"pf_fixed": 666_666}) is False
    [result] = store.results()
    assert result.body["counters"]["pf_fixed"] != 666_666
    assert result.integrity_alarm is None
    assert store.batch(batch.id).done_count == 1


def test_a_lease_that_holds_is_not_taken(store):
    _, fence = store.plan_one_shard()
    store.claim(fence, lease_seconds=60)
    with transaction(store.engine) as session:
        assert sweeping.abandoned(session) == []
        assert sweeping.take_from_lost(session, fence, "impatience") is None
    assert store.shard(fence.shard_id).attempt == 1


def test_a_lease_ends_by_the_clock_of_the_database(store, monkeypatch):
    _, fence = store.plan_one_shard()
    # A worker whose own clock is a day wrong claims for as long as any other.
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 86_400)
    store.claim(fence, lease_seconds=60)
    with transaction(store.engine) as session:
        assert sweeping.abandoned(session) == []
    store.let_lease_run_out(fence)
    with transaction(store.engine) as session:
        [found] = sweeping.abandoned(session)
    assert (found.fence, found.worker) == (fence, "w1")


def test_a_heartbeat_moves_the_end_of_the_lease_and_the_progress(store):
    _, fence = store.plan_one_shard()
    store.claim(fence, lease_seconds=60)
    store.let_lease_run_out(fence)
    with transaction(store.engine) as session:
        grip = extend_lease(session, fence, lease_seconds=60, events_done=1234)
    assert grip is Grip.HELD
    with transaction(store.engine) as session:
        assert sweeping.abandoned(session) == []
    assert store.shard(fence.shard_id).events_done == 1234


def test_a_heartbeat_learns_that_the_shard_is_lost(store):
    _, fence = store.plan_one_shard()
    store.claim(fence)
    give_back(store, fence)
    with transaction(store.engine) as session:
        assert extend_lease(session, fence, lease_seconds=60, events_done=0) is Grip.LOST


def test_what_a_worker_held_is_free_once_it_is_known_to_have_ended(store):
    _, fence = store.plan_one_shard()
    store.claim(fence, lease_seconds=3600)
    with transaction(store.engine) as session:
        simulators.ended(session, "w1", in_order=True)
    with transaction(store.engine) as session:
        [found] = sweeping.abandoned(session)
        message = sweeping.take_from_lost(session, found.fence, "terminated (SIGTERM)")
    assert message.attempt == 2
    # It was told to stop; the shard is not to blame.
    assert store.shard(fence.shard_id).lost_count == 0


def test_the_third_loss_fails_the_shard_with_the_reason(store):
    batch, fence = store.plan_one_shard()
    for loss in range(1, LOSSES_MAX + 1):
        assert store.claim(fence) is not None
        message = give_back(store, fence, f"Segmentation fault number {loss}")
        if message is not None:
            fence = next_fence(message)
    assert message is None
    [run] = store.runs(batch.id)
    assert (run.state, store.shard(fence.shard_id).state) == ("failed", "failed")
    assert "3 attempts" in run.error
    assert "Segmentation fault number 3" in run.error
    after = store.batch(batch.id)
    assert (after.state, after.failed_count, after.done_count) == ("failed", 1, 0)


def test_an_interrupted_attempt_is_no_loss(store):
    _, fence = store.plan_one_shard()
    for _ in range(LOSSES_MAX + 2):
        store.claim(fence)
        fence = next_fence(give_back(store, fence, "terminated (SIGTERM)", counts_as_loss=False))
    assert store.record(store.claim(fence)) is True


def test_a_permanent_failure_is_not_tried_again(store):
    batch, fence = store.plan_one_shard()
    store.claim(fence)
    with transaction(store.engine) as session:
        assert endings.fail(session, fence, "byte 17: not a trace") is True
    assert store.runs(batch.id)[0].error == "byte 17: not a trace"
    assert store.batch(batch.id).state == "failed"


def test_a_crash_of_the_simulator_is_a_result(store):
    batch, fence = store.plan_one_shard()
    claim = store.claim(fence)
    outcome = results.Outcome(claim.runs[0].variant_digest, crash="IndexError: row 7")
    with transaction(store.engine) as session:
        record_shard(session, fence, [outcome], simulator_digest=SIMULATOR, worker="w1")
    [run] = store.runs(batch.id)
    assert (run.state, run.error, run.result.outcome) == ("crashed", "IndexError: row 7", "crashed")
    assert store.batch(batch.id).state == "done"


def test_a_run_without_a_possible_result_fails_alone(store):
    batch, messages = store.plan()
    fence = Fence(messages[0].shard_id, 1)
    claim = store.claim(fence)
    bad, *good = [run.variant_digest for run in claim.runs]
    outcomes = [results.Outcome(bad, failure="accesses: 3 is not 2 + 2")]
    outcomes += [
        results.Outcome(digest, make_result(trace="boot", variant_digest=digest)) for digest in good
    ]
    with transaction(store.engine) as session:
        record_shard(session, fence, outcomes, simulator_digest=SIMULATOR, worker="w1")
    states = {run.variant_digest: run.state for run in store.runs(batch.id)}
    assert states[bad] == "failed"
    assert {states[digest] for digest in good} == {"done"}


def test_a_missing_outcome_writes_nothing(store):
    batch, messages = store.plan()
    fence = Fence(messages[0].shard_id, 1)
    store.claim(fence)
    with (
        pytest.raises(RuntimeError, match="no outcome"),
        transaction(store.engine) as session,
    ):
        record_shard(session, fence, [], simulator_digest=SIMULATOR, worker="w1")
    assert store.batch(batch.id).done_count == 0
    assert store.shard(fence.shard_id).state == "running"


def test_results_that_appeared_since_the_planning_are_linked_at_the_claim(store):
    first, fence = store.plan_one_shard()
    second, messages = store.plan()
    for message in messages:
        store.record(store.claim(Fence(message.shard_id, 1)))
    assert store.batch(second.id).state == "done"
    assert store.claim(fence) is None
    after = store.batch(first.id)
    assert (after.state, after.done_count, after.cached_count) == ("done", 1, 1)
    assert store.count(Result) == 5


def test_cancel_ends_what_waits_at_once_and_what_runs_at_its_next_look(store):
    batch, messages = store.plan_two_shards()
    running, waiting = (Fence(message.shard_id, 1) for message in messages)
    claim = store.claim(running)
    assert cancel(store, batch).state == "running"
    assert store.shard(waiting.shard_id).state == "cancelled"
    assert store.claim(waiting) is None
    with transaction(store.engine) as session:
        assert extend_lease(session, running, lease_seconds=9, events_done=0) is Grip.CANCELLED
    with transaction(store.engine) as session:
        assert endings.cancelled(session, running) is True
    after = store.batch(batch.id)
    assert (after.state, after.cancelled_count) == ("cancelled", 5)
    assert store.record(claim) is False


def test_a_lost_shard_of_a_cancelled_batch_is_not_run_again(store):
    batch, fence = store.plan_one_shard()
    store.claim(fence)
    cancel(store, batch)
    assert give_back(store, fence) is None
    assert store.batch(batch.id).state == "cancelled"


def test_a_result_that_came_despite_the_cancel_counts(store):
    batch, fence = store.plan_one_shard()
    claim = store.claim(fence)
    cancel(store, batch)
    assert store.record(claim) is True
    assert store.batch(batch.id).state == "done"


def test_a_batch_that_is_over_cannot_be_cancelled(store):
    batch, fence = store.plan_one_shard()
    store.record(store.claim(fence))
    with pytest.raises(Conflict, match="is done already"):
        cancel(store, batch)


def test_lost_messages_are_sent_again_once_they_are_old(store):
    _, messages = store.plan_two_shards()
    with transaction(store.engine) as session:
        assert sweeping.stale_messages(session, older_than_seconds=60) == []
        assert set(sweeping.stale_messages(session, older_than_seconds=-1)) == set(messages)
    store.claim(Fence(messages[0].shard_id, 1))
    with transaction(store.engine) as session:
        assert sweeping.stale_messages(session, older_than_seconds=-1) == [messages[1]]


def test_steps_of_a_batch_are_seen_in_order_by_a_reader_that_follows(store):
    batch, messages = store.plan(("a", "b", "c"))
    fences = [Fence(message.shard_id, 1) for message in messages]
    threads = [
        threading.Thread(target=lambda fence=fence: store.record(store.claim(fence)))
        for fence in fences
    ]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        last = seen[-1] if seen else 0
        seen += [step.id for step in store.steps(batch.id) if step.id > last]
    for thread in threads:
        thread.join()
    last = seen[-1] if seen else 0
    seen += [step.id for step in store.steps(batch.id) if step.id > last]
    # Whoever only ever asks for what is newer has missed nothing.
    assert seen == [step.id for step in store.steps(batch.id)]
    assert store.batch(batch.id).state == "done"


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_every_run_ends_once_and_the_counts_add_up(store, seed):
    chance = random.Random(seed)
    # Four workers: two shards a trace.
    for name in ("w2", "w3", "w4"):
        store.add_worker(name)
    batch, messages = store.plan(("a", "b", "c"))
    fences = {message.shard_id: [next_fence(message)] for message in messages}
    claims = []
    for _ in range(60):
        known = chance.choice(list(fences.values()))
        fence = chance.choice(known)
        action = chance.choice(["claim", "claim", "record", "record", "lose", "interrupt"])
        message = None
        if action == "claim":
            claim = store.claim(fence, worker=f"w{chance.randrange(3)}")
            claims += [claim] if claim else []
        elif action == "record" and claims:
            store.record(chance.choice(claims))
        elif action == "lose":
            message = give_back(store, fence)
        elif action == "interrupt":
            message = give_back(store, fence, counts_as_loss=False)
        if message is not None:
            fences[message.shard_id].append(next_fence(message))
        if chance.random() < 0.01:
            cancel(store, batch)
        after = store.batch(batch.id)
        states = [run.state for run in store.runs(batch.id)]
        assert after.done_count == states.count("done") + states.count("cached")
        assert after.failed_count == states.count("failed")
        assert after.cancelled_count == states.count("cancelled")
        assert after.is_over == (set(states) <= {"done", "cached", "failed", "cancelled"})
    assert store.count(Run) == batch.run_count
    assert store.count(Shard) == len(messages)
    assert all(result.integrity_alarm is None for result in store.results())
