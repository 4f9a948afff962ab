"""The pages of help: every word of the tables, and the API in words. They need no login."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from refault.client import AsyncClient
from refault.errors import Refused
from services.dashboard.formats import counted
from services.dashboard.pages import Pages

SEARCH_MAX = 100


class HelpPages:
    """The pages under ``/help``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        # The description is the same as long as this process lives.
        self._nouns: list[dict[str, Any]] | None = None

    async def words(self, request: Request) -> Response:
        """The glossary, or the entries in which ``?q=`` stands."""
        wanted = asked_text(request, "q")
        async with self._pages.client(request) as client:
            me = await me_or_nobody(client)
            found = await client.get_glossary(q=wanted or None)
        return await self._pages.page(
            "help.html",
            me=me,
            wanted=wanted,
            groups=_grouped(found["groups"], found["items"]),
            found=counted(len(found["items"]), "word"),
        )

    async def api(self, request: Request) -> Response:
        """What the API offers, route by route, and how a program uses it."""
        async with self._pages.client(request) as client:
            me = await me_or_nobody(client)
            if self._nouns is None:
                self._nouns = _nouns(await client.get_openapi())
        nouns, base_url = self._nouns, str(request.base_url).rstrip("/")
        return await self._pages.page_in_thread(
            "help_api.html", lambda: {"me": me, "nouns": nouns, "base_url": base_url}
        )


async def me_or_nobody(client: AsyncClient) -> Mapping[str, Any] | None:
    """Who asks, on a page that strangers may see too."""
    try:
        return await client.get_me()
    except Refused as refused:
        if refused.status != HTTPStatus.UNAUTHORIZED:
            raise
        return None


def asked_text(request: Request, name: str) -> str:
    """A text of the query, or nothing; a 422 where it is too long."""
    text = request.query_params.get(name, "").strip()
    if len(text) > SEARCH_MAX:
        raise HTTPException(422, f"{name} has more than {SEARCH_MAX} characters")
    return text


def _grouped(
    groups: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The groups that have entries, each with them."""
    of_group: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        of_group.setdefault(item["group"], []).append(item)
    return [
        {**group, "entries": of_group[group["name"]]}
        for group in groups
        if group["name"] in of_group
    ]


def _nouns(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The routes of an OpenAPI document by their tag, in its order."""
    found: dict[str, list[dict[str, str]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            told = str(operation.get("description", "")).split("\n\n")[0]
            route = {"method": method.upper(), "path": path, "text": " ".join(told.split())}
            for tag in operation.get("tags", ["other"]):
                found.setdefault(tag, []).append(route)
    return [{"name": name, "routes": routes} for name, routes in found.items()]
