"""The page of a base: what it is, how it behaves, what goes on it, and what was made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.routing import Route

from services.dashboard import uses
from services.dashboard.notes import pins_of
from services.dashboard.pages import ROWS, Pages
from services.dashboard.patches import fate_sign

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from refault.client import PatchDocument

_USES = 10


class BasePages:
    """The pages under ``/bases``; their list stands on ``/patches``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The addresses of these pages."""
        return [Route("/bases/{base}", self.one)]

    async def one(self, request: Request) -> Response:
        """A base of the catalogue."""
        name = request.path_params["base"]
        cursor = request.query_params.get("after")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            bases = (await client.list_bases())["items"]
            base = next((each for each in bases if each["id"] == name), None)
            if base is None:
                known = ", ".join(each["id"] for each in bases)
                raise HTTPException(404, f"no base {name[:80]}; there are {known}")
            known_patches = (await client.list_patches())["items"]
            sets = await client.list_patch_sets(base=name, limit=ROWS)
            variant = (await client.get_variant(name))["variant"]
            used = await client.list_batches_of_variant(
                variant["digest"], limit=_USES, cursor=cursor
            )
            pins = await pins_of(client)
        is_kvm = bool(base["knobs"])
        return await self._pages.page(
            "base_page.html",
            me=me,
            base=base,
            is_kvm=is_kvm,
            variant=variant,
            answers=list(_answers(name, known_patches)) if is_kvm else [],
            applies=[_row(patch) for patch in known_patches if name in patch["applies_to"]],
            merged=_told(known_patches, "merged_in", name),
            not_on=_told(known_patches, "not_on", name),
            patch_sets=sets["items"],
            more_sets=bool(sets["next_cursor"]),
            uses=uses.rows_of(used["items"]),
            next_cursor=used["next_cursor"],
            is_older=bool(cursor),
            pins=pins,
            command=f"refault submit TRACE -p {name} --wait",
        )


def _row(patch: PatchDocument) -> dict[str, Any]:
    return {**patch, "badge": fate_sign(is_merged=patch["is_merged"])}


def _answers(base: str, patches: Sequence[PatchDocument]) -> Iterator[Mapping[str, Any]]:
    """How the base behaves where patches change it: each question once, and who answers it so."""
    by_knob: dict[str, dict[str, Any]] = {}
    for patch in patches:
        for change in patch["changes"]:
            if base not in change["before"]:
                continue
            told = by_knob.setdefault(
                change["knob"],
                {
                    "knob": change["knob"],
                    "question": change["question"],
                    "answer": change["before"][base],
                    "source": change["source"],
                    "patches": [],
                },
            )
            told["patches"].append(patch["id"])
    yield from by_knob.values()


def _told(patches: Sequence[PatchDocument], field: str, base: str) -> list[dict[str, Any]]:
    """The patches that say something of the base: that it has them, or why they make no sense."""
    return [
        {"id": patch["id"], "title": patch["title"], "text": patch[field][base]}  # type: ignore[literal-required]
        for patch in patches
        if base in patch[field]  # type: ignore[literal-required]
    ]
