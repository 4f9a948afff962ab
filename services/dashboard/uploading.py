"""The page to upload a trace: by script in parts that can be resumed, or as a plain form.

The plain form is passed on to the API while it comes in, so nothing is kept here.
"""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from refault.errors import InvalidRequest, Refused
from refault.printable import first_unprintable
from services.dashboard.doors import onwards
from services.dashboard.multipart import FormReader
from services.dashboard.pages import Pages

# A note of 10,000 characters, of which each is at most four bytes.
_FIELD_BYTES_MAX = 40_000
# A browser shows an answer only after it has sent its form; of a refused one so much is read.
_DRAINED_BYTES_MAX = 64 * 1024 * 1024
UNUSABLE = 422
"""The status of a form that is not what it should be."""


class UploadPage:
    """The page ``/traces/new``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Its addresses; before ``/traces/{trace}``."""
        return [Route("/traces/new", self.upload, methods=["GET", "POST"])]

    async def upload(self, request: Request) -> Response:
        """The form, and what it sends."""
        if request.method == "POST":
            return await self._taken(request)
        async with self._pages.client(request) as client:
            me = await client.get_me()
        return self._form(me, {})

    async def _taken(self, request: Request) -> Response:
        """The trace's page, or the form with the reason of the refusal."""
        fields: dict[str, str] = {}
        try:
            return await self._passed_on(request, fields)
        except (Refused, InvalidRequest) as error:
            await drain(request)
            status = error.status if isinstance(error, Refused) else UNUSABLE
            async with self._pages.client(request) as client:
                me = await client.get_me()
            return self._form(me, fields, str(error), status)

    async def _passed_on(self, request: Request, fields: dict[str, str]) -> Response:
        """Reads fields up to the file, whose bytes go straight to the API."""
        async with aclosing(request.stream()) as body:
            reader = FormReader(request.headers.get("content-type", ""), body)
            while (part := await reader.next_part()) is not None:
                if part.filename is None:
                    fields[part.name] = await reader.text_of_part(_FIELD_BYTES_MAX)
                    if first_unprintable(fields[part.name].replace("\r\n", " ")) is not None:
                        raise HTTPException(422, "a field has unprintable characters")
                elif not part.filename:
                    raise InvalidRequest("no file was chosen: choose the file of a trace (.rft)")
                else:
                    key = fields.get("form_key", "")
                    async with self._pages.client(request, form_key=key) as client:
                        done = await client.upload_stream(
                            reader.bytes_of_part(),
                            name=fields.get("name", "").strip(),
                            tags=fields.get("tags", ""),
                            note=fields.get("note", "").replace("\r\n", "\n").strip(),
                        )
                    how = "present" if done.was_present else "new"
                    return onwards(f"/traces/{done.trace['digest']}?uploaded={how}")
        raise InvalidRequest("the form has no file: choose the file of a trace (.rft)")

    def _form(
        self,
        me: Mapping[str, Any],
        fields: Mapping[str, str],
        complaint: str | None = None,
        status: int = 200,
    ) -> Response:
        may_upload = bool(me["form_key"]) and "upload" in me["scopes"]
        text = self._pages.text(
            "upload.html", me=me, may_upload=may_upload, fields=fields, complaint=complaint
        )
        return HTMLResponse(text, status)


async def drain(request: Request) -> None:
    """Reads the rest of a form that was refused, up to a bound."""
    left = _DRAINED_BYTES_MAX
    try:
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return
    except (ClientDisconnect, HTTPException, RuntimeError):
        return
