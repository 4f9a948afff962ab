"""The whole service as processes, and what happens when parts of it die.

Each test replays a captured guest under page limits of its own, so that none
finds the results of another.
"""

import itertools
import os
import signal
import time
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from db.messages import ShardMessage
from db.models import Batch, BatchEvent, Result, Run, Shard, Worker
from refault.catalogue import Parameters, PatchSet, resolve
from refault.client import Client
from refault.mmu import engine as simulator
from refault.mmu.jit import cache_folder
from services.local.stack import Stack
from tests.builders import transaction
from tests.fixtures.stack import QUICK
from worker.app import app
from worker.lifecycle import publish

# One shard of four variants: seconds of work, most of it in the kernel loop.
PATCHES = (
    (),
    ("zap-account",),
    ("zap-account", "parent-stop-bit"),
    ("zap-account", "unsync-list-global"),
)
RUN_COUNT = len(PATCHES)
PATIENCE_SECONDS = 120
# So few shadow pages that the kernel is busy recycling them.
limits = itertools.count(80)


class Watched:
    """A batch of one trace under two variants nobody has run before."""

    def __init__(self, stack, client, trace):
        self.stack = stack
        self.client = client
        self.trace = trace
        self.parameters = Parameters(page_limit=next(limits))
        self.digest = client.upload_trace(trace).trace["digest"]
        self.sets = [
            client.create_patch_set(
                f"limit {self.parameters.page_limit} {'+'.join(patches)}",
                base="v2.6.34-pre",
                patches=list(patches),
                parameters=self.parameters.to_dict(),
            )["id"]
            for patches in PATCHES
        ]
        self.code = ""

    @property
    def variants(self):
        return [resolve(PatchSet(patches=p, parameters=self.parameters)) for p in PATCHES]

    def submit(self, **options):
        self.code = self.client.submit_batch([self.digest], self.sets, **options)["code"]
        return self

    def wait(self, is_so, what, *, look_after=True):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := is_so()):
            assert time.monotonic() < deadline, f"{what} never came; logs: {self.stack.folder.root}"
            if look_after:
                self.stack.watch()
            time.sleep(0.02)
        return found

    def rows(self, model):
        batch = sa.select(Batch.id).where(Batch.code == self.code).scalar_subquery()
        with transaction(self.stack.engine) as session:
            query = sa.select(model).where(model.batch_id == batch).order_by(model.id)
            return session.scalars(query).unique().all()

    def shard(self):
        [shard] = self.rows(Shard)
        return shard

    def wait_until_in_the_kernel_loop(self, *, attempt=1, look_after=True):
        """Some events are done and some are not: the process is between them. Its worker's row."""

        def running():
            shard = self.shard()
            assert shard.state in ("queued", "running"), "it was over before anybody looked"
            is_inside = 0 < shard.events_done < shard.events_total
            return shard if shard.attempt >= attempt and is_inside else None

        shard = self.wait(running, f"attempt {attempt} in the loop", look_after=look_after)
        with transaction(self.stack.engine) as session:
            return session.get(Worker, shard.worker)

    def wait_until_over(self, *, look_after=True):
        def over():
            document = self.client.get_batch(self.code)
            return document if document["finished_at"] else None

        return self.wait(over, "the end of the batch", look_after=look_after)

    def expect_exactly_one_result_each(self):
        """Nothing lost, nothing counted twice, the bytes of an undisturbed replay."""
        undisturbed = {
            result.variant_digest: result.digest
            for result in simulator.replay(self.trace, self.variants)
        }
        with transaction(self.stack.engine) as session:
            query = sa.select(Result).where(Result.variant_digest.in_(list(undisturbed)))
            found = session.scalars(query).all()
        assert {row.variant_digest: row.body_digest for row in found} == undisturbed
        assert len(found) == len(undisturbed)
        assert all(row.integrity_alarm is None for row in found)
        steps = [step.kind for step in self.rows(BatchEvent)]
        assert steps.count("run.done") == len(undisturbed)
        assert steps.count("batch.done") == 1
        assert {run.state for run in self.rows(Run)} == {"done"}


@pytest.fixture
def watched(stack, client, capture):
    return Watched(stack, client, capture)


def pool_process_of(pid):
    """The process of a worker that computes."""
    with Path(f"/proc/{pid}/task/{pid}/children").open() as stream:
        [child] = [int(word) for word in stream.read().split()]
    return child


def test_undisturbed_a_batch_ends_with_the_results_of_the_engine(watched):
    document = watched.submit().wait_until_over()
    assert (document["state"], document["progress"]["done"]) == ("done", RUN_COUNT)
    assert watched.shard().attempt == 1
    watched.expect_exactly_one_result_each()


def test_the_same_batch_again_simulates_nothing(watched):
    first = watched.submit().wait_until_over()
    again = watched.submit().wait_until_over()
    assert again["code"] != first["code"]
    assert again["progress"]["cached"] == again["progress"]["total"] == RUN_COUNT
    assert watched.rows(Shard) == []


