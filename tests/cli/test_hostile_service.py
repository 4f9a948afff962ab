"""What a service says is shown clean, held to bounds and to a shape, and believed no further."""

import gzip
import json
from functools import partial

import pytest

from refault.cli.exits import ExitCode
from refault.client import Client, answers
from refault.errors import InvalidRequest, ServiceError
from tests.cli import stranger as strange
from tests.cli.running import run_here
from tests.fixtures.api import trace_bytes

ESCAPES = "a\x1b[2Jb\u202e\x9b\x7f\ud800[red]c"
SHOWN = "a\\x1b[2Jb\\u202e\\x9b\\x7f\\ud800[red]c"
DIGEST = "0" * 64
TRACE = {
    "id": "i", "digest": DIGEST, "name": "n", "content": "capture", "guest_mode": "long",
    "vcpu_count": 1, "size_bytes": 1, "event_count": 1, "instruction_count": 0,
    "events_by_kind": {}, "truncated": False, "tags": [], "note": "", "guest": {},
    "statistics": {}, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


@pytest.fixture
def stranger():
    with strange.stranger() as server:
        yield server


@pytest.fixture
def refault(stranger, monkeypatch, tmp_path):
    return partial(run_here, monkeypatch, tmp_path, REFAULT_URL=stranger.url)


def answering(stranger, value, **told):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    stranger.answer = lambda _: [strange.body(data, **told)]


def test_a_name_of_a_trace_reaches_the_terminal_without_its_escapes(stranger, refault):
    answering(stranger, {"items": [{**TRACE, "name": ESCAPES}], "next_cursor": None})

    table, told = refault("traces", "list"), refault("traces", "list", "--json")

    assert table.returncode == told.returncode == 0, table.stderr
    assert table.stdout.isprintable() or set(table.stdout) - {"\n"} == {
        char for char in table.stdout if char.isprintable()
    }
    assert told.stdout.isascii()
    assert not set(told.stdout) & {"\x1b", "\x7f"}
    assert json.loads(told.stdout)[0]["name"] == ESCAPES


def test_a_problem_reaches_the_terminal_without_its_escapes(stranger, refault):
    problem = {
        "detail": f"{ESCAPES}\nrefault: all is well",
        "errors": [{"pointer": ESCAPES, "detail": "x y"}],
    }
    answering(stranger, problem, status="409 Conflict", kind="application/problem+json")

    answer = refault("traces", "list")

    assert answer.returncode == ExitCode.REFUSED
    first, second = answer.stderr.splitlines()
    assert first == f"refault: {SHOWN}\\nrefault: all is well"
    assert second == f"  {SHOWN}: x y"


def test_a_text_of_a_service_reaches_the_terminal_without_its_escapes(stranger, refault):
    document = {
        "batch": {"code": "b", "state": "done", "progress": {}, "links": {"page": "/"}},
        "verdict": {"status": "identical", "exit_code": 0},
        "comparisons": [],
        "next_cursor": None,
    }

    def answer(head):
        is_text = b".txt" in head.partition(b"\r\n")[0]
        data = ESCAPES.encode("utf-8", "replace") if is_text else json.dumps(document).encode()
        return [
            strange.body(data, kind="text/plain; charset=zip" if is_text else "application/json")
        ]

    stranger.answer = answer
    assert refault("report", "b").stdout == "a\\x1b[2Jb\\u202e\\x9b\\x7f?[red]c"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"items": NaN}',
        b'{"items": 3, "next_cursor": null}',
        b'{"items": [3], "next_cursor": null}',
        b'{"items": [{"id": 1}], "next_cursor": null}',
        b'{"items": [' + b"9" * 5000 + b'], "next_cursor": null}',
        json.dumps({"items": [{**TRACE, "created_at": None}], "next_cursor": None}).encode(),
        json.dumps({"items": [{**TRACE, "truncated": 1}], "next_cursor": None}).encode(),
    ],
)
def test_an_answer_that_is_none_of_ours_is_one_line(stranger, refault, answer):
    answering(stranger, answer)

    told = refault("traces", "list")

    assert told.returncode == ExitCode.REFUSED
    assert told.stderr.count("\n") == 1
    assert "is a refault service of this version there?" in told.stderr


