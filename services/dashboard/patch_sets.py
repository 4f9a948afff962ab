"""The pages of patch sets: the list with search, and one of them as a tree."""

from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import PatchSetDocument
from services.dashboard import notations, uses
from services.dashboard.doors import onwards
from services.dashboard.help import asked_text
from services.dashboard.notes import pins_of
from services.dashboard.pages import ROWS, Pages
from services.dashboard.tree import is_id, kernel_of, parameters_of, steps_of, titles_of

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
            # A schedule of page limits has slashes.
            Route("/patch_sets/{patch_set:path}", self.one),
        ]

    async def list(self, request: Request) -> Response:
        """The patch sets of the project for which every condition of the query holds."""
        if text := asked_text(request, "notation").strip():
            return onwards(f"/patch_sets/{quote(text, safe='')}")
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
        following = urlencode({**asked, "after": found["next_cursor"] or ""})
        return await self._pages.page(
            "patch_sets.html",
            me=me,
            asked=asked,
            rows=[{**row, "kernel": kernel_of(row["base"])} for row in found["items"]],
            is_older=bool(cursor),
            following=f"/patch_sets?{following}" if found["next_cursor"] else None,
            patches=[patch["id"] for patch in known["items"]],
            bases=[base["id"] for base in bases["items"]],
        )

    async def one(self, request: Request) -> Response:
        """A patch set by id or notation: its patches in order, their alternatives, its batches."""
        name = request.path_params["patch_set"]
        if not is_id(name):
            return await notations.page(self._pages, request, name)
        cursor = request.query_params.get("after")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            patch_set = await client.get_patch_set(name)
            used = await client.list_batches_of_patch_set(name, limit=_USES, cursor=cursor)
            known = await client.list_patches()
            kernel = kernel_of(patch_set["base"])
            titles = await titles_of(client, kernel) if kernel else {}
            pins = await pins_of(client)
        return await self._pages.page(
            "patch_set.html",
            me=me,
            patch_set=patch_set,
            pins=pins,
            kernel=kernel,
            titles=titles,
            parameters=parameters_of(patch_set["parameters"]),
            steps=[] if kernel else steps_of(patch_set["patches"], known["items"]),
            versions=_versions(patch_set),
            commands=_commands(patch_set, is_kernel=bool(kernel)),
            uses=uses.rows_of(used["items"]),
            is_older=bool(cursor),
            next_cursor=used["next_cursor"],
        )


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
