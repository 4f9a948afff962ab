"""The events of a batch: what httpx-sse reads, with a bound on what it holds.

httpx-sse ends lines at CR, LF or CRLF only (HTML standard, 9.2.6), as of 0.4.2. ``str.splitlines``
also splits at U+2028, which JSON may contain.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from refault.client import answers
from refault.client.documents import BatchEvent
from refault.errors import Refused

if TYPE_CHECKING:
    import httpx
    from httpx_sse import ServerSentEvent

# Far more than any event of the service. httpx-sse has no bound, so one without end would fill
# memory.
MAX_EVENT_BYTES = 1 << 20
MEDIA_TYPE = "text/event-stream"
# What ends an event, and after which nothing of it is held.
_BLANK_LINES = (b"\n\n", b"\r\r", b"\n\r\n")


class EventBound:
    """Counts the bytes of an unfinished event."""

    def __init__(self) -> None:
        self._held_bytes = 0
        self._last = b""

    def take(self, part: bytes) -> bytes:
        """The part, if it may be read; ``Refused`` if the event it belongs to is too long."""
        seen = self._last + part  # a blank line may be cut in two
        ends = [seen.rfind(blank) + len(blank) for blank in _BLANK_LINES if blank in seen]
        self._held_bytes = len(seen) - max(ends) if ends else self._held_bytes + len(part)
        self._last = seen[-2:]
        if self._held_bytes > MAX_EVENT_BYTES:
            raise _not_ours(f"holds an event of more than {MAX_EVENT_BYTES} bytes")
        return part


def check_type(response: httpx.Response) -> None:
    """``Refused`` for a good answer that is no stream of events."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise answers.not_ours(response, "did not answer with a stream of events")


def batch_event(event: ServerSentEvent) -> BatchEvent | None:
    """The event of a batch; None for one without data. ``Refused`` if it is of something else."""
    if not event.data:
        return None  # a comment that keeps the connection open
    # Reconnecting sends the id in a header.
    if not (event.id.isascii() and event.id.isprintable()):
        raise _not_ours("has an event whose id is not printable ASCII")
    try:
        body = json.loads(event.data)
    except (ValueError, RecursionError) as error:
        raise _not_ours("holds something else than JSON") from error
    if not isinstance(body, dict):
        raise _not_ours("holds something else than JSON objects")
    return BatchEvent(event.id, event.event, body)


def _not_ours(what: str) -> Refused:
    message = f"the stream of events {what}; is a refault service of this version there?"
    return Refused(message, status=200, problem={})
