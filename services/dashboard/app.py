"""The pages as an ASGI app: :func:`create_pages`.

All data comes from the public API, called in this process through the
published client. Pages have no inline script and no inline style and load
nothing from other hosts, which the policy below enforces.
"""

import functools
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refault.errors import InvalidRequest, Refused, ServiceError
from refault.glossary import anchor_of
from services.dashboard import cells, formats, here, rows, suffixes
from services.dashboard.actions import Actions
from services.dashboard.bases import BasePages
from services.dashboard.batch_pages import BatchPages
from services.dashboard.bundles import BundlePages
from services.dashboard.compare_pages import ComparePages
from services.dashboard.doors import Doors, to_login
from services.dashboard.findings import FindingPages
from services.dashboard.help import HelpPages
from services.dashboard.home import HomePage
from services.dashboard.issuer_door import IssuerDoor
from services.dashboard.kernel_forms import KernelForms
from services.dashboard.kernels import KernelPages
from services.dashboard.lists import ListPages
from services.dashboard.mails import MailPages
from services.dashboard.notes import NotePages
from services.dashboard.operations import OperationsPages
from services.dashboard.pages import Pages
from services.dashboard.patch_sets import PatchSetPages
from services.dashboard.patches import PatchPages
from services.dashboard.project import ProjectPages
from services.dashboard.questions import QuestionPages
from services.dashboard.runs import RunPages
from services.dashboard.shared_pages import SharedPages
from services.dashboard.short import ShortPages
from services.dashboard.submitting import SubmitPage
from services.dashboard.table_data import TableData
from services.dashboard.traces import TracePages
from services.dashboard.uploading import UploadPage

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

FOREVER = "public, max-age=31536000, immutable"


