"""A simulator under an earlier name of its engine: what was made under it stays current."""

import pytest

from db import verify
from db.blobs.folder import FolderStore
from db.models import Result, Shard
from db.repositories import comparisons, results, simulators
from db.shards import sweeping
from refault.catalogue import SEED_SERIES
from refault.compare import Threshold
from refault.lineage import SAME_AS
from services.api.comparisons.judging import comparisons_of
from tests.builders import make_result, record_shard, transaction

OLD, NEW = next(iter(SAME_AS.items()))


@pytest.fixture
def filled(store):
    """Of an earlier release: a batch that is over, under the old name."""
    store.simulator = OLD
    store.add_worker("w1")
    store.first = compute_all(store, store.plan(patches=SEED_SERIES[:2])[0], OLD)
    return store


def upgrade(store):
    with transaction(store.engine) as session:
        simulators.all_ended(session)
    store.simulator = NEW
    store.add_worker("w2")


def compute_all(store, batch, name, **given):
    """Whatever waits of the batch is computed by a worker that calls its engine by that name."""
    while (claim := store.claim_next(simulator=name)) is not None:
        outcomes = [
            results.Outcome(
                run.variant_digest,
                make_result(
                    trace=claim.trace_name,
                    variant_digest=run.variant_digest,
                    simulator_digest=name,
                    **given,
                ),
            )
            for run in claim.runs
        ]
        with transaction(store.engine) as session:
            assert record_shard(session, claim.fence, outcomes, simulator_digest=name, worker="w1")
    over = store.batch(batch.id)
    assert over.state == "done"
    return over


def told_by_verify(store, folder):
    found = verify.live(store.engine, FolderStore(folder), lambda *_: None)
    # The traces of these tests are rows without files.
    return [sentence for sentence in found if "has no blob" not in sentence]


def comparison_of(store, batch_id):
    with transaction(store.engine) as session:
        batch = session.merge(store.batch(batch_id), load=True)
        traces = comparisons.traces_of(session, batch_id)
        present = simulators.current(session)
        chosen = range(len(batch.columns))
        [found] = comparisons_of(session, batch, traces, Threshold(), chosen, present)
    return found


def test_results_under_the_old_name_are_current_and_stand_beside_new_ones(filled, tmp_path):
    first = filled.first
    upgrade(filled)
    with transaction(filled.engine) as session:
        assert not simulators.is_stale(first.simulators, simulators.current(session))

    batch, _ = filled.plan(patches=SEED_SERIES[:4])

    planned = filled.batch(batch.id)
    assert (planned.simulator_digest, planned.cached_count) == (NEW, first.run_count)
    assert planned.cached_count < planned.run_count
    compute_all(filled, planned, NEW)
    assert {row.simulator_digest for row in filled.results()} == {OLD, NEW}
    found = comparison_of(filled, batch.id)
    assert all(column.result for column in found.columns)
    assert (found.is_stale, dict(found.simulators)) == (False, {"shadow": NEW})
    assert not comparison_of(filled, first.id).is_stale
    assert told_by_verify(filled, tmp_path) == []


def test_what_waits_under_the_old_name_is_computed_under_the_new_one(filled, tmp_path):
    batch, _ = filled.plan(("second",), patches=SEED_SERIES[:2])
    upgrade(filled)
    with transaction(filled.engine) as session:
        assert sweeping.orphan(session, after_seconds=-1) is None
    assert filled.plan(("second",), patches=SEED_SERIES[:2])[0].id == batch.id
    over = compute_all(filled, batch, NEW)
    assert (over.simulator_digest, over.cached_count) == (OLD, 0)
    assert {run.result.simulator_digest for run in filled.runs(batch.id)} == {NEW}
    assert told_by_verify(filled, tmp_path) == []


@pytest.mark.parametrize("is_same", [True, False])
def test_recomputed_under_the_new_name_it_must_be_the_same_but_for_the_name(
    filled, tmp_path, is_same
):
    row_count = filled.count(Result)
    upgrade(filled)
    batch, _ = filled.plan(patches=SEED_SERIES[:2], recompute=True)
    compute_all(filled, batch, NEW, **({} if is_same else {"pages": "others"}))
    rows = filled.results()
    # No second row of the same meaning.
    assert [row.simulator_digest for row in rows] == [OLD] * row_count
    assert [row.integrity_alarm is None for row in rows] == [is_same] * row_count
    assert told_by_verify(filled, tmp_path) == []


def test_a_crash_under_the_old_name_is_replaced_and_renamed(store, tmp_path):
    store.simulator = OLD
    store.add_worker("w1")
    batch, _ = store.plan_one_shard()
    claim = store.claim_next(simulator=OLD)
    outcomes = [results.Outcome(run.variant_digest, crash="broke") for run in claim.runs]
    with transaction(store.engine) as session:
        record_shard(session, claim.fence, outcomes, simulator_digest=OLD, worker="w1")
    upgrade(store)
    again, _ = store.plan(patches=("zap-account",), plan="each", recompute=True)
    compute_all(store, again, NEW)
    [row] = store.results()
    assert (row.outcome, row.simulator_digest) == ("complete", NEW)
    assert store.batch(batch.id).simulator_digest == OLD
    assert told_by_verify(store, tmp_path) == []


def test_of_two_rows_the_one_of_the_present_name_counts(filled):
    """A worker of either release computes the same cell at once: both rows are there."""
    [old, *_] = filled.results()
    with transaction(filled.engine) as session:
        twin = Result(
            trace_digest=old.trace_digest,
            variant_digest=old.variant_digest,
            simulator_digest=NEW,
            outcome="crashed",
            crash="of the new one",
            worker="w2",
        )
        session.add(twin)
        session.flush()
        for name in (OLD, NEW):
            known = results.find_many(session, [old.trace_digest], [old.variant_digest], [name])
            assert [row.id for row in known.values()] == [twin.id]


def test_workers_under_either_name_are_counted_for_both(filled):
    upgrade(filled)
    filled.simulator = OLD
    filled.add_worker("w1")
    with transaction(filled.engine) as session:
        assert simulators.worker_count(session, [OLD]) == 2
        assert simulators.worker_count(session, [NEW]) == 2
    assert filled.count(Shard) == 1
