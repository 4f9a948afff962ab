"""The short duties, while the only worker is busy for as long as one likes; and its own death."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
import sqlalchemy as sa

from db.models import BatchEvent, Run, Shard
from db.session import transaction
from refault.client import Client
from refault.replay.compile.cache import cache_folder
from services.local.stack import Stack
from tests.fixtures.receiver import receiving
from tests.fixtures.stack import QUICK
from tests.pipeline.watched import Watched, pool_process_of


@pytest.fixture(scope="module")
def lonely(tmp_path_factory):
    """A stack with one worker, whose shard stays its own however long nobody hears of it."""
    settings = {
        **QUICK,
        "REFAULT_CACHE": str(cache_folder()),
        "REFAULT_LEASE_SECONDS": "3600",
        "REFAULT_WEBHOOK_SECONDS": "0.5",
        "REFAULT_WEBHOOK_NETWORKS": "127.0.0.0/8",
    }
    with Stack(tmp_path_factory.mktemp("lonely"), worker_count=1, settings=settings) as stack:
        for _ in stack.start():
            pass
        with Client(stack.url, token=stack.token) as client:
            yield stack, client


@contextlib.contextmanager
def held(pid):
    """The shard of that process lasts until the block is left."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def test_sweeps_and_webhooks_do_not_wait_behind_a_long_shard(lonely, long_capture, receiver):
    stack, client = lonely
    client.create_webhook(receiver.url, events=["batch.failed", "batch.finished"])
    long_one = Watched(stack, client, long_capture)
    worker = long_one.submit().wait_until_in_the_kernel_loop()
    with held(pool_process_of(worker.pid)):
        abandoned = Watched(stack, client, long_capture).submit()
        with transaction(stack.engine) as session:
            of_batch = Shard.batch_id == abandoned.shard().batch_id
            past = sa.func.now() - sa.text("interval '1 hour'")
            session.execute(
                sa.update(Shard)
                .where(of_batch)
                .values(state="running", worker="gone", worker_pid=1, lease_until=past)
            )
            runs = sa.update(Run).where(Run.batch_id == abandoned.shard().batch_id)
            session.execute(runs.values(state="running"))
        abandoned.wait(lambda: abandoned.shard().attempt == 2, "the sweep")
        other = Watched(stack, client, long_capture).submit()
        client.cancel_batch(other.code)
        other.wait(lambda: receiver.messages, "the webhook")

        [(_, headers, _)] = receiver.messages
        assert headers["X-Refault-Event"] == "batch.finished"
        assert (long_one.shard().state, long_one.shard().attempt) == ("running", 1)
        assert abandoned.shard().state == "queued"
    for batch in (long_one, abandoned):
        assert batch.wait_until_over()["state"] == "done"
        batch.expect_exactly_one_result_each()


def test_a_worker_that_sees_its_process_die_waits_for_no_lease(lonely, long_capture):
    watched = Watched(*lonely, long_capture)
    worker = watched.submit().wait_until_in_the_kernel_loop()
    os.kill(pool_process_of(worker.pid), signal.SIGKILL)
    assert watched.wait_until_over()["state"] == "done"
    watched.expect_exactly_one_result_each()
    [again] = [step for step in watched.rows(BatchEvent) if step.kind == "shard.requeued"]
    assert "signal 9 (SIGKILL)" in again.body["error"]


def test_upkeep_is_small_and_ends_when_it_is_told_to(lonely):
    stack, _ = lonely
    upkeep = stack.part("upkeep")
    upkeep.wait_until(lambda: "upkeep has begun" in upkeep.tail(), 30)
    assert "llvmlite" not in Path(f"/proc/{upkeep.pid}/maps").read_text(encoding="utf-8")

    upkeep.request_stop()

    assert upkeep.wait(10) == 0
