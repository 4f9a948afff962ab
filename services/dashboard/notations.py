"""The page of a patch set that one line names, whether or not it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException

from refault.errors import Refused
from services.dashboard import uses
from services.dashboard.notes import pins_of
from services.dashboard.tree import kernel_of, parameters_of, steps_of, titles_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from refault.client.catalogue_documents import NotationDocument
    from services.dashboard.pages import Pages

_USES = 10
_LENGTH_MAX = 2_000


async def page(pages: Pages, request: Request, text: str) -> Response:
    """What ``p1+p2,tlb=1`` names, drawn as a stored patch set is."""
    if len(text) > _LENGTH_MAX:
        raise HTTPException(404, f"no patch set has a name of more than {_LENGTH_MAX} characters")
    cursor = request.query_params.get("after")
    async with pages.client(request) as client:
        me = await client.get_me()
        try:
            found = await client.get_variant(text)
        except Refused as error:
            raise HTTPException(404 if error.status == 422 else error.status, str(error)) from error  # noqa: PLR2004
        used = await client.list_batches_of_variant(
            found["variant"]["digest"], limit=_USES, cursor=cursor
        )
        known = await client.list_patches()
        kernel = kernel_of(found["base"])
        titles = await titles_of(client, kernel) if kernel else {}
        pins = await pins_of(client)
    return await pages.page(
        "notation.html",
        me=me,
        notation=found,
        kernel=kernel,
        titles=titles,
        parameters=parameters_of(found["parameters"]),
        steps=[] if kernel else steps_of(found["patches"], known["items"]),
        commands=_commands(found, is_kernel=bool(kernel)),
        submit=_submit(found, is_kernel=bool(kernel)),
        uses=uses.rows_of(used["items"]),
        is_older=bool(cursor),
        next_cursor=used["next_cursor"],
        pins=pins,
        data=f"/api/v1/variants?{urlencode({'text': found['text']})}",
    )


def _commands(found: NotationDocument, *, is_kernel: bool) -> list[Mapping[str, str]]:
    commands: list[Mapping[str, str]] = [
        {"what": "Run it:", "text": f"refault submit TRACE -p {found['text']} --wait"}
    ]
    if not is_kernel:
        text = f"refault replay TRACE.rft -v {found['base']} -v {found['text']}"
        commands.append({"what": "On your machine:", "text": text})
    return commands


def _submit(found: NotationDocument, *, is_kernel: bool) -> str:
    """The form for a batch of it, filled in; empty for what the form has no field for."""
    if found["stored"]:
        return f"/batches/new?{urlencode({'patch_set': found['stored'][0]['id']})}"
    if is_kernel or parameters_of(found["parameters"]):
        return ""
    chosen: dict[str, Any] = {"base": found["base"], "patches": "+".join(found["patches"])}
    return f"/batches/new?{urlencode({**chosen, 'plan': 'series'})}"
