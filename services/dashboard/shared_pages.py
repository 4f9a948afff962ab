"""A batch that was shared: its page and its other forms, for anyone with the link."""

import dataclasses
from http import HTTPStatus
from typing import cast, get_args
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client.calls import ComparisonFormat
from refault.errors import Refused
from services.dashboard.batch_pages import BatchPages, Viewer
from services.dashboard.pages import Pages
from services.dashboard.place import Place

_MEDIA_TYPES = {
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
}


class SharedPages:
    """The pages under ``/s/{secret}``."""

    def __init__(self, pages: Pages, batches: BatchPages) -> None:
        self._pages = pages
        self._batches = batches

    def routes(self) -> list[Route]:
        """The routes of these pages."""
        return [
            Route("/s/{secret}.{form}", self.form),
            Route("/s/{secret}", self.one),
        ]

    async def one(self, request: Request) -> Response:
        """The comparison of a shared batch, for anyone with the link."""
        secret = request.path_params["secret"]
        place = Place.of(request.query_params, f"/s/{quote(secret)}")
        # The link's address is known to strangers: no weights of theirs.
        place = dataclasses.replace(place, costs=None)
        code = await self._shared_batch(request, secret)
        async with self._pages.client(request, token=secret) as client:
            document = await client.comparison_text(code, form="json", **place.asked)
        viewer = Viewer(is_shared=True)
        made = await self._batches.made(document, place, viewer)
        return await self._pages.page_in_thread(
            "batch.html",
            lambda: {
                **made._asdict(),
                "me": None,
                "waiting": "",
                "rows_known": (),
                **viewer._asdict(),
                "may_rename": False,
            },
        )

    async def form(self, request: Request) -> Response:
        """The same as .txt .md .csv .json .svg or .zip."""
        secret, form = request.path_params["secret"], request.path_params["form"]
        if form == "zip":
            return await self._bundle(request, secret)
        if form not in get_args(ComparisonFormat):
            raise HTTPException(404, f"no format .{form} of a comparison")
        query = request.query_params
        place = Place.of(query)
        code = await self._shared_batch(request, secret)
        async with self._pages.client(request, token=secret) as client:
            body = await client.comparison_text(
                code,
                base=place.base,
                form=cast("ComparisonFormat", form),
                trace=place.trace,
                theme=query.get("theme"),
                cursor=place.cursor,
                columns=place.arrangement.chosen,
            )
        return Response(body, media_type=_MEDIA_TYPES[form])

    async def _bundle(self, request: Request, secret: str) -> Response:
        place = Place.of(request.query_params)
        code = await self._shared_batch(request, secret)
        query = {"base": place.base or None, "trace": place.trace}
        return self._pages.passed_on(request, f"/api/v1/comparisons/{code}.zip", query, secret)

    async def _shared_batch(self, request: Request, secret: str) -> str:
        if not secret.startswith("rfs_"):
            raise HTTPException(404, "no such link")
        try:
            async with self._pages.client(request, token=secret) as client:
                me = await client.get_me()
        except Refused as refused:
            if refused.status != HTTPStatus.UNAUTHORIZED:
                raise
            raise HTTPException(404, "this link is unknown, expired or revoked") from refused
        return str(me["batch"])
