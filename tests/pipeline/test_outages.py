"""Parts of the service die or stand still; the workers' clocks are two hours apart meanwhile.

What must hold after each: one result a run, the bytes of an undisturbed replay, no shard stuck,
and a story that says what happened.
"""

import os
import re
import resource
import signal
import time
from pathlib import Path

import pytest

from db.models import Shard
from db.shards.messages import ShardMessage
from refault.catalogue import Parameters, PatchSet
from refault.client import Client
from refault.errors import RefaultError, Refused, Unavailable
from refault.replay.compile.cache import cache_folder
from services.local import stack as local
from services.local.stack import Stack
from services.shared.nudging import publish
from tests.fixtures.stack import QUICK
from tests.pipeline.planted.sitecustomize import HOUR, POISON
from tests.pipeline.watched import PATCHES, RUN_COUNT, Watched, limits, pool_process_of
from worker.app import app

PLANTED = Path(__file__).with_name("planted")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    settings = {
        **QUICK,
        "REFAULT_CACHE": str(cache_folder()),
        "REFAULT_SNAPSHOT_SECONDS": "0.05",
        "PYTHONPATH": str(PLANTED),
    }
    with (
        pytest.MonkeyPatch.context() as patched,
        Stack(tmp_path_factory.mktemp("outages"), settings=settings) as stack,
    ):
        patched.setattr(local, "RESTARTS_MAX", 100)
        for _ in stack.start():
            pass
        yield stack


@pytest.fixture
def client(stack):
    with Client(stack.url, token=stack.token) as client:
        yield client


@pytest.fixture
def watched(stack, client, long_capture):
    return Watched(stack, client, long_capture)


@pytest.fixture
def sender(stack, monkeypatch):
    for name, value in stack.environment().items():
        if name.startswith("REFAULT_"):
            monkeypatch.setenv(name, value)
    return app


def kill(process, number=signal.SIGKILL):
    os.kill(process.pid, number)
    process.wait(20)


def test_clocks_hours_apart_take_no_shard_from_anybody(stack, client, long_capture):
    batches = [Watched(stack, client, long_capture) for _ in range(3)]
    for batch in batches:
        batch.submit()
    for batch in batches:
        assert batch.wait_until_over()["state"] == "done"
        assert batch.shard().attempt == 1
        batch.expect_exactly_one_result_each()
    hours = {hour_of(process.tail(2000)) for process in stack.workers}
    assert len(hours) == 2
    assert abs((max(hours) - min(hours)) % 24) in (2, 3, 21, 22)
    assert HOUR == 3600


def hour_of(log):
    """The hour of the last line a worker logged."""
    return int(re.findall(r'"time": "\d{4}-\d\d-\d\dT(\d\d):', log)[-1])


def test_a_long_run_goes_on_elsewhere_from_its_last_snapshot(watched):
    watched.submit()
    watched.wait(lambda: watched.shard().snapshot_events, "a snapshot")
    holder = watched.wait_until_in_the_kernel_loop()
    pids = [pool_process_of(holder.pid), holder.pid]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    # Nobody replaces it for now: the other worker must do.
    assert watched.wait_until_over(look_after=False)["state"] == "done"
    first, second = watched.told_of_shard("shard.claimed")
    assert first["snapshot_events"] is None
    assert second["snapshot_events"] > 0
    assert second["worker"] != first["worker"]
    assert watched.told("shard.snapshot_refused") == []
    [lost] = watched.told_of_shard("shard.requeued")
    assert "was not heard of any more" in lost["error"]
    watched.expect_exactly_one_result_each()
    folder = watched.stack.folder.path("blobs") / "snapshots"
    assert [path for path in folder.glob("*.*") if str(watched.shard().id) in path.name] == []


def test_kill_9_of_the_api_loses_no_batch(watched, client):
    watched.submit().wait_until_in_the_kernel_loop()
    # It led a session of its own, so this is the server and the process that serves.
    os.killpg(watched.stack.part("api").pid, signal.SIGKILL)
    watched.stack.part("api").wait(20)
    with pytest.raises(RefaultError):
        client.get_batch(watched.code)
    watched.stack.revive("api")
    assert wait_for_api(watched)["state"] == "done"
    watched.expect_exactly_one_result_each()
    assert watched.submit().wait_until_over()["progress"]["cached"] == RUN_COUNT


def wait_for_api(watched):
    """The finished batch, asked for through an API that is still starting."""

    def over():
        try:
            document = watched.client.get_batch(watched.code)
        except Unavailable:
            return None
        return document if document["finished_at"] else None

    return watched.wait(over, "the end of the batch")


