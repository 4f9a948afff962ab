import dataclasses
import os
import threading
import time

import pytest
import sqlalchemy as sa

from db.models import Result, Shard
from db.repositories import operations, patch_sets
from db.shards import cancelling, endings
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES
from refault.errors import ReplayCancelled, SimulatorCrashed
from refault.replay import session as simulator
from tests.builders import transaction
from tests.patience import eventually
from worker.shards import Ending, process_died, run, take_turn


def variants_of(room, batch):
    return [patch_sets.to_variant(run.variant) for run in room.runs(batch.id)]


def replaying(**hooks):
    """The real replay, with something happening before it or to what it answers."""

    def replay(trace, variants, *, is_cancelled, **options):
        if "before" in hooks:
            hooks["before"](variants, is_cancelled)
        found = simulator.replay(trace, variants, is_cancelled=is_cancelled, **options)
        return [hooks["after"](result) for result in found] if "after" in hooks else found

    return replay


def test_a_shard_is_computed_and_recorded_as_the_engine_alone_would(room, small_trace):
    batch, messages = room.plan()
    assert run(room.resources) == [Ending.RECORDED] * len(messages)
    expected = simulator.replay(small_trace, variants_of(room, batch))
    assert [row.result.body for row in room.runs(batch.id)] == [r.to_dict() for r in expected]
    assert [row.result.body_digest for row in room.runs(batch.id)] == [r.digest for r in expected]
    assert room.batch(batch.id).state == "done"


def test_a_message_delivered_twice_counts_once(room):
    batch, [message] = room.plan(patches=SEED_SERIES[:2])
    Fence(message.shard_id, 1)
    assert [run(room.resources), run(room.resources)] == [[Ending.RECORDED], []]
    assert room.batch(batch.id).done_count == 2
    assert room.count(Result) == 2


def test_a_message_delivered_twice_at_once_is_computed_once(room):
    batch, [message] = room.plan(patches=SEED_SERIES[:2])
    Fence(message.shard_id, 1)
    ended, computed = [], []
    slow = replaying(before=lambda *_: (computed.append(1), time.sleep(0.3)))
    threads = [
        threading.Thread(target=lambda: ended.extend(run(room.resources, replay=slow)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [Ending.RECORDED]
    assert computed == [1]
    assert room.batch(batch.id).done_count == 2


def test_a_long_computation_keeps_its_lease(room):
    _, [message] = room.plan(patches=SEED_SERIES[:2])
    ends = []

    def last_for_several_heartbeats(*_):
        def moved():
            end = room.shard(message.shard_id).lease_until
            if end not in ends:
                ends.append(end)
            return len(ends) > 3

        eventually(moved, "a later end of the lease")

    ending = run(
        room.resources,
        replay=replaying(before=last_for_several_heartbeats),
    )
    assert ending == [Ending.RECORDED]
    assert ends == sorted(ends)


def test_a_worker_whose_shard_was_taken_stops_and_writes_nothing(room):
    batch, [message] = room.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, 1)

    def lose_it(_, is_cancelled):
        with transaction(room.engine) as session:
            endings.give_back(session, fence, "taken")
        eventually(is_cancelled, "the loss")

    assert run(room.resources, replay=replaying(before=lose_it)) == [Ending.LOST]
    assert room.count(Result) == 0
    assert run(room.resources) == [Ending.RECORDED]
    assert room.batch(batch.id).done_count == 2


def test_a_result_that_comes_after_the_shard_was_taken_is_dropped(room):
    batch, [message] = room.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, 1)

    def wrong(result):
        with transaction(room.engine) as session:
            endings.give_back(session, fence, "taken")
        return dataclasses.replace(result, outcome_digest="0" * 64)

    assert run(room.resources, replay=replaying(after=wrong)) == [Ending.LOST]
    assert run(room.resources) == [Ending.RECORDED]
    assert all(row.integrity_alarm is None for row in room.results())
    assert "0" * 64 not in {row.body["outcome_digest"] for row in room.results()}
    assert room.batch(batch.id).done_count == 2


def test_a_cancelled_batch_stops_the_computation(room):
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])

    def cancel(_, is_cancelled):
        with transaction(room.engine) as session:
            cancelling.cancel(session, batch.id)
        eventually(is_cancelled, "the loss")
        raise ReplayCancelled

    ending = run(room.resources, replay=replaying(before=cancel))
    assert ending == [Ending.CANCELLED]
    assert room.batch(batch.id).state == "cancelled"
    assert {row.state for row in room.runs(batch.id)} == {"cancelled"}
    assert room.count(Result) == 0


