"""Snapshots where the blobs are in a bucket: another host, with a folder of its own, goes on."""

import dataclasses
import os
import time

import pytest

from db.blobs import open_snapshots, open_store
from db.blobs.objects import Objects
from db.shards import cancelling, endings
from db.shards.fences import Fence
from refault.errors import ReplayCancelled, Unavailable
from tests.builders import put_blob, transaction
from tests.worker.test_snapshots import (
    PATCHES,
    expected_digests,
    lose,
    noting,
    refusals,
    results_of,
    snapshot_of,
)
from worker import sweep as sweeping
from worker.shards import Ending, run
from worker.sweep import sweep


@pytest.fixture
def location(bucket):
    """Set up by the fixture of the bucket: its server, and a prefix of our own."""
    return bucket.name


@pytest.fixture
def host(room, location, small_trace, tmp_path):
    """Makes a host of the room: the same bucket and rows, a staging folder of its own."""
    put_blob(open_store(location, staging=tmp_path / "uploader"), small_trace.read_bytes())

    def make(name):
        settings = room.resources.settings.model_copy(
            update={"blobs": location, "snapshot_seconds": 1e-6}
        )
        staging = tmp_path / name
        room.resources = dataclasses.replace(
            room.resources,
            settings=settings,
            blobs=open_store(location, staging=staging),
            snapshots=open_snapshots(location, None, staging=staging),
        )
        return room

    return make


def objects(host):
    """What is in the bucket, without the copies of a host."""
    found = Objects.open(host.resources.settings.blobs).list("snapshots")
    return sorted(key.rpartition("/")[2] for key, _ in found)


def put_object(host, name, data, folder):
    """An object that no worker has written."""
    file = folder / "object"
    file.write_bytes(data)
    Objects.open(host.resources.settings.blobs).send(file, f"snapshots/{name}")


def local_files(host):
    return [path for path in host.resources.snapshots.folder.rglob("*") if path.is_file()]


def test_another_host_goes_on_from_the_snapshot_of_a_lost_one(host, small_trace):
    first = host("first")
    batch, [message] = first.plan(patches=PATCHES)
    again = lose(first, Fence(message.shard_id, 1))
    seal, events = snapshot_of(first, again.shard_id)
    assert events > 0
    assert objects(first) == [f"{again.shard_id}.{seal}"]
    assert local_files(first) == []

    second = host("second")
    asked = []
    assert run(second.resources, replay=noting(asked)) == [Ending.RECORDED]

    assert asked == [second.resources.snapshots.path(again.shard_id, seal)]
    assert "second" in asked[0].parts
    assert results_of(second, batch) == expected_digests(second, batch, small_trace)
    assert refusals(second, batch) == []
    assert objects(second) == []
    assert local_files(second) == []


def test_what_is_missing_in_the_bucket_means_the_beginning(host, small_trace):
    first = host("first")
    batch, [message] = first.plan(patches=PATCHES)
    again = lose(first, Fence(message.shard_id, 1))
    first.resources.snapshots.remove(again.shard_id, snapshot_of(first, again.shard_id)[0])
    assert objects(first) == []

    assert run(host("second").resources) == [Ending.RECORDED]

    assert "No such file" in refusals(first, batch)[0]
    assert results_of(first, batch) == expected_digests(first, batch, small_trace)


def test_a_damaged_object_means_the_beginning(host, small_trace, tmp_path):
    first = host("first")
    batch, [message] = first.plan(patches=PATCHES)
    lose(first, Fence(message.shard_id, 1))
    [name] = objects(first)
    put_object(first, name, os.urandom(1000), tmp_path)

    assert run(host("second").resources) == [Ending.RECORDED]

    assert "not the one registered" in refusals(first, batch)[0]
    assert results_of(first, batch) == expected_digests(first, batch, small_trace)


def test_a_bucket_that_refuses_costs_the_snapshot_and_nothing_else(
    host, small_trace, monkeypatch, caplog
):
    first = host("first")
    batch, _ = first.plan(patches=PATCHES)

    def refuse(*_):
        raise Unavailable("the store refuses")

    monkeypatch.setattr(Objects, "send", refuse)
    assert run(first.resources) == [Ending.RECORDED]

    assert "no snapshot of shard" in caplog.text
    assert results_of(first, batch) == expected_digests(first, batch, small_trace)
    assert local_files(first) == []


