"""Webhooks whose address or receiver does what no honest one does: theirs is the only loss."""

import contextlib
import http.client
import json
import socket
import threading

import pytest
import sqlalchemy as sa

from db.models import Project, Webhook, WebhookDelivery
from db.repositories import webhooks
from db.session import transaction
from refault.errors import InvalidRequest
from services.shared import outbound
from tests.fixtures.receiver import receiving
from tests.patience import PATIENCE_SECONDS
from tests.worker.conftest import change_settings
from tests.worker.test_webhooks import finish_a_batch, make_due, register, rows
from worker import webhooks as sender

# Names no resolver may be asked for: Python's own raises UnicodeError for the first three.
NO_HOSTS = [
    "...", "a..b", f"{'a' * 64}.example", ".", ".example", "-a.example", "a-.example", "a b",
    "a\x7fb", "é.example", "xn--\u2603", "%2e%2e", "a" * 254, "[::1%25eth0]", "[fe80::1%lo]",
    "[v1.x]", "[::g]", "a,b", "a_\\b", "",
]  # fmt: skip


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_refused_before_anybody_resolves_it(host):
    with pytest.raises(InvalidRequest, match="url: "):
        outbound.parse_url(f"http://{host}/")


@pytest.mark.parametrize("host", ["ci.example.org", "a_b.example", "8.8.8.8", "[2606:4700::1]"])
def test_hosts_that_are_some_stay_allowed(host):
    assert outbound.parse_url(f"https://{host}:8443/x?y=1").port == 8443


def of_another_project(engine, name, url, message_count=1):
    """A webhook of a new project, with messages that are due; its project's id."""
    with transaction(engine) as session:
        project = Project(name=name)
        session.add(project)
        session.flush()
        project_id = project.id
    with transaction(engine, project_id) as session:
        hook = webhooks.add(session, url, ["batch.finished"])
        session.add_all(
            WebhookDelivery(
                webhook_id=hook.id, event="batch.finished", body="{}", state="waiting",
                # Due long before anybody else's.
                next_at=sa.func.now() - sa.text("interval '1 hour'"),
            )
            for _ in range(message_count)
        )  # fmt: skip
    return project_id


@contextlib.contextmanager
def raw_receiver(answer):
    """A receiver that sends these bytes to everybody, whatever they say; its URL."""
    stop = threading.Event()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(answer)

    def listen(listener, threads):
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        threads.append(threading.Thread(target=listen, args=(listener, threads)))
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def state_of(engine, project_id):
    query = (
        sa.select(WebhookDelivery.state, WebhookDelivery.attempt_count, WebhookDelivery.last_error)
        .join(Webhook)
        .where(Webhook.project_id == project_id)
    )
    with transaction(engine) as session:
        return session.execute(query).one()


@pytest.mark.parametrize(
    "url", ["http://.../", f"http://{'a' * 64}.x/", "http://[::1", "", "\ud7ff"]
)
def test_an_address_of_an_earlier_release_that_is_none_stops_nobody_elses_message(
    room, allowed, engine, url
):
    """It was let in then, and raised what is no OSError in the round of deliveries."""
    other = of_another_project(engine, "other", url)
    with receiving() as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        assert sender.deliver(allowed) == 1
    assert len(receiver.messages) == 1
    state = state_of(engine, other)
    assert (state.state, state.attempt_count) == ("given_up", 1)
    assert state.last_error.startswith("url: ")


ANSWERS = [
    b"HTTP/1.1 \x00\x1b[2J 200\r\n\r\n",
    b"\x00\xff\xfe\r\n\r\n",
    b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
    b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 -1 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    b"HTTP/1.1 500 " + b"x" * 70_000 + b"\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
    b"",
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_whatever_a_receiver_answers_ends_its_own_attempt_and_no_other(
    room, allowed, engine, answer
):
    with raw_receiver(answer) as url, receiving() as receiver:
        other = of_another_project(engine, "other", url)
        register(engine, receiver.url)
        finish_a_batch(room)
        assert sender.deliver(allowed) == 1
    assert len(receiver.messages) == 1
    state = state_of(engine, other)
    assert (state.state, state.attempt_count) == ("waiting", 1)
    assert state.last_error
    assert state.last_error.isprintable()
    assert len(state.last_error) < 1000


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\nx",
     b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
     b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"],
)  # fmt: skip
def test_a_message_has_arrived_by_its_status_whatever_comes_after(room, allowed, engine, answer):
    with raw_receiver(answer) as url:
        register(engine, url)
        finish_a_batch(room)
        assert sender.deliver(allowed) == 1
    assert rows(engine)[0].state == "delivered"


@pytest.mark.parametrize(
    "failure",
    [UnicodeError("label empty or too long"), ValueError("odd"), RuntimeError("odd"), MemoryError(),
     RecursionError(), IndexError(), http.client.HTTPException("\x1b[2J\0")],
    ids=lambda failure: type(failure).__name__,
)  # fmt: skip
def test_whatever_a_resolver_raises_ends_that_attempt_alone(
    room, allowed, engine, monkeypatch, failure
):
    real = socket.getaddrinfo

    def answers(host, *arguments, **options):
        if host == "odd.example":
            raise failure
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    other = of_another_project(engine, "other", "http://odd.example/")
    with receiving() as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        assert sender.deliver(allowed) == 1
    state = state_of(engine, other)
    assert (state.state, state.attempt_count) == ("waiting", 1)
    assert type(failure).__name__ in state.last_error
    assert state.last_error.isprintable()


