"""Server-sent events, read from chunks of text as they arrive.

Lines end at CR, LF or CRLF only (HTML standard, 9.2.6). ``str.splitlines``
also splits at U+2028 and its like, which JSON may carry, so it is not used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

    def feed(self, text: str) -> list[ServerSentEvent]:
        """The events that ``text`` completes. An unfinished one waits for the next call."""
        events: list[ServerSentEvent] = []
        self._pending += text
        position = 0
        for match in _LINE_END.finditer(self._pending):
            # A CR at the very end may be the first half of a CRLF.
            if match.group() == "\r" and match.end() == len(self._pending):
                break
            event = self._line(self._pending[position : match.start()])
            if event is not None:
                events.append(event)
            position = match.end()
        self._pending = self._pending[position:]
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
        elif field == "id" and "\0" not in value:
            self._last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data = "", []
        if not data:
            return None
        return ServerSentEvent(event or "message", "\n".join(data), self._last_id)
