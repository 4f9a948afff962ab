import itertools

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.client import BatchEvent, event_stream
from refault.client.asynchronous import bodies as asynchronous
from refault.client.synchronous import bodies as synchronous
from refault.errors import Refused

STORY = (
    ": a comment\r\n\r\n"
    'event: step\nid: 4\ndata: {"a": 1}\n\n'
    ": another\n\n"
    'data: {"two":\rdata: "lines"}\r\r'
    'event: finished\ndata:{"no": "space"}\nretry: 250\nretry: soon\n\n'
    'data: {"a \u2028 line": "that is none"}\n\n'
    "id: 9\ndata\n\n"
    "event: without data\n\n"
    "data: {}\r\n\r\n"
    "data: unfinished\n"
).encode()
EVENTS = [
    BatchEvent("4", "step", {"a": 1}),
    BatchEvent("4", "message", {"two": "lines"}),
    BatchEvent("4", "finished", {"no": "space"}),
    BatchEvent("4", "message", {"a \u2028 line": "that is none"}),
    BatchEvent("9", "message", {}),
]


def answer(content, kind="text/event-stream"):
    request = httpx.Request("GET", "http://x")
    return httpx.Response(200, headers={"content-type": kind}, content=content, request=request)


def read(*parts, **answered):
    return list(synchronous.events(answer(iter(parts), **answered)))


def read_async(*parts):
    async def content():
        for part in parts:
            yield part

    async def events():
        return [event async for event in asynchronous.events(answer(content()))]

    return anyio.run(events)


@pytest.mark.parametrize("reading", [read, read_async])
def test_both_clients_read_the_events(reading):
    assert reading(STORY[:70], STORY[70:]) == EVENTS


@given(st.lists(st.integers(0, len(STORY)), max_size=12))
def test_the_events_are_the_same_however_the_bytes_are_cut(places):
    edges = [0, *sorted(places), len(STORY)]

    assert read(*(STORY[start:end] for start, end in itertools.pairwise(edges))) == EVENTS


@pytest.mark.parametrize("text", [b"", b"\n\n\n", b": ping\n\n", b"event: x\n\n", b"nonsense\n\n"])
def test_what_holds_no_data_is_no_event(text):
    assert read(text) == []


def test_an_id_with_a_nul_is_not_taken():
    (event,) = read(b"id: 1\nid: 2\0\ndata: {}\n\n")

    assert event.id == "1"


def test_an_id_that_no_header_can_carry_is_refused():
    with pytest.raises(Refused, match="an event whose id is not printable ASCII"):
        read("id: ä\ndata: {}\n\n".encode())


@pytest.mark.parametrize("kind", ["text/html", "application/json", ""])
def test_an_answer_that_is_no_stream_of_events_is_refused(kind):
    with pytest.raises(Refused, match="did not answer with a stream of events"):
        read(STORY, kind=kind)


def test_no_charset_but_utf_8_is_taken():
    assert read(STORY, kind="text/event-stream; charset=utf-16") == EVENTS


@pytest.mark.parametrize("line", [b"data: x\n", b"event: x\r", b"x" * 100])
@pytest.mark.parametrize("reading", [read, read_async])
def test_an_event_has_a_bound(reading, line, monkeypatch):
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 1000)
    with pytest.raises(Refused, match="holds an event of more than 1000 bytes"):
        reading(*[line] * 1000)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_stream_has_none(end, step, monkeypatch):
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 20)
    text = (b": ping" + end + b'data: {"a": 1}' + end) * 50

    events = read(*(text[start : start + step] for start in range(0, len(text), step)))

    assert len(events) == 50