@pytest.mark.parametrize("verb", ["list", "show", "cancel", "resume", "retry"])
def test_a_batch_of_another_shape_is_one_line_for_every_verb(stranger, refault, verb):
    answering(stranger, {"items": [{"code": "b"}], "next_cursor": None, "code": "b"})

    told = refault("batches", verb, *(() if verb == "list" else ("b",)))

    assert (told.returncode, told.stderr.count("\n")) == (ExitCode.REFUSED, 1)


@pytest.mark.parametrize("verb", ["watch", "report", "compare"])
def test_a_comparison_of_another_shape_is_one_line(stranger, refault, verb):
    event = b"event: finished\ndata: {}\n\n"

    def answer(head):
        if b"/events" in head.partition(b"\r\n")[0]:
            return [strange.body(event, kind="text/event-stream")]
        return [strange.body(b'{"batch": {}, "comparisons": 3}')]

    stranger.answer = answer
    told = refault(verb, "b")

    assert (told.returncode, told.stderr.count("\n")) == (ExitCode.REFUSED, 1), told.stderr


@pytest.mark.parametrize("headers", [(), ("content-encoding: gzip",)], ids=["plain", "compressed"])
def test_an_answer_that_never_ends_is_refused_at_its_bound(stranger, refault, monkeypatch, headers):
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 1 << 20)
    part = gzip.compress(bytes(1 << 20)) if headers else b" " * 65536
    stranger.answer = lambda _: strange.endless(part, headers=headers)

    told = refault("traces", "list")

    assert told.returncode == ExitCode.REFUSED
    assert "answered more than 1 MiB" in told.stderr


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        (b"data: " + b"x" * 65536, "holds an event of more than"),
        (b"data: x\n", "holds an event of more than"),
        (b"data: {\n\n", "holds something else than JSON"),
        (b"data: []\n\n", "holds something else than JSON"),
        (b"data: " + b"[" * 60000 + b"\n\n", "holds something else than JSON"),
    ],
)
def test_a_stream_of_events_that_is_none_of_ours_is_refused(stranger, refault, part, complaint):
    stranger.answer = lambda _: strange.endless(part, kind="text/event-stream")

    told = refault("watch", "b")

    assert (told.returncode, told.stderr.count("\n")) == (ExitCode.REFUSED, 1)
    assert complaint in told.stderr


