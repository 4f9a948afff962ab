"""Webhooks over HTTPS: the receiver's certificate is looked at before anything is said."""

import datetime
import socket
import ssl

import pytest
import trustme

from tests.fixtures.receiver import receiving
from tests.worker.test_webhooks import finish_a_batch, register, rows
from worker import webhooks as sender

NAME = "hooks.example"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """The operator trusts the authority, as docs/howto/operate.md says."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


@pytest.fixture(autouse=True)
def _name_leads_to_loopback(monkeypatch):
    real = socket.getaddrinfo

    def answers(host, port, *arguments, **options):
        if host != NAME:
            return real(host, port, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answers)


def presenting(authority, *names, **options):
    """A receiver's side of TLS, with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


def delivered(room, allowed, engine, tls):
    """How many messages arrived, those the receiver saw, and the last error."""
    with receiving(tls=tls) as receiver:
        register(engine, f"https://{NAME}:{receiver.server.server_port}/hook?x=1")
        finish_a_batch(room)
        arrived_count = sender.deliver(allowed)
    [row] = rows(engine)
    return arrived_count, receiver.messages, row.last_error or ""


def test_a_good_certificate_of_an_authority_that_is_trusted_gets_the_message(
    room, allowed, engine, authority, trusted
):
    arrived_count, messages, error = delivered(room, allowed, engine, presenting(authority, NAME))

    assert (arrived_count, error) == (1, "")
    [(path, headers, _)] = messages
    assert path == "/hook?x=1"
    assert headers["Host"].startswith(f"{NAME}:")
    assert headers["X-Refault-Event"] == "batch.finished"


def test_a_certificate_nobody_vouches_for_is_refused(room, allowed, engine, authority):
    """The authority is not trusted here: no message leaves before the handshake."""
    tls = presenting(authority, NAME)
    arrived_count, messages, error = delivered(room, allowed, engine, tls)

    assert (arrived_count, messages) == (0, [])
    assert "CERTIFICATE_VERIFY_FAILED" in error


def test_a_certificate_of_another_authority_is_refused(room, allowed, engine, trusted):
    tls = presenting(trustme.CA(), NAME)
    arrived_count, messages, error = delivered(room, allowed, engine, tls)

    assert (arrived_count, messages) == (0, [])
    assert "CERTIFICATE_VERIFY_FAILED" in error


@pytest.mark.parametrize("name", ["other.example", "127.0.0.1", "hooks.example.evil.test"])
def test_a_certificate_for_another_name_is_refused(room, allowed, engine, authority, trusted, name):
    """Also one for the very address that is connected to: the name is what was registered."""
    tls = presenting(authority, name)
    arrived_count, messages, error = delivered(room, allowed, engine, tls)

    assert (arrived_count, messages) == (0, [])
    assert "CERTIFICATE_VERIFY_FAILED" in error
    assert NAME in error


def test_a_certificate_whose_time_is_over_is_refused(room, allowed, engine, authority, trusted):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    tls = presenting(authority, NAME, not_after=yesterday)
    arrived_count, messages, error = delivered(room, allowed, engine, tls)

    assert (arrived_count, messages) == (0, [])
    assert "expired" in error
