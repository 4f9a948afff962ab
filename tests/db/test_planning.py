import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import Conflict
from db.models import Batch, Run, Shard, Variant
from db.models import PatchSet as PatchSetRow
from db.repositories import patch_sets, results
from db.shards import cancelling, planning, reopening
from db.shards.cutting import VARIANTS_PER_SHARD_MAX, shards_per_part
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES, Parameters, PatchSet, Schedule
from refault.errors import ContradictingPatches, EmptyBatch, InvalidParameter
from tests.builders import digest_of, make_result, transaction, write_result
from tests.fixtures.database import SIMULATOR


def know(store, trace_name, variant_digest):
    outcome = results.Outcome(
        variant_digest, make_result(trace=trace_name, variant_digest=variant_digest)
    )
    with transaction(store.engine) as session:
        write_result(
            session,
            outcome,
            trace_digest=digest_of(trace_name),
            simulator_digest=SIMULATOR,
            worker="w0",
        )


def test_the_seed_series_has_seven_columns_and_five_machines(store):
    batch, _ = store.plan()
    labels = [column.label for column in store.batch(batch.id).columns]
    assert labels == ["base", "1", "1-2", "1-3", "1-4", "1-5", "1-6"]
    digests = [column.variant_digest for column in store.batch(batch.id).columns]
    # Patches 1 and 5 change no behaviour.
    assert digests[0] == digests[1]
    assert digests[4] == digests[5]
    assert len(set(digests)) == 5
    assert batch.run_count == len(store.runs(batch.id)) == 5


def test_runs_stand_by_trace_and_then_by_column(store):
    batch, _ = store.plan(("boot", "workload"))
    runs = store.runs(batch.id)
    assert [run.trace.name for run in runs] == ["boot"] * 5 + ["workload"] * 5
    order = list(dict.fromkeys(c.variant_digest for c in store.batch(batch.id).columns))
    assert [run.variant_digest for run in runs] == order * 2


def test_shards_are_small_and_hold_every_open_run_once(store):
    batch, messages = store.plan(("boot", "workload"))
    runs = store.runs(batch.id)
    sizes = [sum(run.shard_id == message.shard_id for run in runs) for message in messages]
    assert sum(sizes) == batch.run_count
    assert max(sizes) <= VARIANTS_PER_SHARD_MAX
    assert {message.attempt for message in messages} == {1}
    for message in messages:
        held = {run.trace_id for run in runs if run.shard_id == message.shard_id}
        assert len(held) == 1


def test_known_results_are_linked_and_only_the_rest_is_run(store):
    first, _ = store.plan()
    known = store.runs(first.id)[0].variant_digest
    know(store, "boot", known)
    second, messages = store.plan(patches=SEED_SERIES[:2])
    by_variant = {run.variant_digest: run for run in store.runs(second.id)}
    assert by_variant[known].state == "cached"
    assert (second.run_count, second.done_count, second.cached_count) == (2, 1, 1)
    assert len(messages) == 1
    assert store.shard(messages[0].shard_id).state == "queued"


def test_a_batch_with_nothing_left_to_run_is_done_at_once(store):
    first, messages = store.plan()
    for message in messages:
        store.record(store.claim(Fence(message.shard_id, 1)))
    assert store.batch(first.id).state == "done"
    again, messages = store.plan()
    assert again.id != first.id
    assert messages == ()
    assert (again.state, again.cached_count, again.run_count) == ("done", 5, 5)
    assert again.finished_at is not None
    assert [step.kind for step in store.steps(again.id)] == ["batch.planned"]


def test_a_result_of_another_simulator_is_not_used(store):
    first, messages = store.plan()
    for message in messages:
        store.record(store.claim(Fence(message.shard_id, 1)))
    assert len(store.results()) == 5
    with transaction(store.engine) as session:
        known = results.find_many(
            session,
            [digest_of("boot")],
            [run.variant_digest for run in store.runs(first.id)],
            [digest_of("another simulator")],
        )
    assert known == {}


def test_recompute_runs_everything_again(store):
    _, messages = store.plan()
    for message in messages:
        store.record(store.claim(Fence(message.shard_id, 1)))
    again, messages = store.plan(recompute=True)
    assert again.cached_count == 0
    assert sum(len(store.claim(Fence(m.shard_id, 1)).runs) for m in messages) == 5


def test_an_equal_batch_under_way_is_answered_instead(store):
    first, messages = store.plan()
    second, none = store.plan()
    assert second.id == first.id
    assert messages
    assert none == ()
    assert store.count(Batch) == 1
    assert store.count(Shard) == len(messages)


