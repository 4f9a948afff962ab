import sqlalchemy as sa

from db.models import Result
from db.repositories import results, simulators
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES
from tests.builders import transaction
from worker.shards import Ending, run
from worker.sweep import sweep


def test_a_shard_whose_worker_fell_silent_is_handed_on(room, sent):
    batch, [message] = room.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, 1)
    room.claim(fence, worker="silent")
    assert sweep(room.resources, waiting_message_count=0) == []
    room.let_lease_run_out(fence)
    (room.resources.attempts / f"{fence.shard_id}-1.stderr").write_text("Segmentation fault\n")
    [again] = sweep(room.resources, waiting_message_count=1)
    assert sent == [again]
    assert "silent" in room.shard(fence.shard_id).error
    assert "Segmentation fault" in room.shard(fence.shard_id).error
    assert run(room.resources) == [Ending.RECORDED]
    assert run(room.resources) == []
    assert room.batch(batch.id).state == "done"
    assert list(room.resources.attempts.iterdir()) == []


def test_two_sweeps_hand_a_shard_on_once(room, sent):
    _, [message] = room.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, 1)
    room.claim(fence, worker="silent")
    room.let_lease_run_out(fence)
    sweep(room.resources, waiting_message_count=1)
    sweep(room.resources, waiting_message_count=1)
    assert len(sent) == 1
    assert room.shard(fence.shard_id).attempt == 2


def test_messages_of_an_emptied_broker_are_sent_again(room, sent):
    _, messages = room.plan()
    assert sweep(room.resources, waiting_message_count=0) == []
    room.let_messages_age(room.resources.settings.resend_seconds + 1)
    assert sorted(sweep(room.resources, waiting_message_count=0), key=str) == sorted(
        messages, key=str
    )
    # They have just been sent, so the next sweep waits.
    assert sweep(room.resources, waiting_message_count=0) == []
    assert len(sent) == len(messages)


def test_a_long_queue_does_not_grow_with_every_sweep(room, sent):
    _, messages = room.plan()
    room.let_messages_age(room.resources.settings.resend_seconds + 1)
    assert sweep(room.resources, waiting_message_count=len(messages)) == []
    assert sent == []


def test_what_a_stopped_worker_held_needs_no_patience(room, sent):
    _, [message] = room.plan(patches=SEED_SERIES[:2])
    fence = Fence(message.shard_id, 1)
    room.claim(fence, worker="w1", lease_seconds=3600)
    with transaction(room.engine) as session:
        simulators.ended(session, "w1", in_order=True)
    [again] = sweep(room.resources, waiting_message_count=1)
    assert again.attempt == 2
    assert room.shard(fence.shard_id).lost_count == 0


def test_a_result_whose_body_is_damaged_keeps_no_other_from_its_facts(room):
    room.plan(patches=SEED_SERIES[:3])
    run(room.resources)
    damaged, *others = sorted(row.id for row in room.results())
    with transaction(room.engine) as session:
        session.execute(sa.update(Result).values(facts=None))
        session.execute(sa.update(Result).where(Result.id == damaged).values(body={}))
        after = results.add_facts(session, limit=1)
        while after is not None:
            after = results.add_facts(session, after=after, limit=1)
    assert {row.id for row in room.results() if row.facts is not None} == set(others)
