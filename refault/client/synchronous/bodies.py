# Generated from refault/client/asynchronous/bodies.py by `make client`: change it there.
"""Bodies of requests and answers, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.client import answers
from refault.client.waits import blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from refault.client.uploads import Progress, TraceFile


def chunks(
    file: TraceFile, progress: Progress | None, start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """The bytes of a file to upload, or a part of them; see ``TraceFile.chunks``."""
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
