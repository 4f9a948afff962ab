"""A shard is held to its time and its memory; what is over them fails, and is no result."""

import dataclasses
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from db.models import FIRST_PROJECT, Project, Result, Trace
from db.shards import cancelling, endings, leases, reopening
from refault.catalogue import SEED_SERIES
from refault.errors import ReplayCancelled
from refault.replay import session as simulator
from services.shared.limits import Limits, TraceTooCostly
from tests.builders import put_blob, transaction
from tests.engines import exhausting
from tests.patience import eventually
from worker.shards import Ending, run

MIB = 1 << 20


def limit(room, **limits):
    """The service gives this and no more."""
    changed = dataclasses.replace(room.resources.limits, **limits)
    object.__setattr__(room.resources, "limits", changed)


def bring(room, rows):
    """Let the room's one trace be this."""
    digest = put_blob(room.blobs, rows.bytes())
    with transaction(room.engine) as session:
        session.execute(sa.update(Trace).values(digest=digest))
    return digest


def limit_project(room, seconds):
    with transaction(room.engine) as session:
        session.get_one(Project, FIRST_PROJECT).shard_seconds = seconds


def wait_until_told_to_stop(_trace, _variants, *, is_cancelled, **_options):
    """A replay that goes on for ever, but looks whether it should."""
    eventually(is_cancelled, "that it should stop")
    raise ReplayCancelled


def test_a_run_that_needs_more_memory_than_it_may_take_fails_at_once_and_is_no_result(room, sent):
    bring(room, exhausting.written(100_000))
    limit(room, memory_bytes=64 * MIB)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    assert run(room.resources) == [Ending.RECORDED]
    assert room.batch(batch.id).state == "failed"
    assert {row.state for row in room.runs(batch.id)} == {"failed"}
    assert all("more than the 64 MiB of memory" in row.error for row in room.runs(batch.id))
    assert room.count(Result) == 0
    assert sent == []


def test_what_is_too_much_for_all_variants_together_is_replayed_alone(room):
    bring(room, exhausting.written(3_000))
    limit(room, memory_bytes=40 * MIB)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    assert run(room.resources) == [Ending.RECORDED]
    assert {row.state for row in room.runs(batch.id)} == {"done"}


def test_a_shard_that_takes_too_long_fails_at_once_and_is_no_result(room, sent):
    limit(room, seconds=1e-9)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    assert run(room.resources) == [Ending.FAILED]
    assert {row.state for row in room.runs(batch.id)} == {"failed"}
    assert all(
        "out of time after 1e-09 s, the limit of the service" in row.error
        for row in room.runs(batch.id)
    )
    assert room.count(Result) == 0
    assert sent == []


def test_a_project_sets_less_time_than_the_service_gives(room):
    limit_project(room, 1)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    assert run(room.resources, replay=wait_until_told_to_stop) == [Ending.FAILED]
    assert "1 s, the limit of the project (shard_seconds)" in room.runs(batch.id)[0].error


def test_a_project_cannot_take_more_time_than_the_service_gives(room):
    limit_project(room, 10_000)
    limit(room, seconds=1e-9)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    assert run(room.resources) == [Ending.FAILED]
    assert "the limit of the service" in room.runs(batch.id)[0].error


def test_a_shard_that_failed_for_time_can_be_run_again_with_more_of_it(room):
    limit(room, seconds=1e-9)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    run(room.resources)
    limit(room, seconds=3600.0)
    with transaction(room.engine) as session:
        reopening.retry(session, batch.id)
    assert run(room.resources) == [Ending.RECORDED]
    assert {row.state for row in room.runs(batch.id)} == {"done"}


def test_a_cancel_is_no_lack_of_time(room):
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])

    def cancel(*arguments, **options):
        with transaction(room.engine) as session:
            cancelling.cancel(session, batch.id)
        wait_until_told_to_stop(*arguments, **options)

    limit_project(room, 3600)
    assert run(room.resources, replay=cancel) == [Ending.CANCELLED]


