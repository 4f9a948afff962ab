"""One method per page: call the API, shape the answer, render the template."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
import jinja2
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from refault.client import AsyncClient
from refault.client.connection import FORM_KEY_HEADER
from services.dashboard.view import Place, page_of

ROWS = 20
_VERSION_LENGTH = 12
# A page has at most 200 sections.
_HAVE_MAX = 200 * (_VERSION_LENGTH + 1)
_DIGITS_MAX = 9


class Pages:
    """The pages over one API."""

    def __init__(self, api: ASGIApp, templates: jinja2.Environment) -> None:
        self._api = api
        self._templates = templates

    async def batch(self, request: Request) -> Response:
        """The comparison of a batch; ``?base=`` chooses the base column."""
        return HTMLResponse(await self._batch(request, "batch.html"))

    async def batch_parts(self, request: Request) -> Response:
        """Only the parts that can change, without the sections in ``?have=``."""
        known = request.query_params.get("have", "")
        if len(known) > _HAVE_MAX:
            raise HTTPException(422, f"have is longer than {_HAVE_MAX} characters")
        return HTMLResponse(
            await self._batch(request, "batch_parts.html", known=frozenset(known.split(".")))
        )

    async def _batch(self, request: Request, template: str, **values: Any) -> str:
        query = request.query_params
        place = Place(
            "",
            whole_number(query.get("base", "0"), "base"),
            query.get("trace"),
            query.get("cursor"),
            query.get("costs") or None,
        )
        async with self.client(request) as client:
            me = await client.get_me()
            document = await client.comparison_page(
                request.path_params["batch"],
                base=place.base,
                trace=place.trace,
                cursor=place.cursor,
                costs=place.costs,
            )
            code = document["batch"]["code"]
            # A form needs the form key of a login; a token has none, so it gets no forms.
            may_act = bool(me["form_key"]) and "submit" in me["scopes"]
            shares = (await client.list_shares(code))["items"] if may_act else []
            notes = (await client.list_notes(batch=code, limit=100))["items"]
        place = dataclasses.replace(place, address=f"/api/v1/comparisons/{code}")
        return await anyio.to_thread.run_sync(
            partial(
                self.batch_text,
                template,
                document,
                place,
                me=me,
                may_act=may_act,
                is_shared=False,
                shares=[share for share in shares if share["is_open"]],
                notes=notes,
                note_back=f"/batches/{code}{place.query()}",
                **values,
            )
        )

    def batch_text(
        self,
        template: str,
        document: Mapping[str, Any],
        place: Place,
        *,
        is_shared: bool,
        shares: Sequence[Mapping[str, Any]] = (),
        **values: Any,
    ) -> str:
        """The page of a batch, or parts of it; runs in a thread, as it is slow."""
        page = page_of(document, place) | {"shares": shares}
        page["sections"] = [self._section(trace, is_shared=is_shared) for trace in page["traces"]]
        return self.text(
            template, batch=document["batch"], page=page, is_shared=is_shared, **values
        )

    def _section(self, trace: Mapping[str, Any], *, is_shared: bool) -> dict[str, Any]:
        """The section of one trace, and its version."""
        text = self.text("batch_trace.html", trace=trace, is_shared=is_shared)
        version = hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]
        return {"anchor": trace["anchor"], "version": version, "text": Markup(text)}  # noqa: S704  # a template's

    async def problem(self, request: Request) -> Response:
        """The explanation of a problem's ``type``."""
        async with self.client(request) as client:
            kind = await client.get_problem(request.path_params["name"])
        return self.page("problem.html", me=None, kind=kind)

    def client(
        self, request: Request, *, token: str | None = None, form_key: str | None = None
    ) -> AsyncClient:
        """A client of the API with the request's cookie or token, or with ``token``.

        ``form_key`` is the one sent by a form; the API checks it.
        """
        shown = () if token else ("authorization", "cookie")
        headers = {
            name: request.headers[name] for name in (*shown, "origin") if name in request.headers
        }
        # All lines in order: the last is from the nearest proxy.
        if told := request.headers.getlist("x-forwarded-for"):
            headers["x-forwarded-for"] = ", ".join(told)
        if form_key is not None:
            headers[FORM_KEY_HEADER] = form_key
        address = (request.client.host, request.client.port) if request.client else ("unknown", 0)
        return AsyncClient.in_process(
            self._api, str(request.base_url), token=token, headers=headers, address=address
        )

    def page(self, template: str, **values: Any) -> Response:
        """A filled template as an answer."""
        return HTMLResponse(self.text(template, **values))

    def text(self, template: str, **values: Any) -> str:
        """A filled template."""
        return self._templates.get_template(template).render(values)


def whole_number(text: str, name: str) -> int:
    """A number of a query; a 422 for anything else, and for too many digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise HTTPException(422, f"{name} must be a whole number of at most {_DIGITS_MAX} digits")
    return int(text)
