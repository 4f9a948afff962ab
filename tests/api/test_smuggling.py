"""Requests no client of ours would send, against the server as it is deployed."""

import contextlib
import select
import socket

import httpx

from tests.patience import PATIENCE_SECONDS

# A second answer would follow the first at once.
PAUSE_SECONDS = 0.7
HIDDEN = b"GET /api/v1/traces HTTP/1.1\r\nHost: x\r\n\r\n"


def sent(server, request: bytes) -> bytes:
    """All that is answered to these bytes until the server closes or, once it has begun, pauses."""
    address = httpx.URL(server.address)
    place = address.host, address.port
    answered = b""
    with socket.create_connection(place, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answered += chunk
                if not select.select([connection], [], [], PAUSE_SECONDS)[0]:
                    break
    return answered


def request(server, *headers: str, body: bytes = b"", path="/api/v1/patch_sets") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


# Each test asks one server all of its questions: to start one takes longer than to ask.
LENGTHS = [
    ("Content-Length: 0", f"Content-Length: {len(HIDDEN)}"),
    (f"Content-Length: {len(HIDDEN)}", "Content-Length: 0"),
    ("Content-Length: 0, 41",),
    ("Content-Length: +0",),
    ("Content-Length: 0x0",),
    ("Content-Length: -1",),
    ("Content-Length : 0",),
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    ("Transfer-Encoding: xchunked", "Content-Length: 0"),
    ("X-A: b\rContent-Length: 0",),
    ("X-A: b\0c",),
    (" X-Folded: at the start",),
]
NAMES = ["%0d%0aset-cookie:%20a=b", "%0d%0a%0d%0a<html>", "a%00b", "..%2f..%2fetc%2fpasswd"]
PLACES = ["/login?next=/{}", "/batches/{}", "/api/v1/batches/{}", "/s/{}", "/static/{}"]
SPELLINGS = [
    "//api/v1/traces",
    "/api/v1//traces",
    "/api/v1/problems/../traces",
    "/api/v1/problems/%2e%2e/traces",
    "/API/v1/traces",
    "/healthz/../api/v1/traces",
    "/api/v1/traces/",
    "/api/v1/traces;a=b",
]


def test_a_length_said_twice_or_wrongly_hides_no_second_request(server):
    for headers in LENGTHS:
        answered = sent(server, request(server, *headers, body=HIDDEN))
        # Refused, or the one request answered with a problem: the hidden one never is, and it
        # would have told itself by a 401 of its own.
        assert b"HTTP/1.1 2" not in answered, (headers, answered)
        assert b"HTTP/1.1 401" not in answered, (headers, answered)


def test_a_length_beside_chunks_hides_no_second_request(server):
    chunks = b"0\r\n\r\n"
    headers = (f"Content-Length: {len(chunks + HIDDEN)}", "Transfer-Encoding: chunked")
    answered = sent(server, request(server, *headers, body=chunks + HIDDEN))

    # RFC 9112, 6.3: the chunks count, and what follows is a request of its own, without a token,
    # or the whole is refused.
    assert b'"items"' not in answered, answered
    assert b"HTTP/1.1 2" not in answered, answered


def test_what_an_address_says_becomes_no_header_and_no_file(server):
    with httpx.Client(base_url=server.address, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        for place in PLACES:
            for name in NAMES:
                answer = http.get(place.format(name))
                assert "set-cookie" not in answer.headers, (place, name)
                assert answer.status_code in {200, 303, 401, 404, 422}, (place, name)
                assert "root:" not in answer.text, (place, name)


def test_a_request_id_that_is_not_plain_is_not_repeated(server):
    for given in ("a\r\nset-cookie: b=c", "x" * 65, "é", "<script>"):
        answered = sent(server, request(server, f"X-Request-Id: {given}", "Content-Length: 0"))
        head = answered.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith(b"http/1.1 4"), given
        assert b"set-cookie" not in head, given
        assert given.encode().lower() not in head, given


def test_no_host_makes_a_guarded_address_a_public_one(server):
    for host in ("x/healthz?", "x/healthz#", "x/api/v1/problems/", "x/api/v1/sessions?", "@x", ""):
        for path in ("/api/v1/traces", "/api/v1/users", "/api/v1/me"):
            answered = sent(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answered.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400")), (host, path, answered)


def test_no_spelling_of_an_address_goes_round_the_door(server):
    for path in SPELLINGS:
        answered = sent(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert answered.startswith(b"HTTP/1.1 "), path
        assert b'"items"' not in answered, path
        assert b"HTTP/1.1 2" not in answered, path