def test_other_shards_of_a_handful_go_on_after_one_that_was_too_much(room, monkeypatch):
    """Each has its own time, which begins with it; what time it is, the test says."""
    _, messages = room.plan_two_shards()
    now = [0.0]
    monkeypatch.setattr("worker.deadline.time", SimpleNamespace(monotonic=lambda: now[0]))

    def too_long_once(*arguments, **options):
        if not now[0]:
            now[0] = 2.0
            wait_until_told_to_stop(*arguments, **options)
        return simulator.replay(*arguments, **options)

    limit_project(room, 1)
    assert run(room.resources, replay=too_long_once) == [Ending.FAILED, Ending.RECORDED]
    [_, second] = room.fences(messages)
    assert room.shard(second.shard_id).state == "done"


@pytest.fixture(scope="module")
def days_of_dirty_logs():
    """Less than 8 KiB, and one part of its rows alone takes longer than a test may."""
    rows = exhausting.dirty_logs(1 << 22, pages=16_000)
    assert len(rows.bytes()) < 8 << 10
    return rows


def test_a_trace_that_would_take_days_is_cancelled_in_the_midst_of_its_operations(
    room, days_of_dirty_logs
):
    bring(room, days_of_dirty_logs)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])

    def cancel_when_it_runs():
        eventually(lambda: room.batch(batch.id).state == "running", "the run")
        with transaction(room.engine) as session:
            cancelling.cancel(session, batch.id)

    canceller = threading.Thread(target=cancel_when_it_runs)
    canceller.start()
    assert run(room.resources) == [Ending.CANCELLED]
    canceller.join()
    assert room.batch(batch.id).state == "cancelled"
    assert room.count(Result) == 0


def test_a_trace_that_would_take_days_fails_when_its_time_is_over(room, days_of_dirty_logs, sent):
    bring(room, days_of_dirty_logs)
    limit_project(room, 1)
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    assert run(room.resources) == [Ending.FAILED]
    assert all("out of time after 1 s" in row.error for row in room.runs(batch.id))
    assert room.count(Result) == 0
    assert sent == []


def test_a_glance_finds_out_what_an_extension_would(room):
    batch, [_message] = room.plan(patches=SEED_SERIES[:2])
    held = {"worker": room.resources.name, "simulator": room.resources.simulators["shadow"]}
    fence = room.claim_next(**held, worker_pid=1).fence

    def seen():
        with transaction(room.engine) as session:
            return leases.glance(session, [fence])

    assert seen() is leases.Grip.HELD
    with transaction(room.engine) as session:
        cancelling.cancel(session, batch.id)
    assert seen() is leases.Grip.CANCELLED
    with transaction(room.engine) as session:
        endings.cancelled(session, fence)
    assert seen() is leases.Grip.LOST


ALLOCATE = """
import sys
import numpy as np
from services.shared.limits import Limits
from worker import memory

memory.limit(Limits.of(3600, int(sys.argv[1])))
held = np.zeros(int(sys.argv[2]) >> 3, np.int64)
print("had", held.nbytes)
try:
    more = np.zeros(4 << 27, np.int64)
except MemoryError:
    print("no more")
print(open("/proc/self/oom_score_adj").read().strip())
"""


def test_a_pool_process_gets_what_a_replay_may_take_and_no_more_from_the_kernel():
    limits = Limits.of(3600, 2 << 20)
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATE, str(2 << 20), str(limits.memory_bytes)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stdout.split("\n")[:3] == [f"had {limits.memory_bytes}", "no more", "500"], (
        done.stderr
    )


@pytest.mark.parametrize(
    ("kib", "mib"), [(4 << 20, 3072), (2 << 20, 1024), (1 << 20, 512), (64 << 10, 32)]
)
def test_of_a_process_a_replay_gets_what_the_rest_does_not_need(kib, mib):
    assert Limits.of(3600, kib).memory_bytes == mib * MIB


def test_limits_are_checked_by_what_no_machine_can_do():
    limits = Limits(seconds=10, memory_bytes=MIB)
    limits.check("it", work=10 * 100_000_000, memory_bytes=MIB)
    with pytest.raises(TraceTooCostly, match=r"11 s or more .* 10 s, the limit of the service"):
        limits.check("it", work=11 * 100_000_000, memory_bytes=0)
    with pytest.raises(
        TraceTooCostly, match="needs 2 MiB or more for a replay, and a worker gives it 1 MiB"
    ):
        limits.check("it", work=0, memory_bytes=MIB + 1)
