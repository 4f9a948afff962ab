"""A process that is no more gives back what it held, whether or not Celery tells of its death."""

import pytest

from db import questions as work
from db.repositories import questions, traces
from db.shards.fences import Fence
from refault.catalogue import SEED_SERIES
from refault.errors import Unavailable
from refault.questions import Itself, Question
from tests.builders import transaction
from worker import deaths, shards

PID = 4711


@pytest.fixture
def fence(room):
    """A shard that a process of the worker holds."""
    _, [message] = room.plan(patches=SEED_SERIES[:2])
    held = {"worker": room.resources.name, "simulator": room.resources.simulators["shadow"]}
    assert room.claim_next(**held, worker_pid=PID).fence == Fence(message.shard_id, 1)
    return Fence(message.shard_id, 1)


def test_a_death_of_which_nothing_was_told_is_found_after_a_while(room, fence, sent, monkeypatch):
    silent = deaths.Silent()
    silent.look(room.resources, [])
    assert sent == [], "Celery may still tell of it, with its signal"

    monkeypatch.setattr(deaths, "SILENCE_SECONDS", 0.0)
    silent.look(room.resources, [PID, 1])
    assert sent == [], "it lives"

    silent.look(room.resources, [1])
    assert [(message.shard_id, message.attempt) for message in sent] == [(fence.shard_id, 2)]
    assert room.shard(fence.shard_id).error == f"the process that computed it, {PID}, is gone"
    silent.look(room.resources, [1])
    assert len(sent) == 1


def test_questions_of_a_process_that_is_gone_are_given_back_too(room, sent, monkeypatch):
    monkeypatch.setattr(deaths, "SILENCE_SECONDS", 0.0)
    with transaction(room.engine) as session:
        trace = traces.get(session, room.digest)
        row_id = questions.ask(session, Question(Itself()), trace, (), ())[0].id
        claim = work.claim(
            session,
            engines=room.resources.simulators,
            worker=room.resources.name,
            worker_pid=PID,
            lease_seconds=3600,
        )
    assert claim.fence.row_id == row_id

    deaths.Silent().look(room.resources, [])
    assert [message.task for message in sent] == ["question.run"]


def test_what_an_outage_kept_is_given_back_at_a_later_heartbeat(room, fence, sent, monkeypatch):
    def out(*_):
        raise Unavailable("the database is out")

    with monkeypatch.context() as outage:
        outage.setattr(shards, "process_died", out)
        deaths.give_back(room.resources, PID, "signal 9")
    assert sent == []

    monkeypatch.setattr(deaths, "SILENCE_SECONDS", 0.0)
    deaths.Silent().look(room.resources, [])
    assert [message.shard_id for message in sent] == [fence.shard_id]
