"""Whose turn it is: priorities, fairness between projects, and one shard for one worker."""

import threading

import pytest
import sqlalchemy as sa

from db.identifiers import uuid7
from db.models import FIRST_PROJECT, Project, Shard, Trace
from db.repositories import batch_events, batches, patch_sets
from db.session import transaction as in_project
from db.shards import cancelling, claiming, endings, planning
from refault.catalogue import PatchSet
from tests.builders import digest_of, transaction
from tests.fixtures.database import SIMULATOR

OTHER = uuid7()


@pytest.fixture
def projects(store):
    with transaction(store.engine) as session:
        session.add(Project(id=OTHER, name="other"))
    return store


def planned(store, shard_count, *, project=FIRST_PROJECT, priority=5):
    """A batch of so many shards, of one run each: its code."""
    lead = str(uuid7())
    rows = [
        {
            "id": uuid7(),
            "project_id": project,
            "digest": digest_of(f"{lead} {number}"),
            "name": f"{number}",
            "content": "capture",
            "guest_mode": "long",
            "vcpu_count": 1,
            "size_bytes": 1000,
            "event_count": 10,
            "instruction_count": 10,
            "truncated": False,
            "events_by_kind": {},
            "header": {},
        }
        for number in range(shard_count)
    ]
    with in_project(store.engine, project) as session:
        session.execute(sa.insert(Trace), rows)
        wanted = [row["id"] for row in rows]
        found = session.scalars(sa.select(Trace).where(Trace.id.in_(wanted)).order_by(Trace.id))
        chosen, _ = patch_sets.add(session, "bare", PatchSet())
        return planning.write(
            session,
            planning.expand(
                traces=found.all(),
                patch_sets=[chosen],
                plan="each",
                simulators={"shadow": SIMULATOR},
                priority=priority,
            ),
        ).batch.code


def test_a_small_batch_is_not_starved_behind_a_thousand_shards_of_another_project(projects):
    planned(projects, 1000)
    small = planned(projects, 3, project=OTHER)
    order = []
    # One worker alone: it never sees anything running, and takes turns all the same.
    for _ in range(6):
        claim = projects.claim_next()
        order.append(claim.origin.batch_code == small)
        assert projects.record(claim)
    assert order.count(True) == 3
    with in_project(projects.engine) as session:
        assert batches.get(session, small).state == "done"


def test_workers_go_where_least_is_running(projects):
    large, small = planned(projects, 8), planned(projects, 4, project=OTHER)
    codes = [projects.claim_next(worker=f"w{number}").origin.batch_code for number in range(8)]
    assert codes.count(large) == codes.count(small) == 4
    # With the other project served, the rest is the first one's.
    assert projects.claim_next().origin.batch_code == large


def test_a_higher_priority_goes_first_whoever_it_is(projects):
    planned(projects, 2, project=OTHER)
    urgent = planned(projects, 3, priority=9)
    planned(projects, 2, project=OTHER, priority=4)
    assert [projects.claim_next().origin.batch_code for _ in range(3)] == [urgent] * 3


def test_within_a_project_the_oldest_batch_goes_first_and_its_oldest_shard(store):
    first, second = planned(store, 2), planned(store, 2)
    claims = [store.claim_next() for _ in range(4)]
    assert [claim.origin.batch_code for claim in claims] == [first, first, second, second]
    assert [claim.trace_name for claim in claims] == ["0", "1", "0", "1"]
    assert store.claim_next() is None


def test_many_workers_at_once_never_take_the_same_shard(projects):
    planned(projects, 12)
    planned(projects, 12, project=OTHER)
    barrier = threading.Barrier(6)
    taken = []

    def work(number):
        barrier.wait()
        while (claim := projects.claim_next(worker=f"w{number}")) is not None:
            taken.append(claim.fence.shard_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 24
    with in_project(projects.engine) as session:
        states = session.scalars(sa.select(Shard.state)).all()
    assert set(states) == {"running"}


def test_a_claim_that_waited_for_the_last_shard_of_a_batch_takes_one_of_the_next(projects):
    """The second claim chose the same batch, waits for it, and finds it empty."""
    first, second = planned(projects, 1, priority=9), planned(projects, 1)
    claims = []
    with transaction(projects.engine) as session:
        batch = batches.lock(session, projects.batch(first).id)
        late = threading.Thread(target=lambda: claims.append(projects.claim_next(worker="late")))
        late.start()
        late.join(0.5)
        assert late.is_alive()
        shard = session.scalars(sa.select(Shard).where(Shard.batch_id == batch.id)).one()
        endings.cancel_shard(session, batch, shard)
        batches.settle(session, batch)
    late.join()
    assert [claim.origin.batch_code for claim in claims] == [second]


def handful(store, **given):
    """What a worker gets in one go: the names of the traces."""
    with transaction(store.engine) as session:
        claims = claiming.claim_handful(
            session,
            worker="w1",
            worker_pid=1,
            simulators=[SIMULATOR],
            lease_seconds=60,
            **given,
        )
    return [claim.trace_name for claim in claims]


def test_small_shards_of_one_batch_are_taken_together(store):
    planned(store, 18)
    planned(store, 2)
    assert handful(store) == [str(number) for number in range(claiming.HANDFUL_SHARDS)]
    assert handful(store) == ["16", "17"]
    assert handful(store, shards_max=1) == ["0"]
    assert handful(store) == ["1"]
    assert handful(store) == []


def test_a_handful_ends_before_what_would_make_it_large(store):
    planned(store, 5)
    sizes = [claiming.HANDFUL_EVENTS * 8, claiming.HANDFUL_EVENTS, 1, claiming.HANDFUL_EVENTS, 7]
    with transaction(store.engine) as session:
        for shard, size in zip(
            session.scalars(sa.select(Shard).order_by(Shard.id)).unique(), sizes, strict=True
        ):
            shard.events_total = size
    assert handful(store) == ["0"]
    assert handful(store) == ["1"]
    assert handful(store) == ["2"]
    assert handful(store) == ["3"]
    assert handful(store) == ["4"]


def test_what_was_lost_before_is_taken_alone(store):
    planned(store, 4)
    with transaction(store.engine) as session:
        second = session.scalars(sa.select(Shard).order_by(Shard.id).offset(1).limit(1)).one()
        second.lost_count, second.attempt = 1, 2
    assert handful(store) == ["0"]
    assert handful(store) == ["1"]
    assert handful(store) == ["2", "3"]


def test_the_steps_of_a_handful_stand_in_their_order(store):
    code = planned(store, 16)
    handful(store)
    with transaction(store.engine) as session:
        batch = batches.get(session, code)
        shards = session.scalars(sa.select(Shard.id).order_by(Shard.id)).all()
        steps = batch_events.after(session, batch.id)
    assert [step.kind for step in steps] == ["batch.planned"] + ["shard.claimed"] * 16
    assert [step.body["shard_id"] for step in steps[1:]] == [str(row_id) for row_id in shards]


def test_a_cancelled_batch_gives_nothing_to_anybody(store):
    code = planned(store, 2)
    store.claim_next()
    with transaction(store.engine) as session:
        cancelling.cancel(session, batches.get(session, code).id)
    assert store.claim_next() is None
