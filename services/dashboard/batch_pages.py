"""The page of a batch, as a whole and in parts, with and without a login."""

import dataclasses
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import anyio.to_thread
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from services.dashboard.pages import Pages
from services.dashboard.place import Place
from services.dashboard.view import page_of

_VERSION_LENGTH = 12
# A page has at most 200 sections.
_HAVE_MAX = 200 * (_VERSION_LENGTH + 1)
# Of two megabytes at most.
_KNOWN_MAX = 16
_NOTES = 100


class Made(NamedTuple):
    """What a page says of a comparison, whoever looks at it."""

    batch: Mapping[str, Any]
    page: Mapping[str, Any]


class BatchPages:
    """The pages under ``/batches/{batch}``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[bytes, Place, bool], Made] = OrderedDict()

    def routes(self) -> list[Route]:
        """The routes of this page."""
        return [
            Route("/batches/{batch}", self.one),
            Route("/batches/{batch}/parts", self.parts),
        ]

    async def one(self, request: Request) -> Response:
        """The comparison of a batch; ``?base=`` chooses the base column."""
        return HTMLResponse(await self._batch(request, "batch.html"))

    async def parts(self, request: Request) -> Response:
        """Only the parts that can change, without the sections in ``?have=``."""
        known = request.query_params.get("have", "")
        if len(known) > _HAVE_MAX:
            raise HTTPException(422, f"have is longer than {_HAVE_MAX} characters")
        return HTMLResponse(
            await self._batch(request, "batch_parts.html", known=frozenset(known.split(".")))
        )

    async def _batch(self, request: Request, template: str, **values: Any) -> str:
        place = Place.of(request.query_params)
        name = request.path_params["batch"]
        async with self._pages.client(request) as client:
            me = await client.get_me()
            text = await client.comparison_text(name, form="json", **place.asked)
            made = await self.made(text, place, is_shared=False)
            # A form needs the form key of a login; a token has none, so it gets no forms.
            may_act = bool(me["form_key"]) and "submit" in me["scopes"]
            shares = (await client.list_shares(name))["items"] if may_act else []
            code = made.batch["code"]
            notes = (await client.list_notes(batch=code, limit=_NOTES))["items"]
        return await anyio.to_thread.run_sync(
            partial(
                self.text_of,
                template,
                made,
                me=me,
                may_act=may_act,
                is_shared=False,
                shares=[share for share in shares if share["is_open"]],
                notes=notes,
                note_back=f"/batches/{code}{place.query()}",
                **values,
            )
        )

    async def made(self, text: str, place: Place, *, is_shared: bool) -> Made:
        """What the page says of a comparison, a document of the API in JSON."""
        return await anyio.to_thread.run_sync(partial(self._made, text, place, is_shared=is_shared))

    def _made(self, text: str, place: Place, *, is_shared: bool) -> Made:
        key = (hashlib.sha256(text.encode()).digest(), place, is_shared)
        # Twenty watchers get one document at once: made by the first, found by the others.
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
            document = json.loads(text)
            batch = document["batch"]
            if not place.address:
                place = dataclasses.replace(place, address=f"/api/v1/comparisons/{batch['code']}")
            page = page_of(document, place)
            page["sections"] = [
                self._section(trace, is_shared=is_shared) for trace in page.pop("traces")
            ]
            heat = self._pages.text("matrix.html", page=page)
            page["matrix"] = Markup(heat)  # noqa: S704  # a template's
            page["heat"] = {"is_shown": page["heat"]["is_shown"]}
            plan = page.pop("plan")
            drawn = (
                ""
                if plan is None
                else self._pages.text("batch_plan.html", plan=plan, is_shared=is_shared)
            )
            page["plan"] = Markup(drawn)  # noqa: S704  # a template's
            self._known[key] = made = Made(batch, page)
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        return made

    def text_of(
        self, template: str, made: Made, *, shares: Sequence[Mapping[str, Any]] = (), **values: Any
    ) -> str:
        """The page of a batch, or parts of it; runs in a thread, as it is slow."""
        page = {**made.page, "shares": shares}
        return self._pages.text(template, batch=made.batch, page=page, **values)

    def _section(self, trace: Mapping[str, Any], *, is_shared: bool) -> dict[str, Any]:
        """The section of one trace, and its version."""
        text = self._pages.text("batch_trace.html", trace=trace, is_shared=is_shared)
        version = hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]
        return {"anchor": trace["anchor"], "version": version, "text": Markup(text)}  # noqa: S704  # a template's
