"""The page of a run: its numbers, its course over the guest's time, and what is to blame."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from refault.attribution import VIEWS as SPLITS
from refault.compare.timelines import LINES_MAX, VIEWS
from refault.errors import Refused
from services.dashboard.doors import onwards
from services.dashboard.notes import PinnedOn, notes_of
from services.dashboard.run_charts import Course
from services.dashboard.run_view import page_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from refault.client import AsyncClient
    from refault.client.run_documents import RunDetailDocument
    from services.dashboard.pages import Pages

_SUBMIT = "submit"
# Siblings that are offered for the chart.
_SIBLINGS = 100
_LENGTH_MAX = 100


class RunPages:
    """The pages under ``/runs``, and what leads there."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The routes of these pages."""
        return [
            Route("/batches/{batch}/cell", self.cell),
            Route("/runs/{run}", self.one),
            Route("/timelines", self.timelines),
        ]

    async def one(self, request: Request) -> Response:
        """One run; ``?beside=``, ``?counter=``, ``?view=`` and ``?split=`` choose the charts."""
        course = _course(request)
        run_id = request.path_params["run"]
        async with self._pages.client(request) as client:
            me = await client.get_me()
            run = await client.get_run(run_id)
            code = run["batch_code"]
            siblings = await client.list_runs(code, trace=run["trace_digest"], limit=_SIBLINGS)
            comparison = await client.comparison_page(code, trace=run["trace_digest"])
            notes = await notes_of(client, request, _pinned_on(run))
            timelines, no_timeline = await _unless(
                is_told=course.is_default, ask=_timelines(client, run, course)
            )
            attribution, no_attribution = await _unless(is_told=True, ask=_attribution(client, run))
        return await self._pages.page_in_thread(
            "run.html",
            lambda: {
                "me": me,
                "run": run,
                "page": page_of(
                    run,
                    siblings=siblings["items"],
                    comparison=comparison,
                    timelines=timelines,
                    attribution=attribution and attribution["attribution"],
                    course=course,
                ),
                "may_act": bool(me["form_key"]) and _SUBMIT in me["scopes"],
                "no_timeline": no_timeline,
                **notes,
                # The batch has a page of its own for all of them.
                "notes_all": f"/batches/{code}#notes",
                "note_back": f"/runs/{run_id}",
                "no_attribution": no_attribution,
            },
        )

    async def cell(self, request: Request) -> Response:
        """From a cell of a batch, by the digests of trace and variant, to its run."""
        query, batch = request.query_params, request.path_params["batch"]
        async with self._pages.client(request) as client:
            found = await client.list_runs(
                batch, trace=query.get("trace"), variant=query.get("variant"), limit=1
            )
        if not found["items"]:
            raise HTTPException(HTTPStatus.NOT_FOUND, "this batch has no such cell")
        return RedirectResponse(f"/runs/{found['items'][0]['id']}", HTTPStatus.SEE_OTHER)

    async def timelines(self, request: Request) -> Response:
        """``/timelines?run=…&run=…``: the first run's page, with the others in its chart."""
        first, *others = request.query_params.getlist("run") or [""]
        if not first or len(others) >= LINES_MAX:
            raise HTTPException(422, f"name 1 to {LINES_MAX} runs: /timelines?run=…&run=…")
        kept = [(name, text) for name, text in request.query_params.multi_items() if name != "run"]
        query = urlencode([*(("beside", each) for each in others), *kept])
        return onwards(f"/runs/{first}?{query}#timeline")


def _pinned_on(run: RunDetailDocument) -> PinnedOn:
    """The cell of a run, as notes name it."""
    labels = ", ".join(run["labels"])
    variant = run["variant"]["digest"]
    return PinnedOn(run["batch_code"], run["trace_digest"], variant, labels, run["trace_name"])


def _course(request: Request) -> Course:
    query = request.query_params
    texts = [*query.getlist("beside"), *query.getlist("counter")]
    if any(len(text) > _LENGTH_MAX for text in texts):
        raise HTTPException(422, f"a run or a counter has at most {_LENGTH_MAX} characters")
    view, split = query.get("view", VIEWS[0]), query.get("split", SPLITS[0])
    for name, given, known in (("view", view, VIEWS), ("split", split, SPLITS)):
        if given not in known:
            raise HTTPException(422, f"{name} must be one of {', '.join(known)}")
    beside = [
        text for text in query.getlist("beside") if text and text != request.path_params["run"]
    ]
    # Without a second run there is nothing to subtract: a form may ask for it before one is chosen.
    if view == "difference" and not beside:
        view = VIEWS[0]
    return Course(tuple(dict.fromkeys(beside)), tuple(query.getlist("counter")), view, split)


def _timelines(
    client: AsyncClient, run: RunDetailDocument, course: Course
) -> Callable[[], Awaitable[Any]]:
    return lambda: client.get_timelines(
        run["id"], course.beside, counters=course.counters, view=course.view
    )


def _attribution(client: AsyncClient, run: RunDetailDocument) -> Callable[[], Awaitable[Any]]:
    return lambda: client.get_attribution(run["id"])


async def _unless(*, is_told: bool, ask: Callable[[], Awaitable[Any]]) -> tuple[Any, str]:
    """What the API answers; or None, and why there is nothing.

    Where the caller chose what to see, a refusal of that is the page's.
    """
    try:
        return await ask(), ""
    except Refused as error:
        if error.status == HTTPStatus.NOT_FOUND or (
            is_told and error.status == HTTPStatus.UNPROCESSABLE_ENTITY
        ):
            return None, str(error)
        raise
