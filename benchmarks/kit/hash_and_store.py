"""An ASGI app that does the least an upload can do: it hashes what comes and stores it."""

import hashlib
import os
import tempfile
from typing import Any


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer any request with the sha256 of its body."""
    if scope["type"] != "http":
        return
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as stream:
        more = True
        while more:
            message = await receive()
            body = message.get("body", b"")
            digest.update(body)
            stream.write(body)
            more = message.get("more_body", False)
        stream.flush()
        os.fsync(stream.fileno())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": digest.hexdigest().encode()})
