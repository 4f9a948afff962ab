import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.client.event_stream import EventStreamParser, ServerSentEvent

STORY = (
    ": a comment\r\n\r\n"
    'event: step\nid: 4\ndata: {"a": 1}\n\n'
    "data: two\rdata: lines\r\r"
    "event: finished\ndata:no space\nretry: 250\nretry: soon\n\n"
    "data: a \u2028 line that is none\n\n"
    "id: 9\ndata\n\n"
    "event: without data\n\n"
    "data: unfinished\n"
)
EVENTS = [
    ServerSentEvent("step", '{"a": 1}', "4"),
    ServerSentEvent("message", "two\nlines", "4"),
    ServerSentEvent("finished", "no space", "4"),
    ServerSentEvent("message", "a \u2028 line that is none", "4"),
    ServerSentEvent("message", "", "9"),
]


@given(st.lists(st.integers(0, len(STORY)), max_size=12))
def test_the_events_are_the_same_however_the_text_is_cut(places):
    parser = EventStreamParser()
    found = []
    edges = [0, *sorted(places), len(STORY)]
    for start, end in itertools.pairwise(edges):
        found += parser.feed(STORY[start:end])

    assert found == EVENTS
    assert parser.retry_ms == 250


@pytest.mark.parametrize("text", ["", "\n\n\n", ": ping\n\n", "event: x\n\n", "nonsense\n\n"])
def test_what_holds_no_data_is_no_event(text):
    assert EventStreamParser().feed(text) == []


def test_an_id_with_a_nul_is_not_taken():
    parser = EventStreamParser()

    (event,) = parser.feed("id: 1\nid: 2\0\ndata: x\n\n")

    assert event.id == "1"
