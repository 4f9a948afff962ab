"""Webhooks against real receivers on loopback, which a setting allows."""

import contextlib
import hashlib
import hmac
import json
import socket
import threading
import time

import pytest
import sqlalchemy as sa

from db.models import FIRST_PROJECT, Project, WebhookDelivery
from db.repositories import webhooks
from db.session import transaction
from db.shards import cancelling, endings
from refault.errors import InvalidRequest
from services.shared import outbound
from tests.fixtures.receiver import receiving
from tests.worker.conftest import change_settings
from worker import webhooks as sender


def register(engine, url, events=("batch.finished",)):
    with transaction(engine, FIRST_PROJECT) as session:
        return webhooks.add(session, url, events)


def finish_a_batch(room):
    """Cancelled at once: a batch that is over, without a worker."""
    batch, _ = room.plan_one_shard()
    with transaction(room.engine) as session:
        cancelling.cancel(session, batch.id)
    return batch


def rows(engine):
    with transaction(engine) as session:
        return session.scalars(sa.select(WebhookDelivery).order_by(WebhookDelivery.id)).all()


def make_due(engine):
    with transaction(engine) as session:
        session.execute(
            sa.update(WebhookDelivery)
            .where(WebhookDelivery.next_at.is_not(None))
            .values(next_at=sa.func.now())
        )


