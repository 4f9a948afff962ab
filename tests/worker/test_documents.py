"""What a worker gathers beside results is recorded with them, and once."""

import sqlalchemy as sa

from db.models import Document
from db.repositories import documents
from db.shards import endings
from db.shards.fences import Fence
from refault.attribution import Attribution
from refault.catalogue import SEED_SERIES
from refault.profile import gathering
from refault.timeline import Timeline
from tests.builders import transaction
from tests.worker.test_shards import variants_of
from tests.worker.test_snapshots import eager, lose, noting
from worker.shards import Ending, run

__all__ = ["eager"]  # a fixture


def test_every_run_has_its_documents_in_the_transaction_of_its_result(room, small_trace):
    batch, _ = room.plan()
    assert set(run(room.resources)) == {Ending.RECORDED}
    variants = variants_of(room, batch)
    expected = gathering.replay(small_trace, variants)
    with transaction(room.engine) as session:
        for each in expected:
            timeline = documents.body_of(session, each.timeline.key.digest)
            attribution = documents.body_of(session, each.attribution.key.digest)
            assert Timeline.from_bytes(timeline) == each.timeline
            assert Attribution.from_bytes(attribution) == each.attribution
        count = session.scalar(sa.select(sa.func.count()).select_from(Document))
        project = session.scalar(sa.select(Document.project_id).limit(1))
    assert count == 2 * len(variants)
    assert project == batch.project_id


def test_a_run_that_another_attempt_finishes_has_the_same_documents(eager, small_trace):
    batch, [message] = eager.plan(patches=SEED_SERIES[:2])
    lose(eager, Fence(message.shard_id, 1))
    asked = []
    assert run(eager.resources, replay=noting(asked)) == [Ending.RECORDED]
    assert asked != [None]
    with transaction(eager.engine) as session:
        for each in gathering.replay(small_trace, variants_of(eager, batch)):
            for document in (each.timeline, each.attribution):
                assert documents.body_of(session, document.key.digest) == document.to_bytes()


def test_nothing_is_recorded_where_the_fence_was_lost(room):
    _, [message] = room.plan(patches=SEED_SERIES[:1])

    def replay(trace, variants, **options):
        found = gathering.replay(trace, variants, **options)
        with transaction(room.engine) as session:
            endings.give_back(session, Fence(message.shard_id, 1), "taken")
        return found

    assert run(room.resources, replay=replay) == [Ending.LOST]
    with transaction(room.engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Document)) == 0
