"""What a lost worker had done is not done again; what cannot be used is not used."""

import dataclasses
import errno
import os
import time

import pytest
import sqlalchemy as sa

from db.blobs import snapshots as snapshot_store
from db.models import Result, Shard
from db.repositories import patch_sets
from db.shards import cancelling, endings
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES
from refault.profile import gathering as simulator
from tests.builders import transaction
from tests.patience import eventually
from worker import sweep as sweeping
from worker.shards import Ending, run
from worker.sweep import sweep

PATCHES = SEED_SERIES[:2]


class Killed(BaseException):
    """What no worker catches: the process is gone."""


@pytest.fixture
def eager(room):
    """The room of a worker that puts its state aside whenever it may."""
    settings = room.resources.settings.model_copy(update={"snapshot_seconds": 1e-6})
    room.resources = dataclasses.replace(room.resources, settings=settings)
    return room


def files(room):
    return sorted(path for path in room.resources.snapshots.folder.glob("*.*"))


def snapshot_of(room, shard_id):
    shard = room.shard(shard_id)
    return shard.snapshot_digest, shard.snapshot_events


def lose(room, fence):
    """An attempt that dies right after its first snapshot; the next attempt's fence."""

    def replay(trace, variants, *, on_snapshot, **options):
        def die(offer):
            on_snapshot(offer)
            raise Killed

        return simulator.replay(trace, variants, on_snapshot=die, **options)

    with pytest.raises(Killed):
        run(room.resources, replay=replay)
    with transaction(room.engine) as session:
        again = endings.give_back(session, fence, "the worker died")
    return Fence(again.shard_id, again.attempt)


def noting(asked):
    """The real replay; ``asked`` gains what each was asked to go on from."""

    def replay(trace, variants, **options):
        asked.append(options.get("resume_from"))
        return simulator.replay(trace, variants, **options)

    return replay


def expected_digests(room, batch, trace):
    variants = [patch_sets.to_variant(row.variant) for row in room.runs(batch.id)]
    return [each.result.digest for each in simulator.replay(trace, variants)]


def results_of(room, batch):
    return [row.result.body_digest for row in room.runs(batch.id)]


def refusals(room, batch):
    return [s.body["error"] for s in room.steps(batch.id) if s.kind == "shard.snapshot_refused"]


def test_the_next_attempt_goes_on_where_the_last_one_died(eager, small_trace):
    batch, [message] = eager.plan(patches=PATCHES)
    again = lose(eager, Fence(message.shard_id, 1))
    digest, events = snapshot_of(eager, again.shard_id)
    assert events > 0
    [path] = files(eager)
    assert path == eager.resources.snapshots.path(again.shard_id, digest)
    asked = []
    assert run(eager.resources, replay=noting(asked)) == [Ending.RECORDED]
    assert asked == [path]
    assert results_of(eager, batch) == expected_digests(eager, batch, small_trace)
    assert refusals(eager, batch) == []
    claims = [s.body["snapshot_events"] for s in eager.steps(batch.id) if s.kind == "shard.claimed"]
    assert claims == [None, events]
    assert files(eager) == []


def test_a_short_run_leaves_no_snapshot(room):
    _, [message] = room.plan(patches=PATCHES)
    assert run(room.resources) == [Ending.RECORDED]
    assert snapshot_of(room, message.shard_id) == (None, None)
    assert not room.resources.snapshots.folder.exists()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def other_seal(path):
    path.write_bytes(path.read_bytes()[:-32] + bytes(32))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (flip, "damaged"),
        (other_seal, "not the one registered"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b""), "not the one registered"),
        (lambda path: os.truncate(path, 100), "not the one registered"),
    ],
)
def test_a_harmed_snapshot_means_the_beginning_and_the_batch_says_why(
    eager, small_trace, harm, why
):
    batch, [message] = eager.plan(patches=PATCHES)
    lose(eager, Fence(message.shard_id, 1))
    harm(files(eager)[0])
    asked = []
    assert run(eager.resources, replay=noting(asked)) == [Ending.RECORDED]
    assert asked[-1] is None
    [reason] = refusals(eager, batch)
    assert why in reason
    assert results_of(eager, batch) == expected_digests(eager, batch, small_trace)
    assert eager.batch(batch.id).done_count == len(PATCHES)
    assert files(eager) == []


