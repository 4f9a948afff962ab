"""One method per page: call the API, shape the answer, render the template."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio.to_thread
import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from refault.client import AsyncClient
from refault.client.connection import FORM_KEY_HEADER
from services.dashboard.masks import masked, unmasked
from services.dashboard.passing import PassedOn
from services.shared.admitted import ADMITTED

ROWS = 20
MadeT = TypeVar("MadeT")


class Pages:
    """The pages over one API."""

    def __init__(self, api: ASGIApp, templates: jinja2.Environment) -> None:
        self._api = api
        self._templates = templates

    async def problem(self, request: Request) -> Response:
        """The explanation of a problem's ``type``."""
        async with self.client(request) as client:
            kind = await client.get_problem(request.path_params["name"])
        return await self.page("problem.html", me=None, kind=kind)

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
            headers[FORM_KEY_HEADER] = unmasked(form_key)
        address = (request.client.host, request.client.port) if request.client else ("unknown", 0)
        return AsyncClient.in_process(
            _ForOnePage(self._api, request),
            str(request.base_url),
            token=token,
            headers=headers,
            address=address,
        )

    def passed_on(
        self, request: Request, path: str, query: Mapping[str, object], token: str
    ) -> Response:
        """The API's answer to a GET by whoever has ``token``, as it comes."""
        return PassedOn(self._api, request, path, query, token)

    async def page(self, template: str, **values: Any) -> Response:
        """A filled template as an answer, filled in a thread: other requests go on meanwhile."""
        return HTMLResponse(await in_thread(lambda: self.text(template, **values)))

    async def page_in_thread(
        self, template: str, shape: Callable[[], Mapping[str, Any]], *, status: int = 200
    ) -> Response:
        """The same for a page that also shapes much data.

        ``shape`` makes the template's values, in the thread too.
        """
        return HTMLResponse(await in_thread(lambda: self.text(template, **shape())), status)

    def text(self, template: str, **values: Any) -> str:
        """A filled template."""
        me = values.get("me")
        if me is not None and me.get("form_key"):
            values["me"] = me | {"form_key": masked(me["form_key"])}
        return self._templates.get_template(template).render(values)


class _ForOnePage:
    """The API as a page that is read asks it: who reads it is looked up once, not with each call.

    A form's page changes what its caller may do, so there each call looks.
    """

    def __init__(self, api: ASGIApp, request: Request) -> None:
        self._api = api
        self._page = request.scope if request.method in {"GET", "HEAD"} else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._page is not None:
            scope[ADMITTED] = self._page.setdefault(ADMITTED, {})
        await self._api(scope, receive, send)


async def in_thread(make: Callable[[], MadeT]) -> MadeT:
    """What ``make`` gives, run in a thread with the address of the page that is being made."""
    return await anyio.to_thread.run_sync(make)
