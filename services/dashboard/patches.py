"""The pages of the catalogue: its patches with search, and one of them."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import PatchDocument
from services.dashboard import uses
from services.dashboard.help import asked_text
from services.dashboard.notes import notes_of, pins_of
from services.dashboard.pages import ROWS, Pages

_FACETS = ("q", "author", "base", "form_of", "merged")
_MERGED = {"": None, "true": True, "false": False}
_USES = 10


class PatchPages:
    """The pages under ``/patches``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The addresses of these pages."""
        return [Route("/patches", self.list), Route("/patches/{patch}", self.one)]

    async def list(self, request: Request) -> Response:
        """The patches for which every condition of the query holds, and the bases."""
        asked = {name: asked_text(request, name) for name in _FACETS}
        if asked["merged"] not in _MERGED:
            raise HTTPException(422, "merged must be true or false")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            known = await client.list_patches()
            found = await client.list_patches(
                q=asked["q"] or None,
                author=asked["author"] or None,
                base=asked["base"] or None,
                form_of=asked["form_of"] or None,
                merged=_MERGED[asked["merged"]],
            )
            bases = await client.list_bases()
            pins = await pins_of(client)
        return await self._pages.page(
            "patches.html",
            me=me,
            asked=asked,
            rows=[_row(patch) for patch in found["items"]],
            total=len(known["items"]),
            bases=bases["items"],
            pins=pins,
            choices=_choices(known["items"]),
        )

    async def one(self, request: Request) -> Response:
        """A patch: what is known of it, and where this project ran it."""
        name = request.path_params["patch"]
        cursor = request.query_params.get("after")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            patch = await client.get_patch(name)
            used = await client.list_batches_of_patch(name, limit=_USES, cursor=cursor)
            sets = await client.list_patch_sets(patch=name, limit=ROWS)
            notes = await notes_of(client, request, patch=name)
        return await self._pages.page(
            "patch.html",
            me=me,
            patch=_page(patch),
            uses=uses.rows_of(used["items"]),
            is_older=bool(cursor),
            next_cursor=used["next_cursor"],
            patch_sets=sets["items"],
            **notes,
            note_patch=patch["id"],
            note_back=f"/patches/{patch['id']}",
            more_sets=bool(sets["next_cursor"]),
        )


def fate_sign(*, is_merged: bool) -> dict[str, str]:
    """What became of a patch, as a badge."""
    if is_merged:
        return {"sign": "✓", "tone": "same", "title": "merged"}
    return {"sign": "–", "tone": "missing", "title": "not merged as such"}


def _row(patch: PatchDocument) -> dict[str, Any]:
    return {**patch, "badge": fate_sign(is_merged=patch["is_merged"])}


def _choices(patches: Sequence[PatchDocument]) -> dict[str, list[Any]]:
    """What the facets offer: the authors, and the patches that have other forms."""
    origins = dict.fromkeys(patch["form_of"] for patch in patches if patch["form_of"])
    titles = {patch["id"]: patch["title"] for patch in patches}
    return {
        "authors": sorted({patch["author"] for patch in patches}),
        "origins": [{"id": origin, "title": titles[origin]} for origin in origins if origin],
    }


def _page(patch: PatchDocument) -> dict[str, Any]:
    forms = [{**form, "badge": fate_sign(is_merged=form["is_merged"])} for form in patch["forms"]]
    return {
        **patch,
        "badge": fate_sign(is_merged=patch["is_merged"]),
        "forms": forms,
        "changes": [{**change, "before": _before(change)} for change in patch["changes"]],
        "sizes": _sizes(patch["layout"]),
        "thread": patch["thread"] and _thread(patch["thread"], patch["id"]),
        "commands": _commands(patch),
        "submit": _submit(patch),
    }


def _before(change: Mapping[str, Any]) -> list[dict[str, str]]:
    """What holds without the patch; the bases are named where they differ."""
    by_text: dict[str, list[str]] = {}
    for base, text in change["before"].items():
        by_text.setdefault(text, []).append(base)
    is_one = len(by_text) == 1
    return [
        {"text": text, "bases": "" if is_one else ", ".join(bases)}
        for text, bases in by_text.items()
    ]


def _sizes(layout: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The size of struct kvm_mmu_page with and without the patch, by ABI."""
    if layout is None:
        return []
    return [
        {"abi": abi, "before": layout["before"][abi], "after": layout[abi]}
        for abi in ("x86-64", "i386")
    ]


def _thread(thread: Mapping[str, Any], patch_id: str) -> dict[str, Any]:
    return {
        **thread,
        "is_own": thread["patch"] == patch_id,
        "cited": _cited(thread["mail"]),
        "said": [
            {**each, "cited": _cited(each["mail"]) if each["mail"] else ""}
            for each in thread["said"]
        ],
    }


def _cited(mail: Mapping[str, str]) -> str:
    return f"{mail['author']}, {mail['date']}, {mail['time']}"


def _submit(patch: PatchDocument) -> str:
    """The form for a batch of it, filled in; empty where it applies to nothing by itself."""
    if not patch["text"]:
        return ""
    first, plus, rest = patch["text"].partition("+")
    has_base = plus and first in patch["applies_to"]
    chosen = {"base": first, "patches": rest} if has_base else {"patches": patch["text"]}
    return f"/batches/new?{urlencode({**chosen, 'plan': 'series'})}"


def _commands(patch: PatchDocument) -> list[dict[str, str]]:
    if not patch["text"]:
        return []
    columns = f"{patch['held_against']} {patch['text']}".split()
    replay = " ".join(f"-v {column}" for column in columns)
    submit = " ".join(f"-p {column}" for column in columns)
    return [
        {"what": "On your machine:", "text": f"refault replay TRACE.rft {replay}"},
        {"what": "On this service:", "text": f"refault submit TRACE {submit} --wait"},
        {
            "what": "With the invariants checked, so that the verdict says what it breaks and "
            "what it repairs:",
            "text": f"refault submit TRACE {submit} --audit flush --wait",
        },
    ]
