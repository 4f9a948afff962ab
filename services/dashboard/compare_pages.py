"""The page ``/compare``: columns of any batches of the project, side by side."""

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient
from refault.compare.titles import heading
from services.dashboard.arrangement import Arrangement
from services.dashboard.compare_view import page_of
from services.dashboard.doors import onwards
from services.dashboard.formats import whole_number
from services.dashboard.pages import ROWS, Pages
from services.dashboard.place import Place

ADDRESS = "/api/v1/comparisons"


class ComparePages:
    """The page of a comparison across batches; its address names every column."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The route of this page."""
        return [Route("/compare", self.one)]

    async def one(self, request: Request) -> Response:
        """The comparison that the address names, and a form that adds columns to it."""
        query = request.query_params
        if "from" in query:
            return onwards(_address_of(request))
        place = Place.of(query, ADDRESS)
        browsed = query.get("browse", "").strip()
        async with self._pages.client(request) as client:
            me = await client.get_me()
            document = None
            if place.names:
                document = await client.compare_columns(
                    place.names,
                    base=place.base,
                    trace=place.trace,
                    cursor=place.cursor,
                    costs=place.costs,
                )
            offered = await _offered(client, browsed, place)
        return await self._pages.page_in_thread(
            "compare.html",
            lambda: {
                "me": me,
                "offered": offered,
                "browsed": browsed,
                **self._shaped(document, place),
            },
        )

    def _shaped(self, document: dict[str, Any] | None, place: Place) -> dict[str, Any]:
        page = None if document is None else page_of(document, place)
        sections = [
            self._pages.text("batch_trace.html", trace=trace, is_shared=False, may_act=False)
            for trace in (page["traces"] if page else ())
        ]
        return {"page": page, "sections": sections, "place": place}


def _address_of(request: Request) -> str:
    """The address of the comparison of a batch's chosen columns, which its page asked for."""
    query = request.query_params
    code, base = query["from"], whole_number(query.get("base", "0"), "base")
    chosen = Arrangement.of(query).columns or ()
    indexes = list(dict.fromkeys([base, *chosen]))
    if not code.replace("-", "").isalnum():
        raise HTTPException(422, "from must be the code of a batch")
    return "/compare?" + urlencode([("column", f"{code}:{index}") for index in indexes], safe=":")


async def _offered(client: AsyncClient, browsed: str, place: Place) -> dict[str, Any]:
    """The batches to take columns from, and the columns of the one that was asked for."""
    batches = (await client.list_batches(limit=ROWS))["items"]
    found = await client.get_batch(browsed) if browsed else None
    return {
        "batches": [
            {
                "code": batch["code"],
                "title": batch.get("title")
                or heading([entry["name"] for entry in batch["patch_sets"]], batch["plan"]),
                "is_chosen": batch["code"] == browsed,
            }
            for batch in batches
        ],
        "columns": [
            {
                "name": f"{found['code']}:{index}",
                "label": column["label"],
                "variant": column["variant"]["name"],
            }
            for index, column in enumerate(found["columns"])
            if f"{found['code']}:{index}" not in place.names
        ]
        if found
        else [],
        "traces": [trace["name"] for trace in found["traces"]] if found else [],
    }