def test_kill_9_of_the_computing_process_delays_the_batch_and_nothing_else(watched):
    worker = watched.submit().wait_until_in_the_kernel_loop()
    os.kill(pool_process_of(worker.pid), signal.SIGKILL)
    document = watched.wait_until_over()
    assert document["state"] == "done"
    assert (watched.shard().attempt, watched.shard().lost_count) == (2, 1)
    watched.expect_exactly_one_result_each()


def test_a_worker_that_sees_its_process_die_waits_for_no_lease(tmp_path, capture):
    settings = {**QUICK, "REFAULT_LEASE_SECONDS": "3600", "REFAULT_CACHE": str(cache_folder())}
    with Stack(tmp_path, worker_count=1, settings=settings) as stack:
        for _ in stack.start():
            pass
        with Client(stack.url, token=stack.token) as client:
            watched = Watched(stack, client, capture)
            worker = watched.submit().wait_until_in_the_kernel_loop()
            os.kill(pool_process_of(worker.pid), signal.SIGKILL)
            assert watched.wait_until_over()["state"] == "done"
            watched.expect_exactly_one_result_each()
            [again] = [step for step in watched.rows(BatchEvent) if step.kind == "shard.requeued"]
    assert "signal 9 (SIGKILL)" in again.body["error"]


def test_kill_9_of_a_whole_worker_is_healed_by_its_lease(watched):
    worker = watched.submit().wait_until_in_the_kernel_loop()
    os.kill(worker.pid, signal.SIGKILL)
    # Nobody looks after the processes: the lease must run out and the other worker take over.
    document = watched.wait_until_over(look_after=False)
    assert document["state"] == "done"
    assert watched.shard().attempt == 2
    assert watched.shard().worker != worker.name
    watched.expect_exactly_one_result_each()


def test_a_worker_that_died_is_replaced(watched):
    worker = watched.submit().wait_until_in_the_kernel_loop()
    before = watched.stack.restart_count
    os.kill(worker.pid, signal.SIGKILL)
    watched.wait(lambda: watched.stack.restart_count > before, "a replacement")
    assert watched.wait_until_over()["state"] == "done"
    watched.expect_exactly_one_result_each()
    pids = {process.pid for process in watched.stack.workers}
    assert len(pids) == 2
    assert worker.pid not in pids


def test_a_worker_that_hangs_loses_its_shard_and_writes_nothing_when_it_wakes(watched):
    worker = watched.submit().wait_until_in_the_kernel_loop()
    held = [worker.pid, pool_process_of(worker.pid)]
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        document = watched.wait_until_over()
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)
    assert document["state"] == "done"
    assert watched.shard().worker != worker.name
    # Time to notice, to finish what it had begun, and to try to write it.
    time.sleep(4)
    watched.expect_exactly_one_result_each()
    assert watched.client.get_batch(watched.code)["progress"] == document["progress"]


def test_poison_is_given_up_after_three_processes_with_the_reason(watched):
    watched.submit()
    for attempt in (1, 2, 3):
        worker = watched.wait_until_in_the_kernel_loop(attempt=attempt)
        os.kill(pool_process_of(worker.pid), signal.SIGKILL)
    document = watched.wait_until_over()
    assert (document["state"], document["progress"]["failed"]) == ("failed", RUN_COUNT)
    assert all("given up after 3 attempts" in run["error"] for run in document["runs"])


def test_messages_delivered_many_times_count_once(watched, sender):
    watched.submit()
    message = ShardMessage(watched.shard().id, 1)
    assert publish(sender, [message] * 20) == 20
    assert watched.wait_until_over()["progress"]["done"] == RUN_COUNT
    publish(sender, [message] * 5)
    time.sleep(1)
    watched.expect_exactly_one_result_each()


def test_an_emptied_broker_is_not_a_loss(watched, stack, client, capture):
    batches = [watched, *(Watched(stack, client, capture) for _ in range(3))]
    pids = [process.pid for process in watched.stack.workers]
    pids += [pool_process_of(pid) for pid in pids]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for batch in batches:
            batch.submit()
        with redis.Redis.from_url(stack.broker.url) as broker:
            # A worker that waited at the broker has been handed one; the rest is lost now.
            assert broker.llen("shards") >= len(batches) - len(stack.workers)
            broker.flushall()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    for batch in batches:
        assert batch.wait_until_over()["state"] == "done"
        batch.expect_exactly_one_result_each()


def test_cancel_stops_a_running_batch_and_frees_the_worker(watched, client):
    watched.submit().wait_until_in_the_kernel_loop()
    client.cancel_batch(watched.code)
    document = watched.wait_until_over()
    assert (document["state"], document["progress"]["cancelled"]) == ("cancelled", RUN_COUNT)
    assert watched.rows(BatchEvent)[-1].kind == "batch.cancelled"
    # What was cancelled can be asked for again.
    assert watched.submit().wait_until_over()["state"] == "done"
    watched.expect_exactly_one_result_each()


def test_computing_again_gives_the_same_bytes(watched):
    watched.submit().wait_until_over()
    document = watched.submit(recompute=True).wait_until_over()
    assert (document["state"], document["progress"]["cached"]) == ("done", 0)
    watched.expect_exactly_one_result_each()


@pytest.fixture
def sender(stack, monkeypatch):
    for name, value in stack.environment().items():
        if name.startswith("REFAULT_"):
            monkeypatch.setenv(name, value)
    return app
