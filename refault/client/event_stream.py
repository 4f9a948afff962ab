"""Server-sent events, read from chunks of text as they arrive.

Lines end at CR, LF or CRLF only (HTML standard, 9.2.6). ``str.splitlines``
also splits at U+2028 and its like, which JSON may carry, so it is not used.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass

from refault.client.documents import BatchEvent
from refault.errors import Refused

# No event of the service comes near it; without a bound a stream without a line end fills memory.
MAX_EVENT_LENGTH = 1 << 20
_LINE_COST = 64  # what keeping a line takes besides its text
_RETRY_DIGITS = 9
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class ServerSentEvent:
    """One event; ``id`` is the last one the stream has named so far."""

    event: str
    data: str
    id: str


class EventStreamParser:
    """Turns the text of a ``text/event-stream`` into events.

    ``retry_ms`` is how long the server asked to wait before connecting again.
    """

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self._last_id = ""
        self._pending = ""
        self._event = ""
        self._data: list[str] = []
        self._held = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def batch_events(self, data: bytes) -> list[BatchEvent]:
        """The events of a batch that ``data`` completes; ``Refused`` if they are none."""
        try:
            return [
                BatchEvent(event.id, event.event, _json_object(event.data))
                for event in self.feed(self._decoder.decode(data))
            ]
        except (ValueError, RecursionError) as error:
            raise _not_ours("holds something else than JSON") from error

    def feed(self, text: str) -> list[ServerSentEvent]:
        """The events that ``text`` completes. An unfinished one waits for the next call."""
        events: list[ServerSentEvent] = []
        # Of what waited, only a CR at its end can be a line end.
        start = max(len(self._pending) - 1, 0)
        self._pending += text
        position = 0
        for match in _LINE_END.finditer(self._pending, start):
            # A CR at the very end may be the first half of a CRLF.
            if match.group() == "\r" and match.end() == len(self._pending):
                break
            event = self._line(self._pending[position : match.start()])
            if event is not None:
                events.append(event)
            position = match.end()
        self._pending = self._pending[position:]
        if len(self._pending) + self._held > MAX_EVENT_LENGTH:
            raise _not_ours(f"holds an event of more than {MAX_EVENT_LENGTH} characters")
        return events

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._event = value
        elif field == "data":
            self._data.append(value)
            self._held += len(value) + _LINE_COST
        elif field == "id" and value.isascii() and (value.isprintable() or not value):
            self._last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value[:_RETRY_DIGITS])
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data, self._held = "", [], 0
        if not data:
            return None
        return ServerSentEvent(event or "message", "\n".join(data), self._last_id)


def _json_object(text: str) -> dict[str, object]:
    body = json.loads(text)
    if not isinstance(body, dict):
        raise ValueError("no object")  # noqa: TRY004 - what the caller catches of all bad JSON
    return body


def _not_ours(what: str) -> Refused:
    message = f"the stream of events {what}; is a refault service of this version there?"
    return Refused(message, status=200, problem={})
