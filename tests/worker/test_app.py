import os
import subprocess
import sys

import celery
import pytest
from celery.exceptions import QueueNotFound
from kombu.exceptions import ContentDisallowed

from db.repositories import simulators
from db.shards import messages
from services.shared.nudging import publish
from tests.builders import transaction
from tests.fixtures.database import SIMULATOR
from worker import app as worker_app
from worker import stderr


@pytest.fixture
def configuration(database_url, broker_url, tmp_path, monkeypatch):
    monkeypatch.setenv("REFAULT_DATABASE_URL", database_url)
    monkeypatch.setenv("REFAULT_BROKER_URL", broker_url)
    monkeypatch.setenv("REFAULT_BLOBS", str(tmp_path))
    return worker_app.configuration()


@pytest.fixture
def app(configuration):
    with celery.Celery("test", set_as_current=False) as app:
        app.conf.update(configuration)
        yield app


def test_messages_are_held_until_their_row_was_looked_at(configuration):
    assert configuration["task_acks_late"] is True
    assert configuration["task_reject_on_worker_lost"] is True
    assert configuration["worker_prefetch_multiplier"] == 1


def test_the_broker_waits_twice_as_long_as_a_shard_may_take_in_all_three_places(configuration):
    limit = configuration["task_time_limit"]
    for place in (
        configuration,
        configuration["broker_transport_options"],
        configuration["result_backend_transport_options"],
    ):
        assert place["visibility_timeout"] >= 2 * limit


def test_nothing_but_json_is_read(app):
    with app.connection_for_write() as connection, connection.channel() as channel:
        message = app.amqp.Producer(channel, auto_declare=False, serializer="pickle")
        app.amqp.queues[messages.QUEUE_SHARDS](channel).declare()
        message.publish({"x": 1}, routing_key=messages.QUEUE_SHARDS, exchange="shards")
        got = app.amqp.queues[messages.QUEUE_SHARDS](channel).get(accept=app.conf.accept_content)
        with pytest.raises(ContentDisallowed):
            got.decode()


def test_a_queue_nobody_listed_is_refused(app):
    with pytest.raises(QueueNotFound):
        app.send_task(messages.TASK_SHARD_RUN, queue="shard")


def test_there_is_no_result_backend(app):
    assert app.backend.__class__.__name__ == "DisabledBackend"


def test_published_messages_wait_in_the_queue_of_shards(app, store):
    _, sent = store.plan()
    assert publish(app, sent) == len(sent)
    with app.connection_for_read() as connection, connection.channel() as channel:
        queue = app.amqp.queues[messages.QUEUE_SHARDS](channel)
        assert queue.queue_declare(passive=True).message_count == len(sent)
        got = queue.get()
    assert got.headers["task"] == "shard.run"
    assert got.decode()[1] == sent[0].to_arguments()


def test_a_broker_that_is_not_there_fails_nothing(configuration, store, caplog):
    app = celery.Celery("test", set_as_current=False)
    app.conf.update(configuration | {"broker_url": "redis://127.0.0.1:1/0"})
    _, sent = store.plan()
    assert publish(app, sent) == 0
    assert f"0 of {len(sent)} messages" in caplog.text


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_worker_without_its_environment_names_what_is_missing():
    done = run_python("-m", "worker")
    assert done.returncode == 2
    for name in ("REFAULT_DATABASE_URL", "REFAULT_BROKER_URL", "REFAULT_BLOBS"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_the_tasks_are_registered_under_their_names(configuration):
    assert configuration
    program = (
        "from worker.app import app; app.loader.import_default_modules();"
        "print(*sorted(name for name in app.tasks if not name.startswith('celery.')))"
    )
    done = run_python("-c", program, **{k: v for k, v in os.environ.items() if "REFAULT" in k})
    assert done.stdout.split() == ["build.run", "question.run", "shard.run"], done.stderr


def test_a_host_is_healthy_while_its_worker_is_heard_of(configuration, store):
    environment = {k: v for k, v in os.environ.items() if "REFAULT" in k}
    ill = run_python("-m", "worker.health", **environment)
    assert ill.returncode == 1
    assert "not been heard of" not in ill.stdout
    with transaction(store.engine) as session:
        simulators.register(
            session,
            name="here",
            simulators={"shadow": SIMULATOR},
            semantics_version=1,
            host=os.uname().nodename,
            pid=1,
        )
    well = run_python("-m", "worker.health", **environment)
    assert (well.returncode, well.stderr) == (0, "")


def test_the_last_words_of_a_process_survive_it(tmp_path, store):
    _, fence = store.plan_one_shard()
    program = f"""
import faulthandler, os, uuid
from pathlib import Path
from db.shards.fences import Fence
from worker import stderr
from tests.builders import transaction
faulthandler.enable(file=2)
with stderr.kept(Path({str(tmp_path)!r}), Fence(uuid.UUID({str(fence.shard_id)!r}), 1)):
    os.abort()
"""
    done = run_python("-c", program)
    assert done.returncode < 0
    assert "Fatal Python error: Aborted" in stderr.take_tail(tmp_path, fence)
    assert stderr.take_tail(tmp_path, fence) == ""


def test_of_a_long_death_the_first_and_the_last_words_are_kept(tmp_path, store):
    _, fence = store.plan_one_shard()
    words = "Fatal Python error: Aborted\n" + "a frame\n" * 9000 + "the last frame"
    stderr.path_of(tmp_path, fence).write_text(words)
    tail = stderr.take_tail(tmp_path, fence)
    assert tail.startswith("Fatal Python error: Aborted\n")
    assert "\n[...]\n" in tail
    assert tail.endswith("the last frame")
    assert len(tail) < stderr.HEAD_BYTES + stderr.TAIL_BYTES + 10
