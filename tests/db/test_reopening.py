"""Cancelled and resumed, failed and retried: what goes on, what stays, and the counts of it."""

import contextlib
import random

import pytest

from db.errors import Conflict
from db.models import Batch, Result, Run
from db.repositories import results, simulators
from db.repositories.runs import Filter
from db.shards import cancelling, endings, reopening
from db.shards.fences import Fence
from db.shards.leases import Grip
from refault.errors import NotFound
from tests.builders import digest_of, extend_lease, make_result, record_shard, transaction
from tests.fixtures.database import SIMULATOR


def cancel(store, batch):
    with transaction(store.engine) as session:
        return cancelling.cancel(session, batch.id)


def resume(store, batch):
    with transaction(store.engine) as session:
        return reopening.resume(session, batch.id)[1]


def retry(store, batch, **options):
    with transaction(store.engine) as session:
        return reopening.retry(session, batch.id, **options)[1]


def retry_all(store, batch):
    return retry(store, batch, crashed=True)


def end(store, claim, **outcome):
    """Ends every run of the claim the same way: crash= or failure=."""
    with transaction(store.engine) as session:
        return record_shard(
            session,
            claim.fence,
            [results.Outcome(run.variant_digest, **outcome) for run in claim.runs],
            simulator_digest=SIMULATOR,
            worker="w1",
        )


def counts(store, batch):
    found = store.batch(batch.id)
    return found.done_count, found.cached_count, found.failed_count, found.cancelled_count


def kinds(store, batch):
    return [step.kind for step in store.steps(batch.id)]


def test_a_cancelled_batch_goes_on_where_it_was_stopped(store):
    batch, _ = store.plan_two_shards()
    store.record(store.claim_next())
    done_before = counts(store, batch)[0]
    assert cancel(store, batch).state == "cancelled"

    messages = resume(store, batch)

    after = store.batch(batch.id)
    assert (after.state, after.finished_at, after.cancel_requested_at) == ("queued", None, None)
    assert counts(store, batch) == (done_before, 0, 0, 0)
    assert [message.attempt for message in messages] == [2]
    while (claim := store.claim_next()) is not None:
        store.record(claim)
    assert store.batch(batch.id).state == "done"
    assert counts(store, batch) == (5, 0, 0, 0)
    assert store.count(Result) == 5
    assert kinds(store, batch).index("batch.cancelled") < kinds(store, batch).index("batch.resumed")


def test_a_batch_can_be_resumed_before_a_running_shard_saw_the_cancel(store):
    batch, _ = store.plan_one_shard()
    claim = store.claim_next()
    cancel(store, batch)
    assert resume(store, batch) == []
    with transaction(store.engine) as session:
        grip = extend_lease(session, claim.fence, lease_seconds=60, events_done=1)
    assert grip is Grip.HELD
    assert store.record(claim)
    assert store.batch(batch.id).state == "done"


def test_a_shard_that_stopped_for_a_cancel_taken_back_waits_again(store):
    batch, _ = store.plan_one_shard()
    claim = store.claim_next()
    cancel(store, batch)
    with transaction(store.engine) as session:
        grip = extend_lease(session, claim.fence, lease_seconds=60, events_done=1)
    resume(store, batch)
    assert grip is Grip.CANCELLED
    with transaction(store.engine) as session:
        assert endings.cancelled(session, claim.fence) is True
    again = store.claim_next()
    assert again.fence == Fence(claim.fence.shard_id, 2)
    assert store.record(claim) is False
    assert store.record(again) is True
    assert counts(store, batch) == (1, 0, 0, 0)


def trace_of(store, batch):
    with transaction(store.engine) as session:
        [digest] = {row.trace.digest for row in session.get(Batch, batch.id).traces}
    return digest


def test_one_cell_is_run_again_and_the_others_stay_failed(store):
    batch, _ = store.plan_two_shards()
    failed = []
    while (claim := store.claim_next()) is not None:
        end(store, claim, failure="accesses: 3 is not 2 + 2")
        failed += claim.runs
    mine, *others = failed
    trace = trace_of(store, batch)
    cell = Filter(trace_digest=trace, variant_digest=mine.variant_digest)

    [message] = retry(store, batch, wanted=cell)

    assert message.attempt == 2
    assert counts(store, batch) == (0, 0, len(others), 0)
    claim = store.claim_next()
    assert [run.id for run in claim.runs] == [mine.id]
    store.record(claim)
    assert store.batch(batch.id).state == "failed"
    assert counts(store, batch) == (1, 0, len(others), 0)
    with pytest.raises(Conflict, match="no run there that failed"):
        retry(store, batch, wanted=cell)
    with pytest.raises(NotFound, match="no such cell"):
        retry(store, batch, wanted=Filter(trace_digest=digest_of("another")))
    assert len(retry(store, batch, wanted=Filter(trace_digest=trace))) >= 1
    assert counts(store, batch) == (1, 0, 0, 0)


def test_a_cell_that_crashed_is_run_again_only_where_that_is_said(store):
    batch, _ = store.plan_one_shard()
    claim = store.claim_next()
    end(store, claim, crash="Traceback")
    trace = trace_of(store, batch)
    cell = Filter(trace_digest=trace, variant_digest=claim.runs[0].variant_digest)

    with pytest.raises(Conflict, match="only with `crashed`"):
        retry(store, batch, wanted=cell)
    retry(store, batch, wanted=cell, crashed=True)

    assert [run.id for run in store.claim_next().runs] == [claim.runs[0].id]


