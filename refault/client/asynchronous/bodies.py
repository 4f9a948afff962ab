"""Bodies of requests and answers, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from httpx_sse import EventSource

from refault.client import answers, event_stream
from refault.client.waits import async_blocking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from refault.client.documents import BatchEvent
    from refault.client.uploads import LocalFile, Progress


async def chunks(
    file: LocalFile, progress: Progress | None, start: int = 0, stop: int | None = None
) -> AsyncIterator[bytes]:
    """The bytes of a file to upload, or a part of them; see ``LocalFile.chunks``."""
    parts = file.chunks(progress, start, stop)
    while part := await async_blocking(next, parts, b""):
        yield part


async def whole(response: httpx.Response) -> httpx.Response:
    """The answer read to its end, ``Refused`` if that is too far."""
    if response.is_stream_consumed:
        return response  # its transport has read it, which one over a network does not
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        answers.check_length(response, body)
    return answers.with_body(response, body)


async def events(response: httpx.Response) -> AsyncIterator[BatchEvent]:
    """The events of a batch as they come; ``Refused`` if the answer is no stream of them."""
    event_stream.check_type(response)
    # Neither its charset nor its encoding counts: text of ours is UTF-8 and not compressed.
    headers = {"content-type": event_stream.MEDIA_TYPE}
    bounded = httpx.Response(response.status_code, headers=headers, content=_bounded(response))
    async for event in EventSource(bounded).aiter_sse():
        found = event_stream.batch_event(event)
        if found is not None:
            yield found


async def _bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    bound = event_stream.EventBound()
    async for part in response.aiter_raw():
        yield bound.take(part)
