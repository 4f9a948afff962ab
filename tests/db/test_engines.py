"""Several engines in one database: each result is of its engine, and a batch may hold several."""

import pytest
import sqlalchemy as sa

from db.errors import Conflict, NoSimulator
from db.models import Batch, Shard
from db.repositories import results, simulators
from db.shards import claiming, estimating, planning, recording
from db.shards.recording import Computed
from tests.builders import digest_of, make_result, transaction
from tests.db.test_moving_on import move_on
from tests.db.test_reopening import cancel, resume
from tests.fixtures.database import SIMULATOR

WALK = digest_of("walk")
NEWER = digest_of("newer walk")
BOTH = {"shadow": SIMULATOR, "walk": WALK}


def wanted(store, bases=("v2.6.34-pre", "kvm-2010-04", "walk"), traces=("boot",)):
    return {
        "traces": [store.add_trace(name) for name in traces],
        "patch_sets": [store.add_patch_set((), base, base=base) for base in bases],
        "plan": "each",
    }


def plan(store, **given):
    asked = wanted(store, **given)
    with transaction(store.engine) as session:
        offered = simulators.current(session)
        return planning.write(session, planning.expand(**asked, simulators=offered)).batch


def compute(store, offered, worker="w1"):
    """The next shard a worker with these simulators gets, computed: its variants; None if none."""
    with transaction(store.engine) as session:
        claims = claiming.claim_handful(
            session,
            worker=worker,
            worker_pid=1,
            simulators=offered.values(),
            lease_seconds=60,
            shards_max=1,
        )
    if not claims:
        return None
    [claim] = claims
    outcomes = [
        results.Outcome(
            run.variant_digest,
            make_result(
                trace=claim.trace_name,
                variant_digest=run.variant_digest,
                simulator_digest=offered[run.variant.engine],
            ),
        )
        for run in claim.runs
    ]
    with transaction(store.engine) as session:
        computed = [Computed(claim.fence, outcomes, 0.1)]
        assert recording.record(session, computed, simulators=offered, worker=worker)
    return sorted(run.variant.name for run in claim.runs)


@pytest.fixture
def store_of_both(store):
    store.add_worker("w1", walk=WALK)
    return store


def test_an_engine_that_no_worker_has_is_refused_by_name(store):
    with pytest.raises(NoSimulator, match="engine 'walk'"):
        plan(store)
    assert store.count(Batch) == 0


def test_a_batch_knows_the_simulator_of_each_engine_and_its_bases_first(store_of_both):
    batch = plan(store_of_both)
    assert list(store_of_both.batch(batch.id).simulators.items()) == [*BOTH.items()]
    other = plan(store_of_both, bases=("walk", "v2.6.34-pre"))
    assert list(store_of_both.batch(other.id).simulators.items()) == [*reversed(BOTH.items())]
    assert store_of_both.batch(other.id).simulator_digest == WALK


def test_a_shard_is_of_one_engine_and_its_results_are_that_engines(store_of_both):
    batch = plan(store_of_both)
    computed = [compute(store_of_both, BOTH), compute(store_of_both, BOTH)]
    assert sorted(computed) == [["kvm-2010-04", "v2.6.34-pre"], ["walk"]]
    assert store_of_both.batch(batch.id).state == "done"
    assert {
        (run.variant.engine, run.result.simulator_digest) for run in store_of_both.runs(batch.id)
    } == set(BOTH.items())


def test_a_worker_leaves_shards_of_engines_it_lacks(store_of_both):
    batch = plan(store_of_both)
    assert compute(store_of_both, {"shadow": SIMULATOR}) == ["kvm-2010-04", "v2.6.34-pre"]
    assert compute(store_of_both, {"shadow": SIMULATOR}) is None
    assert store_of_both.batch(batch.id).state == "running"
    assert compute(store_of_both, {"walk": WALK}) == ["walk"]


def test_known_results_of_both_engines_are_found(store_of_both):
    plan(store_of_both)
    while compute(store_of_both, BOTH):
        pass
    again = store_of_both.batch(plan(store_of_both).id)
    assert (again.state, again.cached_count) == ("done", 3)


