"""The lists of batches and of traces: searched, filtered, sorted, counted."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.dashboard.doors import onwards
from services.dashboard.filters import Choice, Wanted, form_of, wanted_of
from services.dashboard.pages import ROWS, Pages
from services.dashboard.rows import batch_row, guest_mode, maker, rows_of, trace_row
from services.dashboard.verdicts import shown


def title_of(value: str) -> str:
    """A verdict in words; one that this page does not know stays as it is."""
    try:
        return shown(value).title
    except ValueError:
        return value


BATCHES = (
    Choice("state", "State"),
    Choice("verdict", "Verdict", title_of),
    Choice("plan", "Plan"),
    Choice("submitter", "Submitted by", maker),
)
BATCH_SORTS = {"": "newest first", "oldest": "oldest first", "runs": "most runs first"}
TRACES = (
    Choice("guest_mode", "Guest", guest_mode),
    Choice("vcpus", "vCPUs"),
    Choice("kernel", "Kernel"),
    Choice("tag", "Tag"),
    Choice("content", "Content"),
)
TRACE_SORTS = {
    "": "newest first",
    "oldest": "oldest first",
    "name": "by name",
    "events": "most events first",
    "size": "largest first",
}


class ListPages:
    """The pages ``/batches`` and ``/traces``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The addresses of the lists."""
        return [
            Route("/batches", self.batches),
            Route("/batches.json", self.batches_as_json),
            Route("/traces", self.traces),
            Route("/traces.json", self.traces_as_json),
        ]

    async def batches(self, request: Request) -> Response:
        """The batches of the project that are wanted."""
        wanted = wanted_of(request.query_params, "/batches", BATCHES)
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_batches(limit=ROWS, cursor=wanted.cursor, **wanted.to_query())
            facets = await client.get_batch_facets(**_counted(wanted))
        return await self._pages.page(
            "batches.html",
            me=me,
            batches=rows_of(found, batch_row),
            form=form_of(wanted, BATCHES, facets, BATCH_SORTS),
            **_around(wanted, found["next_cursor"]),
        )

    async def traces(self, request: Request) -> Response:
        """The traces of the project that are wanted."""
        wanted = wanted_of(request.query_params, "/traces", TRACES)
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_traces(limit=ROWS, cursor=wanted.cursor, **wanted.to_query())
            facets = await client.get_trace_facets(**_counted(wanted))
        return await self._pages.page(
            "traces.html",
            me=me,
            traces=rows_of(found, trace_row),
            form=form_of(wanted, TRACES, facets, TRACE_SORTS),
            **_around(wanted, found["next_cursor"]),
        )

    async def batches_as_json(self, request: Request) -> Response:
        """The same list, from the API."""
        wanted = wanted_of(request.query_params, "/batches", BATCHES)
        return onwards(wanted.address("/api/v1/batches", **_cursor(wanted)))

    async def traces_as_json(self, request: Request) -> Response:
        """The same list, from the API."""
        wanted = wanted_of(request.query_params, "/traces", TRACES)
        return onwards(wanted.address("/api/v1/traces", **_cursor(wanted)))


def _counted(wanted: Wanted) -> dict[str, str]:
    """What facets are counted among: how they are sorted does not matter."""
    return {name: value for name, value in wanted.to_query().items() if name != "sort"}


def _cursor(wanted: Wanted) -> dict[str, str]:
    return {"cursor": wanted.cursor} if wanted.cursor else {}


def _around(wanted: Wanted, next_cursor: str | None) -> dict[str, str | None]:
    """The addresses of the next page and, from a later one, of the first."""
    return {
        "next_page": wanted.address(after=next_cursor) if next_cursor else None,
        "first_page": wanted.address() if wanted.cursor else None,
    }