@pytest.mark.parametrize("found", [[], [(2, 1, 6, "", ("no address", 80))], [(2, 1, 6, "", ())]])
def test_an_answer_of_the_resolver_that_is_none_ends_that_attempt_alone(
    room, allowed, engine, monkeypatch, found
):
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **options: (
            found if host == "odd.example" else real(host, *rest, **options)
        ),
    )
    other = of_another_project(engine, "other", "http://odd.example/")
    with receiving() as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        assert sender.deliver(allowed) == 1
    assert state_of(engine, other).state == "waiting"


def test_a_resolver_that_never_answers_is_left_behind_and_takes_no_more_than_its_share(
    room, allowed, engine, monkeypatch
):
    change_settings(allowed, webhook_timeout_seconds=15)
    release = threading.Event()
    real = socket.getaddrinfo

    def answers(host, *arguments, **options):
        if host == "stuck.example":
            release.wait(PATIENCE_SECONDS)
            raise OSError("at last")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    other = of_another_project(engine, "other", "http://stuck.example/", message_count=20)
    try:
        with receiving() as receiver:
            register(engine, receiver.url)
            finish_a_batch(room)
            assert sender.deliver(allowed) == 1
            assert sender.deliver(allowed) == 0
        query = sa.select(sa.func.sum(WebhookDelivery.attempt_count)).join(Webhook)
        with transaction(engine) as session:
            tried = session.scalar(query.where(Webhook.project_id == other))
        assert tried == sender.AT_ONCE_MAX_OF_PROJECT
    finally:
        release.set()
        for thread in threading.enumerate():
            if thread.name.startswith("webhook "):
                thread.join()
    assert sender._Attempt.left_behind[other] == 0


def test_a_project_with_many_slow_receivers_does_not_delay_another_projects_message(
    room, allowed, engine
):
    """Its backlog is older and longer; the other one's message is among the first all the same."""
    arrived = threading.Event()
    before = []

    class Slow(threading.Thread):
        """Holds every connection until the other project's message is there."""

        def __init__(self, listener):
            super().__init__(daemon=True)
            self.listener = listener

        def run(self):
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = self.listener.accept()
                    before.append(arrived.is_set())
                    threading.Thread(target=self.hold, args=(connection,), daemon=True).start()

        def hold(self, connection):
            with connection, contextlib.suppress(OSError):
                asked = connection.makefile("rb")
                while asked.readline().strip():
                    pass
                asked.read(len("{}"))
                arrived.wait(PATIENCE_SECONDS)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    change_settings(allowed, webhook_timeout_seconds=PATIENCE_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as listener, receiving() as receiver:
        Slow(listener).start()
        place = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        of_another_project(engine, "slow", place, message_count=30)
        hook = register(engine, receiver.url)
        finish_a_batch(room)

        def watch():
            while not receiver.messages:
                arrived.wait(0.01)
            arrived.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert sender.deliver(allowed) == 31
        watcher.join()
    assert before.count(False) <= sender.AT_ONCE_MAX_OF_PROJECT
    assert [row.state for row in rows(engine) if row.webhook_id == hook.id] == ["delivered"]


def test_projects_and_their_webhooks_take_turns(room, engine):
    urls = {}
    for name in ("one", "two", "three"):
        project_id = of_another_project(engine, name, f"https://{name}.example/", message_count=3)
        urls[project_id] = name
    order = []
    with transaction(engine) as session:
        while taken := webhooks.take_due(session):
            order += [urls[due.project_id] for due in taken]
    assert len(order) == 9
    for begin in (0, 3, 6):
        assert len(set(order[begin : begin + 3])) == 3, order


def test_an_attempt_that_brings_its_sender_down_each_time_is_given_up_at_last(room, engine):
    """What is counted after the sending is never counted by who dies in it."""
    register(engine, "https://example.org/")
    finish_a_batch(room)
    taken_count = 0
    for _ in range(webhooks.ATTEMPTS_MAX + 3):
        with transaction(engine) as session:
            taken_count += len(webhooks.take_due(session))
        # Here it dies.
        make_due(engine)
    assert taken_count == webhooks.ATTEMPTS_MAX
    [row] = rows(engine)
    assert (row.state, row.attempt_count) == ("given_up", webhooks.ATTEMPTS_MAX)
    assert row.ended_at is not None


def test_a_batch_of_which_everything_is_known_announces_its_end(store, engine):
    register(engine, "https://example.org/")
    _, fence = store.plan_one_shard()
    store.record(store.claim(fence))
    again, messages = store.plan(patches=("zap-account",), plan="each")
    assert (again.state, messages) == ("done", ())
    [told] = [row for row in rows(engine) if again.code in row.body]
    assert told.event == "batch.finished"
    assert json.loads(told.body)["batch"]["state"] == "done"


def test_a_receiver_that_is_away_for_long_has_no_more_than_so_many_waiting(
    room, engine, monkeypatch
):
    monkeypatch.setattr(webhooks, "WAITING_MAX", 2)
    register(engine, "https://example.org/")
    other = register(engine, "https://example.com/")
    for _ in range(3):
        finish_a_batch(room)
    assert len(rows(engine)) == 4
    assert sum(row.webhook_id == other.id for row in rows(engine)) == 2
