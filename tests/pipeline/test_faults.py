"""The whole service as processes, and what happens when parts of it die.

Each test replays a captured guest under page limits of its own, so that none
finds the results of another.
"""

import os
import signal
import time

import pytest
import redis

from db.models import BatchEvent, Run, Shard
from db.shards.messages import ShardMessage
from services.shared.nudging import publish
from tests.pipeline.watched import RUN_COUNT, Watched, pool_process_of
from worker.app import app


@pytest.fixture
def watched(stack, client, long_capture):
    return Watched(stack, client, long_capture)


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


def test_a_shard_that_lost_three_processes_is_taken_apart_and_each_run_tried_alone(watched):
    watched.submit()
    for attempt in (1, 2, 3):
        worker = watched.wait_until_in_the_kernel_loop(attempt=attempt)
        os.kill(pool_process_of(worker.pid), signal.SIGKILL)
    assert watched.wait_until_over()["state"] == "done"
    [apart] = watched.told_of_shard("shard.taken_apart")
    assert apart["shard_count"] > 1
    lost = [shard.id for shard in watched.rows(Shard) if shard.lost_count]
    assert len(lost) == apart["shard_count"]
    of_lost = [run.shard_id for run in watched.rows(Run) if run.shard_id in lost]
    assert sorted(of_lost) == sorted(lost)
    watched.expect_exactly_one_result_each()


def test_messages_delivered_many_times_count_once(watched, sender):
    watched.submit()
    message = ShardMessage(watched.shard().id, 1)
    assert publish(sender, [message] * 20) == 20
    assert watched.wait_until_over()["progress"]["done"] == RUN_COUNT
    publish(sender, [message] * 5)
    time.sleep(1)
    watched.expect_exactly_one_result_each()


def test_an_emptied_broker_is_not_a_loss(watched, stack, client, long_capture):
    batches = [watched, *(Watched(stack, client, long_capture) for _ in range(3))]
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
