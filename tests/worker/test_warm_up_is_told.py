"""What a worker compiles is in its log, before Celery sets up logging, and the starter reads it."""

import logging

import pytest

from services.local import stack
from worker import lifecycle


class Stopped(Exception):
    """Raised instead of going on to the database."""


def test_the_starter_reads_the_steps_that_a_worker_logs(monkeypatch, capfd, tmp_path):
    def stop(*_, **__):
        raise Stopped

    monkeypatch.setattr("refault.replay.session.warm_up", lambda _: None)
    monkeypatch.setattr("refault.profile.gathering.warm_up", stop)
    monkeypatch.setenv("REFAULT_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REFAULT_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("REFAULT_BLOBS", str(tmp_path))
    monkeypatch.setenv("REFAULT_BUILDS", "false")
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        with pytest.raises(Stopped):
            lifecycle._start(None)
    finally:
        logging.getLogger().handlers[:], logging.getLogger().level = before

    class Worker:
        def tail(self):
            told = capfd.readouterr()
            return told.out + told.err

    assert stack._step_of(Worker()) == "compiling the accounts of runs, 3 of 3"
