"""Actions on a batch's page: cancel, resume, retry, share.

Each is a form POST with the form key of its login, passed on to the API, which checks it.
"""

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.dashboard.doors import fields_of, is_encrypted, onwards
from services.dashboard.formats import whole_number
from services.dashboard.pages import Pages

_DAYS_ASKED = "lifetime_days"


class Actions:
    """The forms of a batch's page."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def cancel(self, request: Request) -> Response:
        """Cancels the batch."""
        return await self._done(request, "cancel")

    async def resume(self, request: Request) -> Response:
        """Resumes the batch."""
        return await self._done(request, "resume")

    async def retry(self, request: Request) -> Response:
        """Runs the failed runs again."""
        return await self._done(request, "retry")

    async def again(self, request: Request) -> Response:
        """Runs one cell again: ``cell`` is a query of the digests of its trace and variant."""
        fields = await fields_of(request)
        cell = dict(parse_qsl(fields.get("cell", "")))
        batch = request.path_params["batch"]
        if not (cell.get("trace") and cell.get("variant")):
            raise HTTPException(422, "cell: expected the digests of a trace and a variant")
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.retry_batch(
                batch,
                crashed=cell.get("crashed") == "yes",
                trace=cell["trace"],
                variant=cell["variant"],
            )
        return onwards(f"/batches/{batch}")

    async def rename(self, request: Request) -> Response:
        """Gives the batch another title."""
        fields = await fields_of(request)
        batch = request.path_params["batch"]
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.change_batch(batch, fields.get("title", "").strip())
        return onwards(f"/batches/{batch}")

    async def share(self, request: Request) -> Response:
        """Creates a link and shows it once."""
        fields = await fields_of(request)
        days = whole_number(fields.get(_DAYS_ASKED) or "90", _DAYS_ASKED)
        batch = request.path_params["batch"]
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            me = await client.get_me()
            share = await client.share_batch(batch, lifetime_days=days)
        scheme = "https" if is_encrypted(request) else "http"
        link = f"{scheme}://{request.url.netloc}{share['path']}"
        body = self._pages.text("share.html", me=me, share=share, link=link)
        return HTMLResponse(body, 201)

    async def revoke(self, request: Request) -> Response:
        """Revokes a link."""
        fields = await fields_of(request)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.revoke_share(request.path_params["share"])
        return onwards(f"/batches/{request.path_params['batch']}#sharing")

    async def _done(self, request: Request, action: str) -> Response:
        fields = await fields_of(request)
        batch = request.path_params["batch"]
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            do = {
                "cancel": client.cancel_batch,
                "resume": client.resume_batch,
                "retry": client.retry_batch,
            }[action]
            await do(batch)
        return onwards(f"/batches/{batch}")
