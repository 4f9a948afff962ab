# Generated from refault/client/asynchronous/bodies.py by `make client`: change it there.
"""Bodies of requests and answers, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from httpx_sse import EventSource

from refault.client import answers, event_stream
from refault.client.waits import blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refault.client.documents import BatchEvent
    from refault.client.uploads import LocalFile, Progress


def chunks(
    file: LocalFile, progress: Progress | None, start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """The bytes of a file to upload, or a part of them; see ``LocalFile.chunks``."""
    parts = file.chunks(progress, start, stop)
    while part := blocking(next, parts, b""):
        yield part


def whole(response: httpx.Response) -> httpx.Response:
    """The answer read to its end, ``Refused`` if that is too far."""
    if response.is_stream_consumed:
        return response  # its transport has read it, which one over a network does not
    body = bytearray()
    for part in response.iter_raw():
        body += part
        answers.check_length(response, body)
    return answers.with_body(response, body)


def events(response: httpx.Response) -> Iterator[BatchEvent]:
    """The events of a batch as they come; ``Refused`` if the answer is no stream of them."""
    event_stream.check_type(response)
    # Neither its charset nor its encoding counts: text of ours is UTF-8 and not compressed.
    headers = {"content-type": event_stream.MEDIA_TYPE}
    bounded = httpx.Response(response.status_code, headers=headers, content=_bounded(response))
    for event in EventSource(bounded).iter_sse():
        found = event_stream.batch_event(event)
        if found is not None:
            yield found


def _bounded(response: httpx.Response) -> Iterator[bytes]:
    bound = event_stream.EventBound()
    for part in response.iter_raw():
        yield bound.take(part)
