"""``refault submit --wait`` against a service whose first worker still compiles."""

import threading
import time
from functools import partial

import pytest

from db.repositories import worker_starts
from db.repositories.worker_starts import Step
from refault.client import Client
from tests.builders import transaction
from tests.cli.running import run_here

LATE_S = 2.5


@pytest.fixture
def refault(live, token, tmp_path, monkeypatch):
    return partial(run_here, monkeypatch, tmp_path, REFAULT_URL=live, REFAULT_TOKEN=token)


def test_it_waits_for_a_worker_that_is_starting(refault, rows, live, token):
    rows.add_trace("boot")
    with transaction(rows.engine) as session:
        step = Step("the engine shadow", 2, 3, 41, 270)
        worker_starts.announce(session, name="one", host="h", pid=7, step=step)

    def worker():
        """Comes up after a while; then the batch that waited is cancelled."""
        time.sleep(LATE_S)
        rows.register_simulator()
        with Client(live, token=token) as client:
            while not (batches := client.list_batches()["items"]):
                time.sleep(0.1)
            client.cancel_batch(batches[0]["code"])

    thread = threading.Thread(target=worker)
    begun = time.monotonic()
    thread.start()
    told = refault("submit", "boot", "-p", "base", "--wait")
    thread.join()
    assert time.monotonic() - begun > LATE_S
    assert "queued, 1 run" in told.stdout
    assert "no worker" not in told.stderr


def test_without_a_worker_it_is_refused_at_once(refault, rows):
    rows.add_trace("boot")
    for words in ((), ("--wait",)):
        told = refault("submit", "boot", "-p", "base", *words)
        assert told.returncode == 3
        assert "no worker has registered a simulator yet" in told.stderr