def test_kill_9_of_upkeep_delays_healing_until_it_is_back(watched):
    holder = watched.submit().wait_until_in_the_kernel_loop()
    kill(watched.stack.part("upkeep"))
    os.kill(holder.pid, signal.SIGKILL)
    # Longer than the lease: nobody sweeps, so nobody notices.
    time.sleep(float(QUICK["REFAULT_LEASE_SECONDS"]) + 1)
    assert watched.shard().state == "running"
    assert watched.wait_until_over()["state"] == "done"
    assert watched.shard().lost_count == 1
    watched.expect_exactly_one_result_each()


def test_the_broker_is_killed_and_comes_back(watched, stack, client, long_capture):
    watched.submit().wait_until_in_the_kernel_loop()
    kill(stack.part("valkey"))
    # Accepted all the same: the row is the truth, and the sweep sends the message later.
    other = Watched(stack, client, long_capture).submit()
    stack.revive("valkey")
    for batch in (watched, other):
        assert batch.wait_until_over()["state"] == "done"
        batch.expect_exactly_one_result_each()


def test_workers_whose_shards_end_while_the_broker_is_away_connect_anew(
    watched, stack, client, long_capture
):
    watched.submit().wait_until_in_the_kernel_loop()
    kill(stack.part("valkey"))
    watched.wait(
        lambda: watched.shard().state == "done",
        "the shard's end without a broker",
        look_after=False,
    )
    time.sleep(0.5)  # the message cannot be given back
    stack.revive("valkey")
    other = Watched(stack, client, long_capture).submit()
    for batch in (watched, other):
        assert batch.wait_until_over()["state"] == "done"
        batch.expect_exactly_one_result_each()


def test_postgres_crashes_in_mid_batch_and_recovers(watched):
    watched.submit().wait_until_in_the_kernel_loop()
    # To Postgres this is "at once, without a checkpoint": the log must bring everything back.
    kill(watched.stack.part("postgres"), signal.SIGQUIT)
    watched.stack.revive("postgres")
    watched.wait(lambda: is_up(watched), "Postgres")
    assert wait_for_api(watched)["state"] == "done"
    watched.expect_exactly_one_result_each()


def is_up(watched):
    try:
        watched.shard()
    except RefaultError:
        return False
    return True


def test_messages_out_of_order_and_many_times_count_once(watched, sender):
    holder = watched.submit().wait_until_in_the_kernel_loop()
    shard = watched.shard()
    os.kill(pool_process_of(holder.pid), signal.SIGKILL)
    watched.wait(lambda: watched.shard().attempt == 2, "the second attempt")
    old, new = ShardMessage(shard.id, 1), ShardMessage(shard.id, 2)
    assert publish(sender, [new, old, ShardMessage(shard.id, 3), new, old] * 5) == 25
    assert watched.wait_until_over()["progress"]["done"] == RUN_COUNT
    publish(sender, [new, old])
    time.sleep(0.5)
    watched.expect_exactly_one_result_each()
    assert watched.shard().attempt == 2


def test_a_variant_that_crashes_the_interpreter_takes_no_other_along(stack, client, long_capture):
    limit = next(limits)
    good = [PatchSet(patches=p, parameters=Parameters(page_limit=limit)) for p in PATCHES[:3]]
    bad = PatchSet(parameters=Parameters(page_limit=POISON))
    watched = Watched(stack, client, long_capture, wanted=[*good[:2], bad, good[2]]).submit()
    document = watched.wait_until_over()
    assert (document["state"], document["progress"]["failed"]) == ("failed", 1)
    [failed] = client.list_runs(watched.code, state=["failed"])["items"]
    assert "given up after 3 attempts" in failed["error"]
    assert "Fatal Python error: Aborted" in failed["error"]
    assert len(watched.told("shard.taken_apart")) == 1
    assert {shard.state for shard in watched.rows(Shard)} == {"done", "failed"}
    watched.wanted.remove(bad)
    watched.expect_results_of_all()


def test_a_full_disk_refuses_the_upload_whole_and_later_takes_it(stack, client, tmp_path, capture):
    # A limit on the server's files is what a full disk is to it: the next write fails.
    copy = tmp_path / "other.rft"
    copy.write_bytes(capture.with_name("linux61-workload-1cpu.rft").read_bytes())
    before = files_of(stack)
    api = [stack.part("api").pid, *children_of(stack.part("api").pid)]
    free = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in api]
    for pid in api:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(Refused, match=r"cannot be stored: .*; nothing was kept"):
            client.upload_trace(copy)
    finally:
        for pid, limits_before in zip(api, free, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits_before)
    assert files_of(stack) == before
    assert copy.name not in {trace["name"] for trace in client.list_traces()["items"]}
    assert client.upload_trace(copy).trace["event_count"] > 0


def children_of(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def files_of(stack):
    root = stack.folder.path("blobs")
    return {
        path.relative_to(root)
        for path in root.rglob("*")
        if path.is_file() and "snapshots" not in path.parts
    }
