"""Short addresses of batches, and the page that tells the keys."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.dashboard.doors import onwards
from services.dashboard.help import me_or_nobody
from services.dashboard.pages import Pages

_CODE = re.compile(r"(?:b-)?([0-9a-z]{1,40})")
KEYS = (
    ("/", "to the search of this page, or of the batches"),
    ("?", "this list; Esc closes it"),
    ("↑ ↓ ← →", "inside a table: to the next cell that leads somewhere"),
    ("Home End", "inside a table: to the first and the last such cell of the row"),
    ("Enter", "follow it"),
)
"""Every key that pages know, and what it does."""


class ShortPages:
    """Addresses that fit into a mail, and ``/help/keys``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where they are."""
        return [Route("/b/{code}", self.batch), Route("/help/keys", self.keys)]

    async def batch(self, request: Request) -> Response:
        """``/b/7k3f`` is ``/batches/b-7k3f``; the query is kept."""
        found = _CODE.fullmatch(request.path_params["code"])
        if found is None:
            raise HTTPException(404, "no batch has such a code")
        query = f"?{request.url.query}" if request.url.query else ""
        return onwards(f"/batches/b-{found[1]}{query}")

    async def keys(self, request: Request) -> Response:
        """The keys, which ``keys.js`` also shows as a dialog."""
        async with self._pages.client(request) as client:
            me = await me_or_nobody(client)
        return await self._pages.page("keys.html", me=me, keys=KEYS)
