"""A bundle on its way from a service that is busy, or that answers as nobody asked."""

import contextlib
import http.server
import threading

import pytest

from refault.client import Client, connection
from refault.errors import Refused

BODY = b"PK" + bytes(300_000)


@contextlib.contextmanager
def service(*answers):
    """Answers one after the other: status, headers and body; yields its address and requests."""
    left, seen = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers.items()))
            status, headers, body = left.pop(0)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_waited_for_as_long_as_it_says(tmp_path, status, monkeypatch):
    waited = []
    monkeypatch.setattr("refault.client.synchronous.bundles.sleep", waited.append)
    busy = (status, {"retry-after": "3"}, b"")
    with service(busy, busy, (200, {}, BODY)) as (url, seen), Client(url) as client:
        client.save_bundle("b-1", tmp_path / "b.zip")

    assert waited == [3.0, 3.0]
    assert (tmp_path / "b.zip").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
    names = [{name.lower(): value for name, value in each.items()} for each in seen]
    assert {each["accept-encoding"] for each in names} == {"identity"}


def test_it_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("refault.client.synchronous.bundles.sleep", lambda _: None)
    busy = (503, {"retry-after": str(int(connection.PATIENCE_S * 0.6))}, b"")
    with (
        service(busy, busy) as (url, _),
        Client(url) as client,
        pytest.raises(Exception, match="503"),
    ):
        client.save_bundle("b-1", tmp_path / "b.zip")

    assert list(tmp_path.iterdir()) == []


def test_a_packed_answer_that_nobody_asked_for_is_refused(tmp_path):
    packed = (200, {"content-encoding": "gzip"}, BODY)
    with (
        service(packed) as (url, _),
        Client(url) as client,
        pytest.raises(Refused, match="an encoding that was not asked for"),
    ):
        client.save_bundle("b-1", tmp_path / "b.zip")

    assert list(tmp_path.iterdir()) == []