def test_only_what_failed_is_run_again(store):
    batch, _ = store.plan_two_shards()
    good, bad = store.claim_next(), store.claim_next()
    store.record(good)
    end(store, bad, failure="accesses: 3 is not 2 + 2")
    assert store.batch(batch.id).state == "failed"

    [message] = retry(store, batch)

    assert message.attempt == 2
    assert counts(store, batch) == (len(good.runs), 0, 0, 0)
    claim = store.claim_next()
    assert {run.id for run in claim.runs} == {run.id for run in bad.runs}
    store.record(claim)
    assert store.batch(batch.id).state == "done"
    assert all(run.error is None for run in store.runs(batch.id))


def test_one_failed_run_of_a_shard_is_retried_without_its_neighbours(store):
    batch, _ = store.plan_two_shards()
    claim = store.claim_next()
    bad, *rest = [run.variant_digest for run in claim.runs]
    outcomes = [results.Outcome(bad, failure="no")]
    outcomes += [
        results.Outcome(digest, make_result(trace="boot", variant_digest=digest)) for digest in rest
    ]
    with transaction(store.engine) as session:
        record_shard(session, claim.fence, outcomes, simulator_digest=SIMULATOR, worker="w1")
    retry(store, batch)
    found = [store.claim_next(), store.claim_next()]
    [again] = [entry for entry in found if entry.fence.shard_id == claim.fence.shard_id]
    assert [run.variant_digest for run in again.runs] == [bad]


def test_a_crash_is_retried_only_when_asked_and_then_replaced(store):
    batch, _ = store.plan_one_shard()
    end(store, store.claim_next(), crash="IndexError: row 7")
    assert store.batch(batch.id).state == "done"
    with pytest.raises(Conflict, match="no run that failed"):
        retry(store, batch)

    retry(store, batch, crashed=True)

    assert counts(store, batch) == (0, 0, 0, 0)
    # The known crash is no answer: it is computed.
    claim = store.claim_next()
    assert len(claim.runs) == 1
    store.record(claim)
    [run] = store.runs(batch.id)
    assert (run.state, run.result.outcome, store.count(Result)) == ("done", "complete", 1)


def test_a_crash_that_was_found_and_never_had_a_shard_gets_one(store):
    first, _ = store.plan_one_shard()
    end(store, store.claim_next(), crash="IndexError: row 7")
    second, messages = store.plan(patches=("zap-account",), plan="each")
    assert (messages, counts(store, second)) == ((), (1, 1, 0, 0))

    [message] = retry(store, second, crashed=True)

    assert (message.attempt, counts(store, second)) == (1, (0, 0, 0, 0))
    store.record(store.claim_next())
    assert counts(store, second) == (1, 0, 0, 0)
    # The other batch shows the same cell, and so its new result.
    assert store.runs(first.id)[0].result.outcome == "complete"


def test_a_shard_given_up_after_three_losses_may_be_tried_three_times_more(store):
    batch, _ = store.plan_one_shard()
    for _ in range(2):
        for _ in range(endings.LOSSES_MAX):
            fence = store.claim_next().fence
            with transaction(store.engine) as session:
                endings.give_back(session, fence, "Segmentation fault")
        assert store.batch(batch.id).state == "failed"
        retry(store, batch)
    store.record(store.claim_next())
    assert store.batch(batch.id).state == "done"


@pytest.mark.parametrize(("act", "reason"), [(resume, "not cancelled"), (retry, "no run that")])
def test_what_has_nothing_to_go_on_with_says_so(store, act, reason):
    batch, _ = store.plan_one_shard()
    store.record(store.claim_next())
    steps = kinds(store, batch)
    with pytest.raises(Conflict, match=reason):
        act(store, batch)
    assert kinds(store, batch) == steps


def test_a_batch_that_is_being_cancelled_is_not_retried(store):
    batch, _ = store.plan_two_shards()
    end(store, store.claim_next(), failure="no")
    store.claim_next()
    cancel(store, batch)
    with pytest.raises(Conflict, match="is being cancelled"):
        retry(store, batch)


def test_a_batch_of_an_older_simulator_is_not_taken_up_again(store):
    batch, _ = store.plan_one_shard()
    cancel(store, batch)
    with transaction(store.engine) as session:
        simulators.ended(session, "w1", in_order=True)
        simulators.register(
            session,
            name="w9",
            simulators={"shadow": digest_of("new")},
            semantics_version=2,
            host="h",
            pid=9,
        )
    with pytest.raises(Conflict, match="submit it again"):
        resume(store, batch)
    assert store.batch(batch.id).state == "cancelled"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_cancelled_resumed_and_retried_the_counts_add_up(store, seed):
    chance = random.Random(seed)
    batch, _ = store.plan(("a", "b"))
    claims = []
    for _ in range(50):
        action = chance.choice(["claim", "record", "fail", "crash", "cancel", "resume", "retry"])
        if action == "claim":
            claims += [claim] if (claim := store.claim_next()) else []
        elif action == "record" and claims:
            store.record(claims.pop())
        elif action == "fail" and claims:
            end(store, claims.pop(), failure="no")
        elif action == "crash" and claims:
            end(store, claims.pop(), crash="no")
        else:
            acts = {"cancel": cancel, "resume": resume, "retry": retry_all}
            with contextlib.suppress(Conflict):
                acts.get(action, lambda *_: None)(store, batch)
        after = store.batch(batch.id)
        runs = store.runs(batch.id)
        states = [run.state for run in runs]
        has_result = [run for run in runs if run.state in {"done", "cached", "crashed"}]
        assert after.done_count == len(has_result)
        assert after.cached_count == sum(run.found for run in has_result)
        assert after.failed_count == states.count("failed")
        assert after.cancelled_count == states.count("cancelled")
        assert after.is_over == (not {"queued", "running"} & set(states))
    assert store.count(Run) == batch.run_count
