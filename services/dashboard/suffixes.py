"""The data of a page at its own address with a suffix: ``/batches/b-7k3f.csv``.

The data is the API's, and has one address there: a suffix leads to it, with the query of the page.
Tables of lists are made here (``table_data.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.routing import Route

from services.dashboard.doors import onwards
from services.dashboard.route_forms import name_forms
from services.dashboard.table_data import LISTS
from services.dashboard.tabled import FORMS as TABLES
from services.dashboard.tree import is_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

_API: Final = "/api/v1"
#: What a suffix may be; a version such as that of ``/bases/v2.6.34-pre`` is none.
FORMS: Final = ("json", "txt", "md", "csv", "svg", "zip")
_CHARTS: Final = frozenset({"csv", "svg"})
_JSON: Final = frozenset({"json"})

#: The address of a page without its suffix; the forms it has; the address of the data, in which
#: ``{name}`` is the part of the page's that is called so, and ``{form}`` the suffix.
_PLACES: Final = (
    ("/batches/{name}", frozenset(FORMS), "/comparisons/{name}.{form}"),
    ("/compare", frozenset(FORMS) - {"zip"}, "/comparisons.{form}"),
    ("/patches", _JSON, "/patches"),
    ("/patches/{name}", _JSON, "/patches/{name}"),
    ("/patch_sets", _JSON, "/patch_sets"),
    ("/bases", _JSON, "/bases"),
    ("/traces/{name}", _JSON, "/traces/{name}"),
    ("/traces/{name}", frozenset({"csv"}), "/traces/{name}/course.csv"),
    ("/kernels", _JSON, "/kernels"),
    ("/kernels/{name}", _JSON, "/kernels/{name}"),
    ("/questions", _JSON, "/questions"),
    ("/questions/{name}", _JSON, "/questions/{name}"),
    ("/findings", _JSON, "/findings"),
    ("/runs/{name}", _JSON, "/runs/{name}"),
    ("/runs/{name}", _CHARTS, "/runs/{name}/timeline.{form}"),
    ("/bundles", _JSON, "/bundles"),
    ("/bundles/{name}", _JSON, "/bundles/{name}"),
    ("/bundles/{name}", frozenset({"txt", "md", "csv", "zip"}), "/bundles/{name}/comparison"),
    ("/operations", _JSON, "/operations"),
    ("/project/audit", _JSON, "/audit"),
    ("/help", _JSON, "/glossary"),
)
_NAMED: Final = "/bundles/{name}/comparison"


name_forms("suffix", FORMS)


def routes() -> list[Route]:
    """Where they are; before the pages, whose names could have a dot."""
    found = [
        Route(f"{page}.{{form:suffix}}", _leading(target, forms | _tabled(page)), methods=["GET"])
        for page, forms, target in _merged()
    ]
    # A patch set may be named by notation, which has slashes and dots.
    return [
        *found,
        Route("/b/{code}.{form:suffix}", _short, methods=["GET"]),
        Route("/patch_sets/{name:path}.{form:suffix}", _patch_set, methods=["GET"]),
        Route("/bases/{name}.{form:suffix}", _notation, methods=["GET"]),
    ]


def _tabled(page: str) -> frozenset[str]:
    """The forms of a page's table, which are answered before (``table_data.py``)."""
    return frozenset(TABLES if page in LISTS or page == "/kernels/{name}" else ())


def _merged() -> list[tuple[str, frozenset[str], dict[str, str]]]:
    """Each page once, with the address of every form that it has."""
    found: dict[str, dict[str, str]] = {}
    for page, forms, target in _PLACES:
        found.setdefault(page, {}).update(dict.fromkeys(forms, target))
    return [(page, frozenset(targets), targets) for page, targets in found.items()]


def _leading(
    targets: Mapping[str, str], forms: frozenset[str]
) -> Callable[[Request], Awaitable[Response]]:
    async def lead(request: Request) -> Response:
        form = request.path_params["form"]
        _refuse_unknown(request, form, forms)
        target = targets[form]
        name = quote(request.path_params.get("name", ""), safe="")
        more = [("format", form)] if target == _NAMED else []
        return _to(request, target.replace("{name}", name).replace("{form}", form), more)

    return lead


async def _short(request: Request) -> Response:
    """``/b/7k3f.csv`` as ``/batches/b-7k3f.csv``."""
    code, form = request.path_params["code"], request.path_params["form"]
    target = f"/batches/b-{quote(code.removeprefix('b-'), safe='')}.{form}"
    return onwards(f"{target}{_query(request, [])}")


async def _patch_set(request: Request) -> Response:
    """A stored patch set by its id, else what a notation names."""
    name = request.path_params["name"]
    _refuse_unknown(request, request.path_params["form"], _JSON)
    if is_id(name):
        return _to(request, f"/patch_sets/{name}", [])
    return await _notation(request)


async def _notation(request: Request) -> Response:
    _refuse_unknown(request, request.path_params["form"], _JSON)
    return _to(request, "/variants", [("text", request.path_params["name"])])


def _refuse_unknown(request: Request, form: str, forms: frozenset[str]) -> None:
    if form not in forms:
        page = request.url.path.removesuffix(f".{form}")
        known = ", ".join(f".{each}" for each in FORMS if each in forms)
        raise HTTPException(404, f"{page} has no .{form}; it has {known}")


def _to(request: Request, target: str, more: list[tuple[str, str]]) -> Response:
    return onwards(f"{_API}{target}{_query(request, more)}")


def _query(request: Request, more: list[tuple[str, str]]) -> str:
    told = [*more, *request.query_params.multi_items()]
    return f"?{urlencode(told)}" if told else ""