def test_a_snapshot_nobody_can_fetch_now_means_the_beginning(host, small_trace, monkeypatch):
    first = host("first")
    batch, [message] = first.plan(patches=PATCHES)
    lose(first, Fence(message.shard_id, 1))
    second = host("second")

    def fetch(*_):
        raise Unavailable("the store cannot be reached")

    monkeypatch.setattr(second.resources.snapshots, "fetch", fetch)
    assert run(second.resources) == [Ending.RECORDED]

    assert refusals(second, batch) == ["the store cannot be reached"]
    assert results_of(second, batch) == expected_digests(second, batch, small_trace)


def test_the_sweep_looks_into_the_bucket_and_survives_its_loss(host, monkeypatch, caplog, tmp_path):
    first = host("first")
    _, [message] = first.plan(patches=PATCHES)
    again = lose(first, Fence(message.shard_id, 1))
    [wanted] = objects(first)
    put_object(first, f"{again.shard_id}.{'a' * 64}", b"x", tmp_path)
    second = host("second")
    copy = second.resources.snapshots.path(again.shard_id, "b" * 64)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"x")
    os.utime(copy, (time.time() - 100,) * 2)
    monkeypatch.setattr(sweeping, "YOUNG_SECONDS", -5)

    sweep(second.resources, waiting_message_count=9)

    assert objects(second) == [wanted]
    assert local_files(second) == []

    def unreachable():
        raise Unavailable("the store cannot be reached")

    monkeypatch.setattr(second.resources.snapshots, "kept", unreachable)
    sweep(second.resources, waiting_message_count=9)
    assert "no look at the snapshots" in caplog.text


def test_copies_of_a_killed_worker_go_when_the_next_one_starts_on_its_host(host):
    first = host("first")
    _, [message] = first.plan(patches=PATCHES)
    again = lose(first, Fence(message.shard_id, 1))
    second = host("second").resources.snapshots
    copy = second.fetch(again.shard_id, snapshot_of(first, again.shard_id)[0])
    second.sweep_incoming()
    assert copy.exists()
    os.utime(copy, (0, 0))

    second.sweep_incoming()

    assert not copy.exists()
    assert len(objects(first)) == 1


def test_a_cancelled_shard_leaves_nothing_aside(host):
    first = host("first")
    batch, [message] = first.plan(patches=PATCHES)
    lose(first, Fence(message.shard_id, 1))
    assert len(objects(first)) == 1
    asked = []

    def replay(_trace, _variants, **options):
        asked.append(options["resume_from"])
        with transaction(first.engine) as session:
            cancelling.cancel(session, batch.id)
        while not options["is_cancelled"]():
            time.sleep(0.01)
        raise ReplayCancelled

    assert run(first.resources, replay=replay) == [Ending.CANCELLED]

    assert asked[0] is not None
    assert snapshot_of(first, message.shard_id) == (None, None)
    assert objects(first) == []
    assert local_files(first) == []


def test_a_shard_that_is_handed_on_again_keeps_its_snapshot(host):
    first = host("first")
    _, [message] = first.plan(patches=PATCHES)
    again = lose(first, Fence(message.shard_id, 1))
    before = objects(first)
    first.claim(again)
    with transaction(first.engine) as session:
        endings.give_back(session, again, "the second one died, too")

    assert objects(first) == before
    assert snapshot_of(first, again.shard_id)[0] in before[0]


def test_what_a_trace_left_in_the_bucket_is_erased_with_its_copies(host):
    first = host("first")
    _, [message] = first.plan(patches=PATCHES)
    again = lose(first, Fence(message.shard_id, 1))
    first.resources.snapshots.fetch(again.shard_id, snapshot_of(first, again.shard_id)[0])
    assert len(local_files(first)) == 1

    assert first.resources.snapshots.erase(frozenset({again.shard_id})) == 1

    assert objects(first) == []
    assert local_files(first) == []