def test_a_finished_batch_is_told_once_and_signed(room, allowed, engine):
    with receiving() as receiver:
        hook = register(engine, receiver.url)
        batch = finish_a_batch(room)
        assert sender.deliver(allowed) == 1
        assert sender.deliver(allowed) == 0
    [(path, headers, body)] = receiver.messages
    assert path == "/hook?x=1"
    assert headers["Host"] == receiver.url.split("/")[2]
    timestamp = headers["X-Refault-Timestamp"]
    # Worked out here, as a receiver would.
    expected = hmac.new(hook.secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    assert headers["X-Refault-Signature"] == f"v1={expected.hexdigest()}"
    assert abs(int(timestamp) - time.time()) < 60
    told = json.loads(body)
    assert (told["event"], told["batch"]["code"]) == ("batch.finished", batch.code)
    assert told["batch"]["state"] == "cancelled"
    assert told["id"] == headers["X-Refault-Delivery"]
    [row] = rows(engine)
    assert (row.state, row.attempt_count, row.last_status) == ("delivered", 1, 204)


def test_a_failed_batch_and_an_alarm_have_events_of_their_own(room, engine):
    register(engine, "https://example.org/", ["batch.failed", "integrity.alarm"])
    _, fence = room.plan_one_shard()
    room.claim(fence)
    with transaction(engine) as session:
        endings.fail(session, fence, "it cannot be replayed")
    finish_a_batch(room)
    assert [row.event for row in rows(engine)] == ["batch.failed"]


def test_an_alarm_names_the_trace_and_the_variant(store, engine):
    register(engine, "https://example.org/", ["integrity.alarm"])
    for findings in (0, 1):
        _, fence = store.plan_one_shard(recompute=True)
        store.record(store.claim(fence), event_count=5000 + findings)
    [row] = rows(engine)
    body = json.loads(row.body)
    assert row.event == "integrity.alarm"
    assert len(body["variant_digests"]) == 1
    assert len(body["trace_digest"]) == 64


def test_what_is_rolled_back_is_not_told(room, engine):
    register(engine, "https://example.org/")
    batch, _ = room.plan_one_shard()
    with contextlib.suppress(RuntimeError), transaction(engine) as session:
        assert webhooks.announce(session, "batch.finished", batch) == 1
        raise RuntimeError
    assert rows(engine) == []


def test_another_projects_batches_are_not_told(room, engine):
    with transaction(engine) as session:
        other = Project(name="other")
        session.add(other)
        session.flush()
        project_id = other.id
    with transaction(engine, project_id) as session:
        webhooks.add(session, "https://example.org/", ["batch.finished"])
    finish_a_batch(room)
    assert rows(engine) == []


def test_a_refused_message_comes_again_later_and_later_until_it_arrives(room, allowed, engine):
    with receiving((500, {}), (503, {}), (200, {})) as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        pauses = []
        for _ in range(2):
            assert sender.deliver(allowed) == 0
            [row] = rows(engine)
            with transaction(engine) as session:
                pauses.append((row.next_at - session.scalar(sa.select(sa.func.now()))).seconds)
            assert sender.deliver(allowed) == 0, "it was sent before it was due"
            make_due(engine)
        assert sender.deliver(allowed) == 1
    assert len(receiver.messages) == 3
    assert len({headers["X-Refault-Delivery"] for _, headers, _ in receiver.messages}) == 1
    assert pauses[0] < webhooks.BACKOFF_SECONDS <= pauses[1]
    assert rows(engine)[0].attempt_count == 3


def test_a_message_is_given_up_after_the_last_attempt(room, allowed, engine):
    with receiving((500, {})) as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        for _ in range(webhooks.ATTEMPTS_MAX + 2):
            sender.deliver(allowed)
            make_due(engine)
    assert len(receiver.messages) == webhooks.ATTEMPTS_MAX
    [row] = rows(engine)
    assert (row.state, row.last_status) == ("given_up", 500)


def test_a_receiver_that_is_gone_is_not_asked_again(room, allowed, engine):
    with receiving((410, {})) as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        sender.deliver(allowed)
    assert rows(engine)[0].state == "given_up"


def test_a_redirect_is_not_followed(room, allowed, engine):
    with receiving() as inner, receiving((302, {"location": inner.url})) as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        assert sender.deliver(allowed) == 0
    assert (len(receiver.messages), len(inner.messages)) == (1, 0)
    assert rows(engine)[0].last_status == 302


def test_a_receiver_that_sends_a_byte_now_and_then_is_cut(room, allowed, engine):
    change_settings(allowed, webhook_timeout_seconds=0.5)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\n" * 1000:
                    if stop.wait(0.1):
                        break
                    connection.sendall(bytes([byte]))

        thread = threading.Thread(target=drip)
        thread.start()
        register(engine, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finish_a_batch(room)
        assert sender.deliver(allowed) == 0
        stop.set()
        thread.join()
    assert "no answer within 0.5 s" in rows(engine)[0].last_error


def test_an_answer_without_end_is_not_read_to_its_end(room, allowed, engine):
    change_settings(allowed, webhook_timeout_seconds=0.5)
    with receiving((200, {"content-length": str(1 << 40)})) as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        # The receiver closes early or late: its status was there, or the time is up.
        sender.deliver(allowed)
    assert rows(engine)[0].state in ("delivered", "waiting")


def test_a_sender_that_dies_between_attempts_loses_nothing(room, allowed, engine):
    with receiving() as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        with transaction(engine) as session:
            [taken] = webhooks.take_due(session)
        # It died here, having sent nothing. Until its claim is over, nobody else sends.
        assert sender.deliver(allowed) == 0
        make_due(engine)
        assert sender.deliver(allowed) == 1
        # It was only frozen, and says now that it failed: too late to change anything.
        with transaction(engine) as session:
            webhooks.failed(session, taken, "too late")
    assert len(receiver.messages) == 1
    assert (rows(engine)[0].state, rows(engine)[0].last_error) == ("delivered", None)


def test_loopback_is_refused_for_good_unless_the_setting_allows_it(room, resources, engine):
    with receiving() as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        assert sender.deliver(resources) == 0
    assert receiver.messages == []
    [row] = rows(engine)
    assert row.state == "given_up"
    assert "REFAULT_WEBHOOK_NETWORKS" in row.last_error


FORBIDDEN = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2001:0:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_no_form_of_an_inner_address_is_permitted(address):
    assert not outbound.is_permitted(outbound.ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_permitted(address):
    assert outbound.is_permitted(outbound.ipaddress.ip_address(address), ())


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001", "localhost"])
def test_old_spellings_of_loopback_are_seen_through(host):
    with pytest.raises(InvalidRequest, match="not a public address"):
        outbound.resolve(outbound.parse_url(f"http://{host}/"), ())


def test_a_name_with_one_inner_address_among_public_ones_is_refused(monkeypatch):
    def answers(host, port, **_):
        assert host == "rebind.example"
        return [(2, 1, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    with pytest.raises(InvalidRequest, match=r"10\.0\.0\.1"):
        outbound.resolve(outbound.parse_url("https://rebind.example/"), ())


def test_a_name_is_asked_once_and_the_judged_address_is_the_one_connected_to(
    room, allowed, engine, monkeypatch
):
    asked = []
    real = socket.getaddrinfo

    def answers(host, port, *arguments, **options):
        if host != "moving.example":
            return real(host, port, *arguments, **options)
        asked.append(host)
        # A second question would lead elsewhere.
        address = "127.0.0.1" if len(asked) == 1 else "10.255.255.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with receiving() as receiver:
        port = receiver.server.server_port
        register(engine, f"http://moving.example:{port}/")
        finish_a_batch(room)
        monkeypatch.setattr(socket, "getaddrinfo", answers)
        assert sender.deliver(allowed) == 1
    assert asked == ["moving.example"]
    assert receiver.messages[0][1]["Host"] == f"moving.example:{port}"


def test_a_receiver_that_speaks_no_tls_gets_no_message(room, allowed, engine):
    with receiving() as receiver:
        register(engine, receiver.url.replace("http://", "https://"))
        finish_a_batch(room)
        assert sender.deliver(allowed) == 0
    assert receiver.messages == []
    assert "SSL" in rows(engine)[0].last_error


def test_rows_of_old_messages_are_forgotten(room, allowed, engine):
    with receiving() as receiver:
        register(engine, receiver.url)
        finish_a_batch(room)
        sender.deliver(allowed)
        with transaction(engine) as session:
            session.execute(
                sa.update(WebhookDelivery).values(
                    ended_at=sa.func.now() - sa.text("interval '31 days'")
                )
            )
        sender.deliver(allowed)
    assert rows(engine) == []