@pytest.mark.parametrize(
    "delay", ["9" * 5000, "-1", "Mon, 01 Jan 99999 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_service_cannot_make_the_client_wait_for_ever(stranger, refault, delay):
    seen = []

    def answer(head):
        seen.append(head)
        return [strange.body(b"{}", status="503 Busy", headers=[f"retry-after: {delay}"])]

    stranger.answer = answer
    assert refault("traces", "list").returncode == ExitCode.UNREACHABLE


@pytest.mark.parametrize("word", ["\ud800", "a\0b", "\x1b[31m"])
def test_what_no_name_holds_is_refused_before_it_is_asked_for(stranger, refault, word):
    answering(stranger, {"items": [], "next_cursor": None})

    for verb in (("batches", "show"), ("watch",), ("compare",), ("repro",), ("report",)):
        told = refault(*verb, word)
        assert (told.returncode, told.stderr.count("\n")) == (ExitCode.BAD_INPUT, 1), verb
    assert stranger.asked == []


@pytest.mark.parametrize("number", ["9" * 5000, "1" * 30])
def test_a_number_of_thousands_of_digits_is_bad_input(stranger, refault, tmp_path, number):
    asked = [
        ("submit", "t", "-p", "base", "--axis", f"page_limit={number}"),
        ("submit", "t", "-p", f"base,page-limit={number}"),
        ("submit", "t", "-p", f"base,page-limit=1/{number}/3"),
        ("traces", "list", "--timeout", number),
        ("replay", "t", "-v", f"base,tlb={number}"),
        ("replay", "t", "--page-limit", number),
        ("import", "t", "--ram-mib", number),
    ]
    for arguments in asked:
        told = refault(*arguments)
        assert told.returncode == ExitCode.BAD_INPUT, (arguments, told.stderr)
        assert "Traceback" not in told.stderr


def upload(stranger, state, monkeypatch, **headers):
    """A service that has the beginnings of every upload, and answers each part by ``headers``."""
    monkeypatch.setattr("refault.client.resumable.LARGE_BYTES", 1)
    monkeypatch.setattr("refault.client.connection.reconnect_delay_s", lambda _: 0.0)

    def answer(head):
        line = head.partition(b"\r\n")[0]
        if line.startswith(b"HEAD"):
            return [strange.body(b"", status="404 No")]
        if line.startswith(b"PATCH"):
            return [strange.body(b"", status=headers["status"], headers=headers.get("headers", ()))]
        if b"digest=" in line:
            items = {"items": [state] if state else [], "next_cursor": None}
            return [strange.body(json.dumps(items).encode())]
        if line.startswith(b"POST"):
            return [strange.body(b"{}", status="201 Made", headers=headers.get("place", ()))]
        return [strange.body(json.dumps(state).encode())]

    stranger.answer = answer


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"offset_bytes": -1}, {"status": "204 Done"}),
        ({"offset_bytes": 10**9}, {"status": "204 Done"}),
        ({"offset_bytes": "x"}, {"status": "204 Done"}),
        ({}, {"status": "204 Done"}),
        ({}, {"status": "204 Done", "headers": ["upload-offset: 0"]}),
        ({}, {"status": "204 Done", "headers": [f"upload-offset: {'9' * 5000}"]}),
        (None, {"status": "204 Done"}),
        (None, {"status": "204 Done", "place": ["location: http://["]}),
        ({}, {"status": "409 No"}),
    ],
)
def test_an_upload_to_a_service_that_makes_no_sense_ends(
    stranger, refault, monkeypatch, tmp_path, state, told
):
    file = tmp_path / "t.rft"
    file.write_bytes(trace_bytes())
    size = file.stat().st_size
    known = {"id": "u", "state": "open", "size_bytes": size, "offset_bytes": 0}
    upload(stranger, None if state is None else known | state, monkeypatch, **told)

    answer = refault("push", file)

    assert answer.returncode in {ExitCode.REFUSED, ExitCode.UNREACHABLE}, answer.stderr
    assert answer.stderr.count("\n") == 1


RUN = {
    "id": "r", "batch_id": "b", "trace_id": "t", "trace_digest": DIGEST, "state": "done",
    "variant": {"digest": DIGEST, "name": "n", "golden_name": None, "text": "base"},
    "error": None, "created_at": "x", "finished_at": None,
}  # fmt: skip


def test_a_trace_is_kept_under_no_path_that_a_service_names(stranger, tmp_path):

    with Client(stranger.url) as client:
        for digest in ("../../victim", "0" * 63, "0" * 64 + "\n", "A" * 64):
            with pytest.raises(InvalidRequest, match="not a sha256"):
                client.download_trace(digest, tmp_path / "x.rft")
    assert list(tmp_path.iterdir()) == []
    assert stranger.asked == []


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda: strange.endless(bytes(65536)), "does not say how long it is"),
        (lambda: [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999\r\n\r\n"], "has room for"),
    ],
)
def test_a_download_without_a_believable_length_leaves_nothing(
    stranger, tmp_path, answer, complaint
):

    stranger.answer = lambda _: answer()
    stranger.is_closing = True
    with Client(stranger.url) as client, pytest.raises(ServiceError, match=complaint):
        client.download_trace(DIGEST, tmp_path / "x.rft")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_download_writes_through_no_link(stranger, tmp_path):

    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "x.rft.part").symlink_to(victim)

    with Client(stranger.url) as client, pytest.raises(InvalidRequest, match="cannot be written"):
        client.download_trace(DIGEST, tmp_path / "x.rft")
    assert victim.read_text() == "mine"
