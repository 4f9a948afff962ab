"""Questions as workers answer them: by the real engines, under a fence, once for each project."""

import io
import time

import msgpack
import pytest
import sqlalchemy as sa

from db import questions as work
from db import verify
from db.leased import RowFence
from db.models import Document, Question, Trace
from db.questions import QUEUE
from db.repositories import projects, questions, trace_deletion, traces
from db.session import transaction as of_all
from db.shards.messages import QuestionMessage
from refault import catalogue
from refault.audits import AuditReport, Level
from refault.diverge.around import plain
from refault.engines import ENGINES, get_engine
from refault.engines.audit import auditing
from refault.errors import Unavailable
from refault.inspect.inspecting import look, timeline_of
from refault.questions import Between, Itself, Where
from refault.questions import Question as Asked
from refault.trace import TraceReader
from refault.verify import verify as verify_trace
from tests.builders import put_blob, transaction
from tests.replay.test_lowering import of_pae
from worker import answering
from worker.questions import process_died, run, take_turn
from worker.sweep import sweep

AUDIT = Asked(Level("every"))
P3 = catalogue.resolve(catalogue.patch_set_from_text("p3"))


@pytest.fixture
def ask(room):
    def ask(question=AUDIT, *names, trace=None, project=None):
        variants = [
            catalogue.resolve(catalogue.patch_set_from_text(name)) for name in names or ("p3",)
        ]
        digests = [get_engine(variant.engine).digest for variant in variants]
        opened = transaction(room.engine) if project is None else of_all(room.engine, project)
        with opened as session:
            found = traces.get(session, room.digest)
            row, _ = questions.ask(session, question, found, variants, digests)
            return row.id

    return ask


def read(room, row_id):
    with of_all(room.engine) as session:
        row = session.get_one(Question, row_id)
        body = session.scalar(
            sa.select(Document.body).where(Document.digest == row.document_digest)
        )
        return row, None if body is None else msgpack.unpackb(body)


def test_an_audit_is_answered_as_the_engine_alone_would(room, ask, small_trace):
    row_id = ask()
    assert run(room.resources)
    row, document = read(room, row_id)
    [expected] = auditing.audit(small_trace, [P3], Level("every"))
    assert (row.state, row.error, row.attempt) == ("done", None, 1)
    assert AuditReport.from_dict(document["answer"]) == expected
    assert "under p3" in document["text"]
    assert not run(room.resources), "nothing waits any more"


def verification(room, digest):
    with transaction(room.engine) as session:
        row, _ = questions.ask(session, Asked(Itself()), traces.get(session, digest), (), ())
        return row.id


def test_a_verification_is_answered_and_stands_on_its_trace(room):
    """Fails where what was gathered at upload is lost from the trace's row."""
    data = of_pae().trace().read()
    digest = put_blob(room.blobs, data)
    room.add_trace("pae", digest=digest, statistics={"work": 7})
    row_id = verification(room, digest)
    assert run(room.resources)
    row, document = read(room, row_id)

    assert (row.state, row.error) == ("done", None)
    with TraceReader(io.BytesIO(data)) as trace:
        assert document["answer"] == verify_trace(trace).to_dict()
    assert document["text"].endswith(f"refault verify {digest[:12]}.rft\n")
    with of_all(room.engine) as session:
        told = session.scalars(sa.select(Trace).where(Trace.digest == digest)).one().statistics
    assert told["verification"] == {
        "is_good": True,
        "complaint": "",
        "share": 1.0,
        "asked": 5,
        "agreed": 5,
    }
    assert told["work"] == 7
    assert told["working_set"] == document["answer"]["working_set"]
    assert told["working_set"]["touched"] > 0


def test_operations_cannot_be_verified(room):
    row_id = verification(room, room.digest)
    assert run(room.resources)
    row, document = read(room, row_id)

    assert (row.state, document) == ("failed", None)
    assert "nothing to verify" in row.error


def test_a_divergence_and_an_inspection_are_answered(room, ask, small_trace):
    both = ask(Asked(Between("exits")), "base", "walk"), ask(Asked(Where(operation=40, gva=0)))
    # A turn may end after the first where a kernel is compiled for it.
    answered = take_turn(room.resources)
    while more := take_turn(room.resources):
        answered += more
    assert answered == 2
    (first, divergence), (second, view) = (read(room, row_id) for row_id in both)
    assert (first.state, second.state) == ("failed", "done")
    assert "no such counter" in first.error
    assert divergence is None
    expected = look(timeline_of(small_trace, P3), Where(operation=40, gva=0))
    assert view["answer"] == plain(expected)
    assert f"{room.digest[:12]}.rft -v p3 --at-operation 40 --gva 0x0" in view["text"]


def test_a_look_is_answered_before_audits_that_were_asked_earlier(room, ask):
    audits = [ask(), ask(AUDIT, "base")]
    look_at = ask(Asked(Where(operation=40)))
    assert run(room.resources)
    assert read(room, look_at)[0].state == "done"
    assert [read(room, row_id)[0].state for row_id in audits] == ["queued", "queued"]


def test_a_worker_that_was_not_told_to_runs_no_users_code(room, ask):
    row_id = ask()
    with of_all(room.engine) as session:
        row = session.get_one(Question, row_id)
        row.asked = row.asked | {"engines": ["kernel", "shadow"]}
    given = {"worker": "w1", "worker_pid": 1, "lease_seconds": 60}
    with of_all(room.engine) as session:
        assert work.claim(session, engines=["shadow", "walk"], **given) is None
        assert work.claim(session, engines=ENGINES, **given).fence == RowFence(row_id, 1)