def create_pages(api: ASGIApp) -> "Guarded":
    """The pages of an API."""
    templates = _templates()
    pages = Pages(api, templates)
    batches = BatchPages(pages)
    doors = Doors(pages)
    helping = HelpPages(pages)
    issuer = IssuerDoor(pages, doors)
    actions = Actions(pages)
    kernels = KernelPages(pages)
    questions = QuestionPages(pages)
    app = Starlette(
        routes=[
            *TableData(pages).routes(),
            *suffixes.routes(),
            *HomePage(pages).routes(),
            *ListPages(pages).routes(),
            *SubmitPage(pages).routes(),
            *UploadPage(pages).routes(),
            *batches.routes(),
            Route("/batches/{batch}/cancel", actions.cancel, methods=["POST"]),
            Route("/batches/{batch}/resume", actions.resume, methods=["POST"]),
            Route("/batches/{batch}/retry", actions.retry, methods=["POST"]),
            Route("/batches/{batch}/title", actions.rename, methods=["POST"]),
            Route("/batches/{batch}/again", actions.again, methods=["POST"]),
            Route("/batches/{batch}/shares", actions.share, methods=["POST"]),
            Route("/batches/{batch}/shares/{share}/revoke", actions.revoke, methods=["POST"]),
            *BundlePages(pages).routes(),
            *TracePages(pages).routes(),
            *ComparePages(pages).routes(),
            Route("/help", helping.words),
            Route("/help/api", helping.api),
            Route("/kernels", kernels.list),
            *KernelForms(pages).routes(),
            Route("/kernels/{kernel}", kernels.one),
            Route("/kernels/{kernel}/parts", kernels.parts),
            Route("/kernels/{kernel}/builds", kernels.build, methods=["POST"]),
            Route("/kernels/{kernel}/delete", kernels.delete, methods=["POST"]),
            *MailPages(pages).routes(),
            *PatchSetPages(pages).routes(),
            *PatchPages(pages).routes(),
            *BasePages(pages).routes(),
            Route("/questions", questions.list, methods=["GET"]),
            Route("/questions", questions.ask, methods=["POST"]),
            Route("/questions/new", questions.new),
            Route("/questions/{question}", questions.one),
            *FindingPages(pages).routes(),
            *RunPages(pages).routes(),
            Route("/problems/{name}", pages.problem),
            Route("/login", doors.login, methods=["GET", "POST"]),
            Route("/login/oidc", issuer.leave),
            Route("/login/oidc/callback", issuer.come_back),
            Route("/logout", doors.logout, methods=["POST"]),
            Route("/project", doors.project, methods=["POST"]),
            *ProjectPages(pages).routes(),
            *OperationsPages(pages).routes(),
            *ShortPages(pages).routes(),
            *NotePages(pages).routes(),
            *SharedPages(pages, batches).routes(),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        exception_handlers={
            HTTPException: _Failure(pages),
            ServiceError: _Failure(pages),
            Exception: _Failure(pages),
        },
    )
    return Guarded(app)


class _Failure:
    """An exception as a page."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def __call__(self, request: Request, error: Exception) -> Response:
        is_unknown = isinstance(error, Refused) and error.status == HTTPStatus.UNAUTHORIZED
        if is_unknown and request.method in {"GET", "HEAD"}:
            return to_login(request)
        status, title, detail = _told(request, error)
        request_id = request.scope.get("refault.request_id")
        me = await self._caller(request, status)
        has_none = me is not None and me["kind"] == "session" and not me["project"]
        body = self._pages.text(
            "no_project.html" if has_none and status == HTTPStatus.FORBIDDEN else "error.html",
            me=me,
            status=status,
            title=title,
            detail=detail,
            request_id=request_id,
        )
        headers = error.headers if isinstance(error, HTTPException) else None
        return HTMLResponse(body, status, headers)

    async def _caller(self, request: Request, status: int) -> Mapping[str, Any] | None:
        """Who asked, so that the page leads on; None for a stranger, and if the service is down."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        try:
            async with self._pages.client(request) as client:
                return await client.get_me()
        except ServiceError:
            return None


def _told(request: Request, error: Exception) -> tuple[int, str, str]:
    if isinstance(error, Refused):
        return error.status, str(error.problem.get("title", "Refused")), str(error)
    if isinstance(error, InvalidRequest):
        # The address cannot be sent to the API.
        return 404, "Page not found", str(error)
    if isinstance(error, ServiceError):
        return 503, "The service cannot answer", str(error)
    if isinstance(error, HTTPException):
        detail = f"{request.url.path}: {error.detail}"
        is_missing = error.status_code == HTTPStatus.NOT_FOUND
        title = "Page not found" if is_missing else HTTPStatus(error.status_code).phrase
        return error.status_code, title, detail
    return 500, "This page failed", "This is a defect of the service; its log has the reason."


class Guarded:
    """Adds the content security policy and caching headers to every answer of the ``routes``."""

    def __init__(self, app: Starlette) -> None:
        self.routes = app.routes
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, guarded."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = POLICY
                # No referrer to other sites, but one to our own, which tells our forms from
                # theirs. A shared page has no form and its address is a secret, so it sends none
                # at all, not even for its style sheet.
                is_shared = scope["path"].startswith("/s/")
                headers["referrer-policy"] = "no-referrer" if is_shared else "same-origin"
                # Pages address static files with the digest of all of them.
                is_fixed = scope["path"].startswith("/static/") and scope["query_string"]
                is_there = message["status"] == HTTPStatus.OK
                # The answer to a form may hold a secret.
                is_secret = scope["method"] == "POST" or is_shared
                shown = "no-store" if is_secret else "private, no-cache"
                headers["cache-control"] = FOREVER if is_fixed and is_there else shown
            await send(message)

        here.enter(scope["path"], scope["query_string"].decode("latin-1"))
        await self._app(scope, receive, send_guarded)


@functools.cache
def _templates() -> jinja2.Environment:
    """One for all applications of a process: a template is compiled at its first page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        # Names come from uploaded files: everything is escaped, whatever the template's suffix.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "grouped": formats.grouped,
        "size": formats.size,
        "moment": formats.moment,
        "counts": cells.counts,
        "heats": cells.heats,
        "maker": rows.maker,
    }
    environment.globals["assets"] = _digest_of_assets()
    environment.globals["is_under"] = here.is_under
    environment.globals["as_form"] = here.as_form
    environment.globals["anchor_of"] = anchor_of
    return environment


def _digest_of_assets() -> str:
    """The digest of the static files, so that no browser uses a stale copy."""
    digest = hashlib.sha256()
    for path in sorted((FOLDER / "static").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
