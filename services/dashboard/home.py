"""The first page: what runs, what is new, the latest verdicts, and how to begin."""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from services.dashboard.doors import is_encrypted
from services.dashboard.pages import Pages
from services.dashboard.rows import batch_row, rows_of, trace_row

BATCHES = 8
TRACES = 5


class HomePage:
    """The page ``/``, and its parts that change."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Its addresses."""
        return [Route("/", self.home), Route("/latest", self.parts)]

    async def home(self, request: Request) -> Response:
        """The whole page."""
        return await self._home(request, "home.html")

    async def parts(self, request: Request) -> Response:
        """Only what changes."""
        return await self._home(request, "home_parts.html")

    async def _home(self, request: Request, template: str) -> Response:
        scheme = "https" if is_encrypted(request) else "http"
        async with self._pages.client(request) as client:
            me = await client.get_me()
            batches = await client.list_batches(limit=BATCHES)
            running = await client.list_batches(limit=BATCHES, state=["running", "queued"])
            traces = await client.list_traces(limit=TRACES)
            news = await client.get_news()
        text = self._pages.text(
            template,
            me=me,
            batches=rows_of(batches, batch_row),
            running=rows_of(running, batch_row),
            traces=rows_of(traces, trace_row),
            news=_news(news),
            address=f"{scheme}://{request.url.netloc}",
        )
        return HTMLResponse(text)


def _news(news: Any) -> dict[str, Any]:
    return {
        **news,
        "ended": [batch_row(batch) for batch in news["ended"]],
        "is_any": any(news[name] for name in ("submitted_count", "ended_count", "trace_count")),
    }