def test_computing_again_gives_the_same_bytes_and_no_alarm(room):
    room.plan()
    run(room.resources)
    before = {row.variant_digest: row.body_digest for row in room.results()}
    batch, messages = room.plan(recompute=True)
    assert run(room.resources) == [Ending.RECORDED] * len(messages)
    assert {row.variant_digest: row.body_digest for row in room.results()} == before
    assert all(row.recomputed_at is not None for row in room.results())
    assert all(row.integrity_alarm is None for row in room.results())
    assert room.batch(batch.id).cached_count == 0


def test_computing_again_finds_a_result_that_was_changed(room):
    room.plan(patches=SEED_SERIES[:2])
    run(room.resources)
    with transaction(room.engine) as session:
        session.execute(
            sa.text(
                "UPDATE results SET body_digest = repeat('0', 64)"
                " WHERE id = (SELECT min(id::text)::uuid FROM results)"
            )
        )
    batch, [_message] = room.plan(patches=SEED_SERIES[:2], recompute=True)
    run(room.resources)
    alarms = [row.integrity_alarm for row in room.results() if row.integrity_alarm]
    assert [alarm["stored_digest"] for alarm in alarms] == ["0" * 64]
    raised = [
        step.body["integrity_alarm"] for step in room.steps(batch.id) if "run_id" in step.body
    ]
    assert sorted(raised) == [False, True]


def test_alarms_of_two_shards_of_one_trace_are_all_told(room):
    room.plan_two_shards()
    run(room.resources)
    with transaction(room.engine) as session:
        session.execute(sa.text("UPDATE results SET body_digest = repeat('0', 64)"))
    room.plan_two_shards(recompute=True)
    assert run(room.resources) == [Ending.RECORDED] * 2
    assert all(row.integrity_alarm for row in room.results())
    with transaction(room.engine) as session:
        assert operations.tallies(session)[operations.INTEGRITY_ALARMS] == 5


def test_a_trace_that_is_not_here_is_tried_elsewhere_and_then_fails(room, sent):
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    room.blobs.delete(room.digest)
    for _attempt in (1, 2, 3):
        ending = run(room.resources)
        assert ending == [Ending.GIVEN_BACK]
    assert [entry.attempt for entry in sent] == [2, 3]
    assert room.batch(batch.id).state == "failed"
    assert "upload the trace again" in room.runs(batch.id)[0].error


def test_a_trace_whose_bytes_changed_on_disk_fails_at_once(room):
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    path = room.blobs.path(room.digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    run(room.resources)
    assert room.batch(batch.id).state == "failed"
    assert {row.state for row in room.runs(batch.id)} == {"failed"}
    assert "byte" in room.runs(batch.id)[0].error
    assert room.count(Result) == 0


def test_a_crash_under_one_variant_leaves_the_others_their_results(room):
    batch, [message, *others] = room.plan()
    bad = next(
        row.variant_digest for row in room.runs(batch.id) if row.shard_id == message.shard_id
    )

    def break_on_it(variants, _):
        if bad in {variant.digest for variant in variants}:
            raise SimulatorCrashed("IndexError: row 7 of the rmap")

    ended = run(room.resources, replay=replaying(before=break_on_it))
    assert ended == [Ending.RECORDED] * (1 + len(others))
    rows = [row for row in room.runs(batch.id) if row.shard_id == message.shard_id]
    assert {row.state for row in rows if row.variant_digest != bad} == {"done"}
    [crashed] = [row for row in rows if row.variant_digest == bad]
    assert (crashed.state, crashed.result.outcome) == ("crashed", "crashed")
    assert "IndexError: row 7 of the rmap" in crashed.error


def test_a_result_that_breaks_a_conservation_law_reaches_no_chart(room):
    batch, [_message] = room.plan(patches=("zap-account",), plan="each")

    def break_law(result):
        return dataclasses.replace(result, counters=result.counters | {"n_alloc": -1})

    run(room.resources, replay=replaying(after=break_law))
    [row] = room.runs(batch.id)
    assert (row.state, row.result_id) == ("failed", None)
    assert "n_alloc" in row.error
    assert room.count(Result) == 0


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_what_time_may_heal_is_tried_three_times(room, sent, error):
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])

    def fail(*_):
        raise error("of the machine")

    for _attempt in (1, 2, 3):
        run(room.resources, replay=replaying(before=fail))
    assert [entry.attempt for entry in sent] == [2, 3]
    assert room.batch(batch.id).state == "failed"
    assert "3 attempts" in room.runs(batch.id)[0].error