def test_a_cancelled_batch_is_not_answered_instead_of_a_new_one(store):
    first, _ = store.plan()
    with transaction(store.engine) as session:
        cancelling.cancel(session, first.id)
    second, _ = store.plan()
    assert second.id != first.id


@pytest.mark.parametrize(
    ("trace_names", "sets", "missing"), [((), 1, "trace"), (("boot",), 0, "patch set")]
)
def test_a_batch_with_nothing_to_run_is_refused_and_leaves_no_row(
    store, trace_names, sets, missing
):
    rows = [store.add_trace(name) for name in trace_names]
    chosen = [store.add_patch_set()] * sets
    with (
        pytest.raises(EmptyBatch, match=f"at least one {missing}"),
        transaction(store.engine) as session,
    ):
        planning.write(
            session,
            planning.expand(
                traces=rows, patch_sets=chosen, plan="each", simulators={"shadow": SIMULATOR}
            ),
        )
    assert store.count(Batch) == store.count(Run) == 0


def test_an_unknown_plan_is_refused(store):
    with pytest.raises(InvalidParameter, match="each, series"):
        store.plan(plan="all")
    assert store.count(Batch) == 0


def test_a_contradicting_patch_set_leaves_no_row(store):
    with (
        pytest.raises(ContradictingPatches, match="zap-account and zap-merged"),
        transaction(store.engine) as session,
    ):
        patch_sets.add(session, "both", PatchSet(patches=("zap-account", "zap-merged")))
    assert store.count(PatchSetRow) == store.count(Variant) == 0


def test_two_series_share_one_base_column(store):
    rows = [store.add_patch_set(), store.add_patch_set(SEED_SERIES[:2], "short")]
    with transaction(store.engine) as session:
        batch = planning.write(
            session,
            planning.expand(
                traces=[store.add_trace()],
                patch_sets=rows,
                plan="series",
                simulators={"shadow": SIMULATOR},
            ),
        ).batch
    labels = [column.label for column in store.batch(batch.id).columns]
    assert labels.count("base") == 1
    assert labels[-2:] == ["short 1", "short 1-2"]
    assert batch.run_count == 5


def test_a_trace_named_twice_is_run_once(store):
    trace = store.add_trace()
    with transaction(store.engine) as session:
        batch = planning.write(
            session,
            planning.expand(
                traces=[trace, trace],
                patch_sets=[store.add_patch_set()],
                plan="each",
                simulators={"shadow": SIMULATOR},
            ),
        ).batch
    assert batch.run_count == 1


def test_a_batch_is_found_by_id_and_by_code(store):
    batch, _ = store.plan()
    assert re.fullmatch(r"b-[0-9a-hjkmnp-tv-z]{4}", batch.code)
    assert store.batch(batch.code).id == store.batch(str(batch.id)).id == batch.id


def test_parameters_belong_to_the_variant(store):
    plain = store.add_patch_set(("zap-account",), "plain")
    limited = store.add_patch_set(
        ("zap-account",), "limited", parameters=Parameters(page_limit=Schedule(400, 64, 32768))
    )
    assert plain.variant_digest != limited.variant_digest
    with transaction(store.engine) as session:
        row = patch_sets.get(session, limited.id)
        variant = patch_sets.to_variant(row.variant)
    assert variant.parameters.page_limit == Schedule(400, 64, 32768)
    assert variant.digest == limited.variant_digest


@pytest.mark.parametrize(
    ("parts", "worker_count", "shard_counts"),
    [
        ([(1000, 9)], 1, [2]),
        # One trace keeps four workers busy, at the price of four decodes.
        ([(1000, 4)], 4, [4]),
        ([(1000, 2)], 8, [2]),
        # Eight traces keep them busy anyway.
        ([(1000, 4)] * 8, 4, [1] * 8),
        ([(1000, 0), (1000, 6), (1000, 0), (1000, 6)], 8, [0, 4, 0, 4]),
        # Three for two workers would leave one of them waiting for the third.
        ([(1000, 8)] * 3, 2, [2, 2, 2]),
        # Nobody waits for the one long trace.
        ([(10_000, 8), (1000, 8)], 2, [2, 1]),
        # Nobody lives: as few as the size of a shard allows.
        ([(1000, 17), (1000, 0), (1000, 1)], 0, [3, 0, 1]),
        ([(0, 3), (0, 9)], 2, [1, 2]),
        ([], 2, []),
    ],
)
def test_shards_are_few_but_no_worker_is_idle(parts, worker_count, shard_counts):
    assert shards_per_part(parts, worker_count) == shard_counts


