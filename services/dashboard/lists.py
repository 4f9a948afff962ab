"""The lists of batches and of traces."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.dashboard.pages import ROWS, Pages, batch_row, rows_of, trace_row


class ListPages:
    """The pages ``/batches`` and ``/traces``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The addresses of the lists."""
        return [Route("/batches", self.batches), Route("/traces", self.traces)]

    async def batches(self, request: Request) -> Response:
        """The batches of the project, newest first."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_batches(limit=ROWS, cursor=request.query_params.get("after"))
        return self._pages.page("batches.html", me=me, batches=rows_of(found, batch_row))

    async def traces(self, request: Request) -> Response:
        """The traces of the project, newest first."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_traces(limit=ROWS, cursor=request.query_params.get("after"))
        return self._pages.page("traces.html", me=me, traces=rows_of(found, trace_row))