def test_a_dead_process_gives_its_shard_back_with_its_last_words(room, sent):
    _, [message] = room.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, 1)
    held = {"worker": room.resources.name, "simulator": room.resources.simulators["shadow"]}
    assert room.claim_next(**held, worker_pid=4711).fence == fence
    # Another process of the same worker is alive, and so is its like elsewhere.
    process_died(room.resources, 4712, "signal 9")
    assert sent == []
    (room.resources.attempts / f"{fence.shard_id}-1.stderr").write_text("Fatal Python error: x\n")
    process_died(room.resources, 4711, "signal 11")
    assert [(entry.shard_id, entry.attempt) for entry in sent] == [(fence.shard_id, 2)]
    assert room.shard(fence.shard_id).error == "signal 11\nFatal Python error: x"
    assert room.shard(fence.shard_id).lost_count == 1


def test_a_shard_of_a_handful_that_fails_costs_the_others_nothing(room, sent):
    batch, messages = room.plan_two_shards()
    [first, second] = room.fences(messages)

    def fail_once(*_):
        if not failed:
            failed.append(True)
            raise OSError("of the machine")

    failed = []
    ended = run(room.resources, replay=replaying(before=fail_once))
    assert ended == [Ending.GIVEN_BACK, Ending.RECORDED]
    assert [(entry.shard_id, entry.attempt) for entry in sent] == [(first.shard_id, 2)]
    assert room.shard(second.shard_id).state == "done"
    assert run(room.resources) == [Ending.RECORDED]
    assert room.batch(batch.id).state == "done"


def test_a_shard_of_a_handful_that_was_taken_meanwhile_is_dropped_alone(room):
    _, messages = room.plan_two_shards()
    [first, second] = room.fences(messages)

    def lose_the_first(result):
        if not taken:
            taken.append(True)
            with transaction(room.engine) as session:
                endings.give_back(session, first, "taken")
        return result

    taken = []
    ended = run(room.resources, replay=replaying(after=lose_the_first))
    assert ended == [Ending.LOST, Ending.RECORDED]
    assert (room.shard(first.shard_id).state, room.shard(first.shard_id).attempt) == ("queued", 2)
    assert room.shard(second.shard_id).state == "done"
    with transaction(room.engine) as session:
        assert operations.tallies(session)[operations.RESULTS_DROPPED] == 1


def test_a_dead_process_gives_back_its_whole_handful_and_each_is_then_taken_alone(room, sent):
    _, messages = room.plan_two_shards()
    fences = room.fences(messages)

    def die(*_):
        process_died(room.resources, os.getpid(), "signal 9")

    assert run(room.resources, replay=replaying(before=die)) == [Ending.LOST] * 2
    assert {(entry.shard_id, entry.attempt) for entry in sent} == {(f.shard_id, 2) for f in fences}
    assert [run(room.resources), run(room.resources)] == [[Ending.RECORDED]] * 2
    assert room.count(Result) == 5


def take_each_alone(room):
    """As if every shard had been lost before."""
    with transaction(room.engine) as session:
        for row in session.scalars(sa.select(Shard)).unique():
            row.lost_count = 1
            row.attempt = 2


def test_a_turn_ends_when_nothing_waits_and_a_message_too_many_is_counted(room, monkeypatch):
    monkeypatch.setattr("worker.shards.TURN_SECONDS", 3600.0)
    batch, _ = room.plan_two_shards()
    take_each_alone(room)
    assert take_turn(room.resources) == [Ending.RECORDED] * 2
    assert take_turn(room.resources) == []
    assert room.batch(batch.id).state == "done"
    with transaction(room.engine) as session:
        assert operations.tallies(session)[operations.MESSAGES_DROPPED] == 1


def test_a_message_of_a_busy_queue_is_worth_one_turn(room, monkeypatch):
    monkeypatch.setattr("worker.shards.TURN_SECONDS", 0.0)
    room.plan_two_shards()
    take_each_alone(room)
    assert take_turn(room.resources) == [Ending.RECORDED]
    assert take_turn(room.resources) == [Ending.RECORDED]


def test_a_shard_that_came_to_nothing_ends_the_turn(room, sent):
    room.plan(patches=SEED_SERIES[:2])
    room.blobs.delete(room.digest)
    assert take_turn(room.resources) == [Ending.GIVEN_BACK]
    assert [entry.attempt for entry in sent] == [2]