def test_an_estimate_takes_each_engine_at_its_own_speed(store_of_both):
    """The walk alone replays several times as many events a second as the shadow MMU."""
    plan(store_of_both, bases=("v2.6.34-pre", "walk"))
    while compute(store_of_both, BOTH):
        pass
    seconds = sa.case((Shard.simulator_digest == WALK, 1), else_=10)
    with transaction(store_of_both.engine) as session:
        started = Shard.finished_at - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        session.execute(sa.update(Shard).values(started_at=started))
        asked = wanted(store_of_both, bases=("v2.6.34-pre", "walk"), traces=("gcc",))
        found = estimating.estimate(session, planning.expand(**asked, simulators=BOTH))
    [trace] = asked["traces"]
    # One worker: ten seconds of the one and one of the other, for as many events as before.
    assert found.seconds == pytest.approx(11)
    assert f"{trace.event_count / 10:,.0f} events under shadow" in found.basis
    assert f"{trace.event_count:,.0f} events under walk" in found.basis


def test_an_estimate_names_the_engine_of_which_nothing_is_known(store_of_both):
    asked = wanted(store_of_both)
    plan(store_of_both, bases=("v2.6.34-pre",))
    assert compute(store_of_both, {"shadow": SIMULATOR})
    with transaction(store_of_both.engine) as session:
        found = estimating.estimate(session, planning.expand(**asked, simulators=BOTH))
    assert found.seconds is None
    assert "no result of the present simulator of walk" in found.basis


def test_an_estimate_counts_shards_by_engine(store_of_both):
    asked = wanted(store_of_both)
    with transaction(store_of_both.engine) as session:
        request = planning.expand(**asked, simulators=simulators.current(session))
        found = estimating.estimate(session, request)
    assert (found.run_count, found.shard_count, found.worker_count) == (3, 2, 1)
    assert found.events_to_replay == 3 * 5000
    assert found.bytes_to_read == 2 * 1000


def test_only_the_engine_that_changed_is_stale_and_moves_on(store_of_both):
    batch = plan(store_of_both)
    assert compute(store_of_both, {"shadow": SIMULATOR})
    with transaction(store_of_both.engine) as session:
        simulators.all_ended(session)
    store_of_both.add_worker("w2", walk=NEWER)
    with transaction(store_of_both.engine) as session:
        present = simulators.current(session)
        assert simulators.is_stale({"walk": WALK}, present)
        assert not simulators.is_stale({"shadow": SIMULATOR}, present)

    # Its shard waits already, and the sweep sends the message.
    assert move_on(store_of_both) == []

    moved = store_of_both.batch(batch.id)
    assert moved.simulators == {"shadow": SIMULATOR, "walk": NEWER}
    assert moved.done_count == 2
    [step] = [step for step in store_of_both.steps(batch.id) if step.kind == "batch.moved_on"]
    assert (step.body["engine"], step.body["simulator"]) == ("walk", NEWER)
    assert compute(store_of_both, {"shadow": SIMULATOR, "walk": NEWER}) == ["walk"]
    assert store_of_both.batch(batch.id).state == "done"
    assert move_on(store_of_both) is None


def test_a_computed_engine_that_changed_is_computed_again_with_what_waits(store_of_both):
    batch = plan(store_of_both)
    assert compute(store_of_both, {"walk": WALK})
    with transaction(store_of_both.engine) as session:
        simulators.all_ended(session)
    store_of_both.simulator = digest_of("newer shadow")
    store_of_both.add_worker("w2", walk=NEWER)
    assert move_on(store_of_both)
    offered = {"shadow": store_of_both.simulator, "walk": NEWER}
    assert store_of_both.batch(batch.id).simulators == offered
    assert sorted([compute(store_of_both, offered), compute(store_of_both, offered)]) == [
        ["kvm-2010-04", "v2.6.34-pre"],
        ["walk"],
    ]
    assert store_of_both.batch(batch.id).state == "done"


def test_a_batch_with_one_stale_engine_is_not_taken_up_again(store_of_both):
    batch = plan(store_of_both)
    cancel(store_of_both, batch)
    store_of_both.add_worker("w2", walk=NEWER)
    with pytest.raises(Conflict, match="of engine walk"):
        resume(store_of_both, batch)


def test_an_equal_request_under_way_is_one_batch_whatever_the_engines(store_of_both):
    assert plan(store_of_both).id == plan(store_of_both).id
