"""The first page: what runs, what is new, the latest verdicts, and how to begin."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient, Page
from refault.client.starting import starting_text
from services.dashboard.doors import is_encrypted
from services.dashboard.pages import Pages
from services.dashboard.rows import batch_row, rows_of, trace_row

BATCHES = 8
TRACES = 5
NAMED = 5
"""Batches that are named as ended since the last visit; of new traces TRACES are."""
OPEN = ("running", "queued")


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
            traces = await client.list_traces(limit=TRACES)
            # Names come from these two lists, where they have them all: to list batches costs most.
            news = await client.get_news(named=0)
            running = await _running(client, batches, news)
            ended = await _ended(client, batches, news)
        return await self._pages.page(
            template,
            me=me,
            batches=rows_of(batches, batch_row),
            running=rows_of(running, batch_row),
            traces=rows_of(traces, trace_row),
            news=_news(news, ended, traces),
            starting=starting_text(news.get("workers_starting", ())),
            address=f"{scheme}://{request.url.netloc}",
        )


async def _running(client: AsyncClient, batches: Page[Any], news: Any) -> Page[Any]:
    """The batches that wait or run; asked for only if they are not all among the latest."""
    found = [batch for batch in batches["items"] if batch["state"] in OPEN]
    if len(found) == news["open_count"]:
        return {"items": found, "next_cursor": None}
    return await client.list_batches(limit=BATCHES, state=OPEN)


async def _ended(client: AsyncClient, batches: Page[Any], news: Any) -> Sequence[Any]:
    """The batches that ended since the last visit, the last first; at most five."""
    since = news["since"]
    if since is None or not news["ended_count"]:
        return []
    found = [batch for batch in batches["items"] if (batch["finished_at"] or "") > since]
    if len(found) < news["ended_count"]:
        return (await client.get_news()).get("ended", [])
    return sorted(found, key=lambda batch: str(batch["finished_at"]), reverse=True)[:NAMED]


def _news(news: Any, ended: Sequence[Any], traces: Page[Any]) -> dict[str, Any]:
    since = news["since"] or ""
    return {
        **news,
        "ended": [batch_row(batch) for batch in ended],
        "traces": [trace for trace in traces["items"] if since and trace["created_at"] > since],
        "is_any": any(news[name] for name in ("submitted_count", "ended_count", "trace_count")),
    }
