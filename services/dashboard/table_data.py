"""The rows of a list at its own address with ``.csv``, ``.md`` or ``.txt``: ``/batches.csv``.

The rows are the API's, asked as the caller: who may not see them gets none. All that match are
there, up to a bound; what comes after has an address too, as the ``Link`` header and the last line
of a text say.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from refault.client import AsyncClient
from services.dashboard.pages import Pages, in_thread
from services.dashboard.route_forms import name_forms
from services.dashboard.tabled import FORMS, Table, Value, written

ROWS_MAX: Final = 2_000
_PAGE: Final = 100
_LIST_FILTERS: Final = ("q", "sort")

_Columns = Mapping[str, str]
_Query = Mapping[str, Any]


class Listed(NamedTuple):
    """A list: its title, what of the page's query it takes, its columns, and how it is asked.

    A column is a path of names in a row; ``#`` at its end counts what is there.
    """

    title: str
    taken: Sequence[str]
    columns: _Columns
    ask: Callable[[AsyncClient, _Query], Awaitable[Any]]


def _parted(query: _Query) -> tuple[Any, dict[str, Any]]:
    """What is wanted, and which page of it."""
    paging = {name: query.get(name) for name in ("limit", "cursor")}
    return {name: value for name, value in query.items() if name not in paging}, paging


async def _findings(client: AsyncClient, query: _Query) -> Any:
    wanted, paging = _parted(query)
    return await client.list_findings(wanted, **paging)


async def _finding_cells(client: AsyncClient, query: _Query) -> Any:
    wanted, paging = _parted(query)
    return await client.list_finding_cells(wanted, **paging)


async def _bases(client: AsyncClient, _: _Query) -> Any:
    return await client.list_bases()


async def _patches(client: AsyncClient, query: _Query) -> Any:
    asked = {name: value for name, value in query.items() if name not in {"limit", "cursor"}}
    return await client.list_patches(**asked)


async def _words(client: AsyncClient, _: _Query) -> Any:
    return await client.get_glossary()


LISTS: Final[Mapping[str, Listed]] = {
    "/batches": Listed(
        "Batches",
        (*_LIST_FILTERS, "state", "verdict", "plan", "submitter"),
        {
            "Code": "code", "Title": "title", "State": "state", "Verdict": "verdict.status",
            "Exit code": "verdict.exit_code", "Stale": "is_stale", "Alarms": "integrity_alarms",
            "Plan": "plan", "Traces": "trace_count", "Columns": "column_count",
            "Runs": "progress.total", "Known": "progress.cached", "Failed": "progress.failed",
            "Submitted by": "submitted_by", "Created": "created_at", "Finished": "finished_at",
        },
        lambda client, query: client.list_batches(**query),
    ),
    "/traces": Listed(
        "Traces",
        (*_LIST_FILTERS, "guest_mode", "vcpus", "kernel", "tag", "content"),
        {
            "Name": "name", "Digest": "digest", "Guest": "guest_mode", "vCPUs": "vcpu_count",
            "Kernel": "guest.kernel", "Content": "content", "Events": "event_count",
            "Bytes": "size_bytes", "Tags": "tags", "Uploaded": "created_at",
        },
        lambda client, query: client.list_traces(**query),
    ),
    "/kernels": Listed(
        "Kernels",
        (),
        {
            "Name": "name", "Linux": "release", "State": "state", "Sanitizer": "sanitize",
            "Patches": "patches#", "Builds": "builds#", "Tree": "tree",
            "Bytes of the tree": "tree_bytes", "Made by": "made_by", "Created": "created_at",
        },
        lambda client, query: client.list_kernels(**query),
    ),
    "/findings": Listed(
        "Findings",
        ("kind", "variant", "trace", "batch", "q", "source", "known"),
        {
            "Kind": "kind", "What": "title", "Found by": "source", "Variant": "variant.text",
            "Variant digest": "variant.digest", "Guest sees it": "is_guest_visible",
            "Known defect": "is_known", "Runs": "cells", "Traces": "traces", "Places": "places",
            "First trace": "first.trace_name", "First operation": "first.operation_index",
            "First event": "first.event_index",
        },
        _findings,
    ),
    "/questions": Listed(
        "Questions",
        ("kind", "trace"),
        {
            "Id": "id", "Kind": "kind", "Trace": "trace.name", "Variants": "variants.text",
            "State": "state", "Error": "error", "Asked by": "made_by", "Asked": "created_at",
            "Answered": "finished_at",
        },
        lambda client, query: client.list_questions(**query),
    ),
    "/patches": Listed(
        "Patches",
        ("q", "author", "base", "form_of", "merged"),
        {
            "Id": "id", "Short": "short", "Title": "title", "Author": "author", "Date": "date",
            "Claim": "claim", "Objection": "objection", "Fate": "fate", "Merged": "is_merged",
            "Form of": "form_of", "Goes on": "applies_to",
        },
        _patches,
    ),
    "/patch_sets": Listed(
        "Patch sets",
        ("q", "patch", "base", "series"),
        {
            "Name": "name", "Id": "id", "Base": "base", "Patches": "patches",
            "Variant": "variant.text", "Variant digest": "variant.digest", "Series": "series",
            "Version": "version", "Created": "created_at",
        },
        lambda client, query: client.list_patch_sets(**query),
    ),
    "/bases": Listed(
        "Bases",
        (),
        {"Id": "id", "Title": "title", "Engine": "engine", "Date": "date", "Commit": "commit"},
        _bases,
    ),
    "/bundles": Listed(
        "Bundles",
        (),
        {
            "Id": "id", "Code": "code", "Title": "title", "Verdict": "verdict.status",
            "Imported by": "made_by", "Imported": "created_at",
        },
        lambda client, query: client.list_bundles(**query),
    ),
    "/project/audit": Listed(
        "Audit log",
        ("actor", "action"),
        {
            "When": "created_at", "Who": "actor", "What": "action", "On": "subject",
            "Status": "detail.status", "Address": "address",
        },
        lambda client, query: client.list_audit(**query),
    ),
    "/help": Listed(
        "Words",
        (),
        {"Word": "name", "Group": "group", "Meaning": "text", "Also": "also"},
        _words,
    ),
}  # fmt: skip


#: Of the cells behind one kind of finding on one variant, which the page then shows.
_CELLS: Final = Listed(
    "Findings of one kind and variant",
    LISTS["/findings"].taken,
    {
        "Kind": "kind", "Found by": "source", "Variant": "variant.text",
        "Variant digest": "variant.digest", "Trace": "trace_name", "Trace digest": "trace_digest",
        "Count": "count", "Exception": "exception", "Operation": "operation_index",
        "Event": "event_index", "vCPU": "vcpu", "Address": "address",
    },
    _finding_cells,
)  # fmt: skip


name_forms("table_suffix", FORMS)


class TableData:
    """Lists, a kernel's builds, and the project, as tables."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where they are; before the other suffixes, which know no such forms of these pages."""
        return [
            *(
                Route(f"{page}.{{form:table_suffix}}", self._list_at(page), methods=["GET"])
                for page in LISTS
            ),
            Route("/kernels/{name}.{form:table_suffix}", self._kernel, methods=["GET"]),
            Route("/project.json", self._project_as_json, methods=["GET"]),
            Route("/project.{form:table_suffix}", self._project, methods=["GET"]),
        ]

    def _list_at(self, page: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            async with self._pages.client(request) as client:
                table = await table_of(client, page, request)
            return await _answer(table, request)

        return answer

    async def _kernel(self, request: Request) -> Response:
        """The builds of a kernel."""
        async with self._pages.client(request) as client:
            kernel = await client.get_kernel(request.path_params["name"])
        columns = {
            "Build": "name", "Patches": "patches", "State": "state", "Program": "digest",
            "Compiler": "compiler", "Check": "check", "Changes nothing": "changes_nothing",
            "Refusal": "refusal", "Error": "error", "Started": "started_at",
            "Finished": "finished_at",
        }  # fmt: skip
        rows = rows_of(kernel["builds"], columns)
        table = Table(f"Builds of {kernel['base']}, Linux {kernel['release']}", [*columns], rows)
        return await _answer(table, request)

    async def _project(self, request: Request) -> Response:
        async with self._pages.client(request) as client:
            found = await project_of(client)
        rows: list[tuple[Value, ...]] = [
            *(("member", each["user"], each["role"]) for each in found["members"]),
            *(("used", name, each["used"]) for name, each in found["usage"].items()),
            *(("quota", name, each["quota"]) for name, each in found["usage"].items()),
            *(
                ("threshold", name, _limit(found["thresholds"]["limits"].get(name)))
                for name in found["thresholds"]["counters"]
            ),
            *(("limit", name, value) for name, value in found["limits"].items()),
            ("retention", "days", found["retention"]["days"]),
        ]
        title = f"Project {found['project']['name']}"
        return await _answer(Table(title, ("What", "Name", "Value"), rows), request)

    async def _project_as_json(self, request: Request) -> Response:
        async with self._pages.client(request) as client:
            found = await project_of(client)
        return JSONResponse(found, headers={"cache-control": "private, no-cache"})


async def project_of(client: AsyncClient) -> dict[str, Any]:
    """What every member of a project may read of it: no tokens, and no secrets of webhooks."""
    me = await client.get_me()
    projects = (await client.list_projects())["items"]
    return {
        "project": next(each for each in projects if each["name"] == me["project"]),
        "members": (await client.list_members())["items"],
        "usage": await client.get_usage(),
        "thresholds": await client.get_thresholds(),
        "limits": await client.get_limits(),
        "retention": await client.get_retention(),
    }


async def table_of(client: AsyncClient, page: str, request: Request) -> Table:
    """All rows of a list that match the query of the page, up to :data:`ROWS_MAX`."""
    listed, told = LISTS[page], request.query_params
    if page == "/findings" and told.get("kind") and told.get("variant"):
        listed = _CELLS
    asked = {name: told[name] for name in listed.taken if told.get(name)}
    cursor = told.get("after") or told.get("cursor") or None
    items: list[Any] = []
    while len(items) < ROWS_MAX:
        found = await listed.ask(client, {**asked, "limit": _PAGE, "cursor": cursor})
        items += found["items"]
        cursor = found.get("next_cursor")
        if cursor is None:
            break
    more = "" if cursor is None else f"{request.url.path}?{urlencode({**asked, 'after': cursor})}"
    return Table(listed.title, [*listed.columns], rows_of(items, listed.columns), more)


def rows_of(items: Sequence[Any], columns: _Columns) -> list[list[Value]]:
    """The values of the columns; lists are joined by commas."""
    return [[_at(item, path) for path in columns.values()] for item in items]


def _at(item: Any, path: str) -> Value:
    name, is_count = path.removesuffix("#"), path.endswith("#")
    for part in name.split("."):
        if isinstance(item, list):
            item = [each.get(part) for each in item]
        else:
            item = item.get(part) if isinstance(item, Mapping) else None
    if is_count:
        return len(item or ())
    if isinstance(item, list):
        return ", ".join(map(str, item))
    return item if item is None or isinstance(item, str | int | float) else str(item)


def _limit(limit: Mapping[str, Any] | None) -> str:
    if limit is None:
        return "as usual"
    return ", ".join(f"{name} {value}" for name, value in limit.items())


async def _answer(table: Table, request: Request) -> Response:
    form = request.path_params["form"]
    text = await in_thread(lambda: written(table, form))
    headers = {"link": f'<{table.more}>; rel="next"'} if table.more else {}
    return Response(text, media_type=FORMS[form], headers=headers)
