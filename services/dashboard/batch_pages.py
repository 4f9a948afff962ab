"""The page of a batch, as a whole and in parts, with and without a login."""

import dataclasses
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient
from refault.client.starting import starting_text
from services.dashboard.cells import ROW_VERSION_LENGTH, MatrixRow
from services.dashboard.notes import NO_PINS, Pins, cell_of, notes_of, pins_of
from services.dashboard.pages import Pages, in_thread
from services.dashboard.place import Place
from services.dashboard.view import page_of

_VERSION_LENGTH = 12
# A page has at most 200 sections.
_HAVE_MAX = 200 * (_VERSION_LENGTH + 1)
# As many rows of the matrix as fit into an address.
_ROWS_MAX = 600 * (ROW_VERSION_LENGTH + 1)
# Where the rows stand in the frame of the matrix: no text of a page has this character.
_ROWS = "\0"
# Of two megabytes at most.
_KNOWN_MAX = 16


class Matrix(NamedTuple):
    """The matrix of verdicts: what stands before and after its rows, and these."""

    before: str
    after: str
    rows: Sequence[MatrixRow]

    def markup(self, known: Sequence[str] = ()) -> Markup:
        """The table; rows whose version stands at their place in ``known`` are empty.

        Who watches a batch of thousands of cells gets those that changed, and no others.
        """
        is_same = len(known) == len(self.rows)
        rows = [
            f'<tr data-row="{row.version}"></tr>'
            if is_same and known[place] == row.version
            else row.html
            for place, row in enumerate(self.rows)
        ]
        return Markup("".join([self.before, *rows, self.after]))  # noqa: S704  # escaped in parts


class Made(NamedTuple):
    """What a page says of a comparison, whoever looks at it."""

    batch: Mapping[str, Any]
    page: Mapping[str, Any]


class Viewer(NamedTuple):
    """What a page shows to some and not to others."""

    is_shared: bool = False
    may_act: bool = False


class BatchPages:
    """The pages under ``/batches/{batch}``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Any, ...], Made] = OrderedDict()

    def routes(self) -> list[Route]:
        """The routes of this page."""
        return [
            Route("/batches/{batch}", self.one),
            Route("/batches/{batch}/parts", self.parts),
        ]

    async def one(self, request: Request) -> Response:
        """The comparison of a batch; ``?base=`` chooses the base column."""
        place = Place.of(request.query_params)
        async with self._pages.client(request) as client:
            made, values = await self._seen(request, client, place)
            code = made.batch["code"]
            may_act = values["may_act"]
            shares = (await client.list_shares(code))["items"] if may_act else []
            may_rename = may_act and await _is_own(client, values["me"], code)
            on = cell_of(request.query_params.get("on", ""), made.batch)
            notes = await notes_of(client, request, on, batch=code)
        return await self._pages.page_in_thread(
            "batch.html",
            lambda: {
                **values,
                "rows_known": (),
                "shares": [share for share in shares if share["is_open"]],
                "note_back": f"/batches/{code}{place.query(on=request.query_params.get('on'))}",
                "may_rename": may_rename,
                **notes,
            },
        )

    async def parts(self, request: Request) -> Response:
        """Only the parts that can change.

        Without the sections in ``?have=``, and with empty rows of the matrix in place of those in
        ``?rows=``: their versions, in the order of the page.
        """
        known = request.query_params.get("have", "")
        rows = request.query_params.get("rows", "")
        if len(rows) > _ROWS_MAX:
            raise HTTPException(422, f"rows is longer than {_ROWS_MAX} characters")
        if len(known) > _HAVE_MAX:
            raise HTTPException(422, f"have is longer than {_HAVE_MAX} characters")
        place = Place.of(request.query_params)
        async with self._pages.client(request) as client:
            _, values = await self._seen(request, client, place)
        return await self._pages.page_in_thread(
            "batch_parts.html",
            lambda: {
                **values,
                "known": frozenset(known.split(".")),
                "rows_known": rows.split("."),
            },
        )

    async def _seen(
        self, request: Request, client: AsyncClient, place: Place
    ) -> tuple[Made, dict[str, Any]]:
        """The batch as its caller sees it, and the values that both templates need."""
        me = await client.get_me()
        name = request.path_params["batch"]
        text = await client.comparison_text(name, form="json", **place.asked)
        # A form needs the form key of a login; a token has none, so it gets no forms.
        viewer = Viewer(may_act=bool(me["form_key"]) and "submit" in me["scopes"])
        pins = await pins_of(client, name)
        made = await self.made(text, place, viewer, pins)
        waiting = await _waiting(client, made.batch)
        return made, {**made._asdict(), "me": me, "waiting": waiting, **viewer._asdict()}

    async def made(self, text: str, place: Place, viewer: Viewer, pins: Pins = NO_PINS) -> Made:
        """What the page says of a comparison, a document of the API in JSON."""
        return await in_thread(lambda: self._made(text, place, viewer, pins))

    def _made(self, text: str, place: Place, viewer: Viewer, pins: Pins) -> Made:
        key = (hashlib.sha256(text.encode()).digest(), place, viewer, pins.key)
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
            page = page_of(document, place, pins)
            page["sections"] = [self._section(trace, viewer) for trace in page.pop("traces")]
            frame = self._pages.text("matrix.html", page=page, rows=_ROWS)
            before, after = frame.split(_ROWS)
            page["matrix"] = Matrix(before, after, page["heat"]["rows"])
            page["heat"] = {"is_shown": page["heat"]["is_shown"]}
            plan = page.pop("plan")
            drawn = (
                ""
                if plan is None
                else self._pages.text(
                    "batch_plan.html", plan=plan, pins=pins, is_shared=viewer.is_shared
                )
            )
            page["plan"] = Markup(drawn)  # noqa: S704  # a template's
            self._known[key] = made = Made(batch, page)
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        return made

    def _section(self, trace: Mapping[str, Any], viewer: Viewer) -> dict[str, Any]:
        """The section of one trace, and its version."""
        text = self._pages.text("batch_trace.html", trace=trace, **viewer._asdict())
        version = hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]
        return {"anchor": trace["anchor"], "version": version, "text": Markup(text)}  # noqa: S704  # a template's


async def _waiting(client: AsyncClient, batch: Mapping[str, Any]) -> str:
    """What the workers do that a batch waits for, while none of its runs has begun."""
    if batch["state"] != "queued":
        return ""
    workers = await client.get_workers()
    if workers["starting"]:
        ready = "" if workers["alive_count"] else "No worker is ready yet: "
        return f"{ready}{starting_text(workers['starting'])}"
    return "" if workers["alive_count"] else "No worker is running: the batch waits for one"


async def _is_own(client: AsyncClient, me: Mapping[str, Any], code: str) -> bool:
    """Whether the caller may change what is written about the batch: its maker, or a maintainer."""
    if "admin" in me["scopes"]:
        return True
    # Only lists say who submitted it: a comparison is the same for all who see it.
    found = await client.list_batches(q=code, submitter=f"user {me['user']}", limit=1)
    return any(batch["code"] == code for batch in found["items"])
