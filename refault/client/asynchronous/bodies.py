"""Bodies of requests and answers, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.client import answers
from refault.client.waits import async_blocking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from refault.client.uploads import Progress, TraceFile


async def chunks(
    file: TraceFile, progress: Progress | None, start: int = 0, stop: int | None = None
) -> AsyncIterator[bytes]:
    """The bytes of a file to upload, or a part of them; see ``TraceFile.chunks``."""
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