def test_two_variants_that_do_not_differ_say_so(room, ask):
    row_id = ask(Asked(Between()), "base", "p2")
    run(room.resources)
    _, document = read(room, row_id)
    assert document["answer"]["divergences"] == []


def test_equal_questions_are_one(room, ask):
    first = ask()
    assert ask() == first
    run(room.resources)
    assert ask() == first
    assert not run(room.resources)
    assert ask(Asked(Level("flush"))) != first
    assert ask(AUDIT, "base") != first


def test_a_question_that_failed_is_tried_again_when_it_is_asked_again(room, ask):
    question = Asked(Where(operation=1 << 40))
    row_id = ask(question)
    run(room.resources)
    row, _ = read(room, row_id)
    assert row.state == "failed"
    assert "beyond the end" in row.error
    assert ask(question) == row_id
    row, _ = read(room, row_id)
    assert (row.state, row.error, row.attempt) == ("queued", None, 2)


def test_a_second_project_gets_its_own_answer_and_cannot_tell_that_there_was_one(room, ask):
    ask()
    run(room.resources)
    with of_all(room.engine) as session:
        second = projects.add(session, "second").id
    with of_all(room.engine, second) as session:
        given = {
            name: getattr(room.trace, name)
            for name in ("digest", "content", "guest_mode", "vcpu_count", "size_bytes")
        }
        given |= {name: getattr(room.trace, name) for name in ("event_count", "instruction_count")}
        traces.add(session, **given, name="theirs", truncated=False, events_by_kind={}, header={})
    row_id = ask(project=second)
    computed = []
    original = answering.answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "answer", lambda asked: computed.append(1) or original(asked))
        assert run(room.resources)
    assert computed == [1], "the time it takes tells nothing"
    assert read(room, row_id)[0].state == "done"
    assert room.count(Document) == 1


def test_a_dead_process_gives_its_question_back_and_the_third_loss_is_the_last(room, ask):
    row_id = ask()
    for attempt in (1, 2, 3):
        with of_all(room.engine) as session:
            claim = work.claim(
                session,
                engines=ENGINES,
                worker=room.resources.name,
                worker_pid=77,
                lease_seconds=60,
            )
        assert claim.fence == RowFence(row_id, attempt)
        process_died(room.resources, 77, "signal 9")
    row, document = read(room, row_id)
    assert (row.state, row.error, document) == ("failed", "signal 9", None)


def test_a_question_whose_worker_is_gone_is_answered_by_another(room, ask, sent):
    row_id = ask()
    with of_all(room.engine) as session:
        work.claim(session, engines=ENGINES, worker="w1", worker_pid=1, lease_seconds=-1)
    sweep(room.resources, waiting_message_count=0)
    assert sent == [QuestionMessage(row_id)]
    assert run(room.resources)
    assert read(room, row_id)[0].state == "done"


def test_an_answer_that_comes_too_late_is_dropped(room, ask, monkeypatch):
    row_id = ask()
    original = answering.answer

    def lose_it(asked):
        with of_all(room.engine) as session:
            QUEUE.give_back(session, RowFence(row_id, 1), "taken")
        return original(asked)

    monkeypatch.setattr(answering, "answer", lose_it)
    run(room.resources)
    row, document = read(room, row_id)
    assert (row.state, row.attempt, document) == ("queued", 2, None)


def test_an_outage_costs_no_attempt(room, ask, monkeypatch):
    row_id = ask()
    monkeypatch.setattr(time, "sleep", lambda _: None)

    def outage(_):
        raise Unavailable("no blobs")

    monkeypatch.setattr(answering, "answer", outage)
    assert not run(room.resources)
    row, _ = read(room, row_id)
    assert (row.state, row.lost_count, row.attempt) == ("queued", 0, 2)


def test_a_trace_that_is_deleted_takes_its_questions_and_answers_along(room, ask):
    ask()
    run(room.resources)
    with transaction(room.engine) as session:
        trace_deletion.delete(session, traces.get(session, room.digest), cascade=True)
    assert (room.count(Question), room.count(Document)) == (0, 0)


def test_old_looks_are_forgotten_and_audits_stay(room, ask):
    look_at, audit = ask(Asked(Where(operation=40))), ask()
    # A turn ends after a second, wherever it is.
    assert take_turn(room.resources) + take_turn(room.resources) == 2
    sweep(room.resources, waiting_message_count=0)
    assert (room.count(Question), room.count(Document)) == (2, 2)
    with of_all(room.engine) as session:
        session.execute(sa.text("UPDATE questions SET finished_at = now() - interval '31 days'"))
    sweep(room.resources, waiting_message_count=0)
    assert (room.count(Question), room.count(Document)) == (1, 1)
    assert read(room, audit)[1] is not None
    assert ask(Asked(Where(operation=40))) != look_at


def test_verify_reads_every_document(room, ask):
    ask()
    run(room.resources)

    def complaints():
        return list(verify.live(room.engine, room.blobs, lambda *_: None))

    assert complaints() == []
    with of_all(room.engine) as session:
        session.execute(sa.text("UPDATE documents SET body = 'x'"))
    [told] = complaints()
    assert "its body does not have the digest" in told
    with of_all(room.engine) as session:
        session.execute(sa.text("UPDATE documents SET level = 'flush'"))
    assert any("under another key" in told for told in complaints())