def test_another_version_of_the_engine_does_not_go_on_with_it(eager, small_trace, monkeypatch):
    batch, [message] = eager.plan(patches=PATCHES)
    monkeypatch.setattr("refault.engines.base.engine_digest", lambda *_: "0" * 64)
    lose(eager, Fence(message.shard_id, 1))
    monkeypatch.undo()
    assert run(eager.resources) == [Ending.RECORDED]
    assert "another version of the engine" in refusals(eager, batch)[0]
    assert results_of(eager, batch) == expected_digests(eager, batch, small_trace)


def test_a_full_disk_costs_the_snapshot_and_nothing_else(eager, small_trace, monkeypatch, caplog):
    batch, _ = eager.plan(patches=PATCHES)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("refault.replay.snapshot.Snapshot.write", full)
    assert run(eager.resources) == [Ending.RECORDED]
    assert "No space left on device" in caplog.text
    assert results_of(eager, batch) == expected_digests(eager, batch, small_trace)
    assert [p for p in eager.resources.snapshots.folder.rglob("*") if p.is_file()] == []


def test_a_cancel_is_heard_while_a_snapshot_is_written(eager, monkeypatch, caplog):
    batch, _ = eager.plan(patches=PATCHES)

    def without_end(_, file):
        with transaction(eager.engine) as session:
            cancelling.cancel(session, batch.id)
        eventually(lambda: not file.write(b"more of it"), "the end of the snapshot")

    monkeypatch.setattr("refault.replay.snapshot.Snapshot.write", without_end)
    run(eager.resources)
    assert "cancelled while a snapshot was written" in caplog.text
    assert [p for p in eager.resources.snapshots.folder.rglob("*") if p.is_file()] == []


def test_a_worker_that_lost_its_shard_registers_nothing(eager):
    _, [message] = eager.plan(patches=PATCHES)
    fence = Fence(message.shard_id, 1)

    def replay(trace, variants, *, on_snapshot, **options):
        def late(offer):
            if eager.shard(fence.shard_id).attempt == 1:
                with transaction(eager.engine) as session:
                    endings.give_back(session, fence, "taken")
            on_snapshot(offer)

        return simulator.replay(trace, variants, on_snapshot=late, **options)

    assert run(eager.resources, replay=replay) == [Ending.LOST]
    assert snapshot_of(eager, fence.shard_id) == (None, None)
    assert files(eager) == []
    assert eager.count(Result) == 0


def test_the_sweep_removes_what_nobody_will_go_on_from(eager, monkeypatch):
    batch, [message] = eager.plan(patches=PATCHES)
    again = lose(eager, Fence(message.shard_id, 1))
    [wanted] = files(eager)
    stray = eager.resources.snapshots.path(again.shard_id, "a" * 64)
    stray.write_bytes(b"x")
    left = eager.resources.snapshots.folder / snapshot_store.INCOMING / "left"
    left.write_bytes(b"x")
    sweep(eager.resources, waiting_message_count=9)
    assert files(eager) == sorted([wanted, stray])  # too young to judge
    monkeypatch.setattr(sweeping, "YOUNG_SECONDS", -1)
    monkeypatch.setattr(snapshot_store, "ABANDONED_AFTER_SECONDS", -1)
    sweep(eager.resources, waiting_message_count=9)
    assert files(eager) == [wanted]
    assert not left.exists()
    with transaction(eager.engine) as session:
        session.execute(sa.update(Shard).values(state="cancelled"))
    sweep(eager.resources, waiting_message_count=9)
    assert files(eager) == []
    assert batch.id


def test_writing_takes_a_small_part_of_the_time(eager, monkeypatch):
    """A state that takes long to write is written rarely, however often it is asked for."""
    eager.plan(patches=PATCHES)
    written = []

    def slow(self, file):
        written.append(self.events)
        time.sleep(0.2)
        file.write(b"x")
        return "a" * 64

    monkeypatch.setattr("refault.replay.snapshot.Snapshot.write", slow)

    def replay(trace, variants, *, on_snapshot, **options):
        def often(offer):
            for _ in range(50):
                on_snapshot(offer)

        return simulator.replay(trace, variants, on_snapshot=often, **options)

    assert run(eager.resources, replay=replay) == [Ending.RECORDED]
    assert len(written) == 1
