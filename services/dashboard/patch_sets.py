"""The pages of patch sets: the list with search, and one of them as a tree."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient, PatchDocument, PatchSetDocument
from refault.errors import Refused
from services.dashboard import uses
from services.dashboard.help import asked_text
from services.dashboard.pages import ROWS, Pages
from services.dashboard.patches import fate_sign

_KERNEL = "kernel:"
_FACETS = ("q", "patch", "base", "series")
_USES = 10


class PatchSetPages:
    """The pages under ``/patch_sets``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The addresses of these pages."""
        return [
            Route("/patch_sets", self.list),
            Route("/patch_sets/{patch_set}", self.one),
        ]

    async def list(self, request: Request) -> Response:
        """The patch sets of the project for which every condition of the query holds."""
        asked = {name: asked_text(request, name) for name in _FACETS}
        cursor = request.query_params.get("after")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_patch_sets(
                q=asked["q"] or None,
                patch=asked["patch"] or None,
                base=asked["base"] or None,
                series=asked["series"] or None,
                limit=ROWS,
                cursor=cursor,
            )
            known = await client.list_patches()
            bases = await client.list_bases()
        query = urlencode({name: text for name, text in asked.items() if text})
        following = urlencode({**asked, "after": found["next_cursor"] or ""})
        return self._pages.page(
            "patch_sets.html",
            me=me,
            asked=asked,
            rows=[{**row, "kernel": kernel_of(row["base"])} for row in found["items"]],
            is_older=bool(cursor),
            following=f"/patch_sets?{following}" if found["next_cursor"] else None,
            patches=[patch["id"] for patch in known["items"]],
            bases=[base["id"] for base in bases["items"]],
            data=f"/api/v1/patch_sets?{query}" if query else "/api/v1/patch_sets",
        )

    async def one(self, request: Request) -> Response:
        """A patch set: its base, its patches in order with their alternatives, its batches."""
        name = request.path_params["patch_set"]
        cursor = request.query_params.get("after")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            patch_set = await client.get_patch_set(name)
            used = await client.list_batches_of_patch_set(name, limit=_USES, cursor=cursor)
            known = await client.list_patches()
            kernel = kernel_of(patch_set["base"])
            titles = await _titles(client, kernel) if kernel else {}
        return self._pages.page(
            "patch_set.html",
            me=me,
            patch_set=patch_set,
            kernel=kernel,
            titles=titles,
            parameters=_parameters(patch_set["parameters"]),
            steps=[] if kernel else _steps(patch_set, known["items"]),
            versions=_versions(patch_set),
            commands=_commands(patch_set, is_kernel=bool(kernel)),
            uses=uses.rows_of(used["items"]),
            is_older=bool(cursor),
            next_cursor=used["next_cursor"],
        )


async def _titles(client: AsyncClient, kernel: str) -> dict[str, str]:
    """The titles of a kernel's patches by number; none once it was deleted."""
    try:
        found = await client.get_kernel(kernel)
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return {}
    return {str(patch["number"]): patch["title"] for patch in found["patches"]}


def kernel_of(base: str) -> str:
    """The name of the kernel that a base is; empty for one of the catalogue."""
    return base.removeprefix(_KERNEL) if base.startswith(_KERNEL) else ""


def _parameters(parameters: Mapping[str, Any]) -> str:
    """The parameters that are set, in words; empty where all have their defaults."""
    usual = {"page_limit": None, "bypass": None, "host_page_level": 1, "tlb": 0, "tdp": 0}
    words = []
    for name, value in parameters.items():
        if value == usual.get(name):
            continue
        told = value
        if isinstance(value, Mapping):
            told = (
                f"{value['first']} and {value['then']} in turn, every {value['every']} operations"
            )
        words.append(f"{name.replace('_', ' ')} {told}")
    return ", ".join(words)


def _steps(patch_set: PatchSetDocument, known: Sequence[PatchDocument]) -> list[dict[str, Any]]:
    """The patches in order, each with the other forms of its change."""
    by_id = {patch["id"]: patch for patch in known}
    steps = []
    for number, patch_id in enumerate(patch_set["patches"], 1):
        patch = by_id.get(patch_id)
        if patch is None:
            # It was taken out of the catalogue after the set was made.
            steps.append({"number": number, "id": patch_id, "is_known": False})
            continue
        others = [
            {**form, "badge": fate_sign(is_merged=form["is_merged"])}
            for form in patch["forms"]
            if form["id"] not in patch_set["patches"]
        ]
        steps.append(
            {
                "number": number,
                "id": patch_id,
                "is_known": True,
                "title": patch["title"],
                "author": patch["author"],
                "date": patch["date"],
                "badge": fate_sign(is_merged=patch["is_merged"]),
                "changes": patch["changes"],
                "others": others,
            }
        )
    return steps


def _versions(patch_set: PatchSetDocument) -> list[dict[str, Any]]:
    """Every version of its series, the oldest first; none where it belongs to none."""
    if not patch_set.get("series"):
        return []
    here = {
        "id": patch_set["id"],
        "name": patch_set["name"],
        "version": patch_set.get("version"),
        "is_here": True,
    }
    others = [{**sibling, "is_here": False} for sibling in patch_set.get("siblings", [])]
    return sorted([here, *others], key=lambda each: (each["version"], each["id"]))


def _commands(patch_set: PatchSetDocument, *, is_kernel: bool) -> list[dict[str, str]]:
    submit = f"refault submit TRACE -s {patch_set['id']}"
    commands = [{"what": "Run it:", "text": f"{submit} --wait"}]
    if patch_set["patches"]:
        commands = [
            {
                "what": "Every prefix of it, so that each step shows:",
                "text": f"{submit} --plan series --wait",
            },
            {
                "what": "It whole, and without each of its patches in turn:",
                "text": f"{submit} --plan ablation --wait",
            },
        ]
    if not is_kernel:
        text = patch_set["variant"]["text"]
        commands.append(
            {"what": "On your machine:", "text": f"refault replay TRACE.rft -v base -v {text}"}
        )
    return commands