@given(
    parts=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 40)), max_size=12),
    worker_count=st.integers(0, 50),
)
def test_every_open_run_has_a_shard_and_none_is_too_large(parts, worker_count):
    counts = shards_per_part(parts, worker_count)

    for (_, runs), count in zip(parts, counts, strict=True):
        assert bool(count) == bool(runs)
        assert -(-runs // VARIANTS_PER_SHARD_MAX) <= count <= runs


def test_the_largest_shards_are_taken_first(store):
    store.add_trace("short", event_count=10)
    store.add_trace("long", event_count=1000)
    store.plan(("short", "long"))

    assert [store.claim_next().trace_name for _ in range(2)] == ["long", "short"]


def test_a_batch_is_cut_for_the_workers_that_live(store):
    for name in ("w2", "w3", "w4", "w5"):
        store.add_worker(name)
    _, messages = store.plan()
    assert len(messages) == 5


def refusing(*names):
    """An engine that cannot replay the traces of those names under any variant."""

    def refused_variants(trace, variants):
        is_refused = trace.name in names
        return {variant.digest: "no such mode" for variant in variants if is_refused}

    return refused_variants


def test_what_an_engine_cannot_replay_has_failed_before_anything_is_queued(store):
    store.add_worker("w1")
    traces = ("boot", "pae", "pae too")
    batch, messages = store.plan(traces, refused_variants=refusing("pae", "pae too"))

    found = store.runs(batch.id)
    refused = [run for run in found if run.trace.name != "boot"]
    assert {(run.state, run.error, run.shard_id) for run in refused} == {
        ("failed", "no such mode", None)
    }
    assert all(run.finished_at and run.result_id is None for run in refused)
    assert {run.state for run in found if run.trace.name == "boot"} == {"queued"}
    assert (batch.state, batch.run_count, batch.failed_count) == ("queued", 15, 10)
    assert [entry["label"] for entry in batch.refused] == [
        "base",
        "1",
        "1-2",
        "1-3",
        "1-4",
        "1-5",
        "1-6",
    ]
    assert {entry["reason"] for entry in batch.refused} == {"pae, pae too: no such mode"}
    assert len(messages) == store.count(Shard) > 0

    while (claim := store.claim_next()) is not None:
        assert claim.trace_name == "boot"
        store.record(claim)
    over = store.batch(batch.id)
    assert (over.state, over.done_count, over.failed_count) == ("failed", 5, 10)
    # They would only fail again.
    with (
        transaction(store.engine) as session,
        pytest.raises(Conflict, match="no engine can replay what failed"),
    ):
        reopening.retry(session, batch.id, refused_variants=refusing("pae", "pae too"))
    for refused, count in ((("pae", "pae too"), 0), (("pae",), 5), ((), 10)):
        with transaction(store.engine) as session:
            assert reopening.retryable_count(session, over, refusing(*refused)) == count


def test_what_an_engine_can_replay_by_now_is_retried(store):
    store.add_worker("w1")
    batch, _ = store.plan(("boot", "pae", "old"), refused_variants=refusing("pae", "old"))
    while (claim := store.claim_next()) is not None:
        store.record(claim)
    with transaction(store.engine) as session:
        reopening.retry(session, batch.id, refused_variants=refusing("old"))
    while (claim := store.claim_next()) is not None:
        assert claim.trace_name == "pae"
        store.record(claim)
    over = store.batch(batch.id)
    assert (over.state, over.done_count, over.failed_count) == ("failed", 10, 5)


def test_where_all_else_is_known_a_batch_with_a_refused_cell_is_over_at_once(store):
    for column in store.batch(store.plan()[0].id).columns:
        know(store, "boot", column.variant_digest)
    batch, messages = store.plan(("boot", "pae"), refused_variants=refusing("pae"))
    assert (batch.state, batch.done_count, batch.failed_count) == ("failed", 5, 5)
    assert (messages, batch.finished_at is None) == ((), False)


def test_a_batch_of_which_an_engine_can_replay_nothing_is_refused_with_the_reason(store):
    with pytest.raises(EmptyBatch, match="no engine can replay it: no such mode"):
        store.plan(("pae",), refused_variants=refusing("pae"))
    assert store.count(Batch) == store.count(Run) == 0
