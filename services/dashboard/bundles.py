"""The pages of imported bundles: comparisons that another service made."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from refault.bundle.layout import IMPORTED_BYTES_MAX
from refault.errors import InvalidRequest, Refused
from services.dashboard.doors import fields_of, onwards
from services.dashboard.formats import change, grouped, with_minus
from services.dashboard.multipart import FormReader
from services.dashboard.pages import ROWS, Pages
from services.dashboard.plan_view import pairs_of
from services.dashboard.uploading import UNUSABLE, drain
from services.dashboard.verdicts import shown

_FIELD_BYTES_MAX = 1_000


class BundlePages:
    """The pages under ``/bundles``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/bundles", self.list, methods=["GET"]),
            Route("/bundles", self.import_one, methods=["POST"]),
            Route("/bundles/{bundle}", self.one),
            Route("/bundles/{bundle}/delete", self.delete, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """The imported comparisons of the project; how to import one."""
        return await self._listed(request)

    async def import_one(self, request: Request) -> Response:
        """The page of the bundle that a form brings, or the list with what is wrong with it."""
        # Nothing is read of somebody who is not known.
        async with self._pages.client(request) as client:
            await client.get_me()
        try:
            key, data = await _sent(request)
            async with self._pages.client(request, form_key=key) as client:
                found = await client.import_bundle(data)
        except (Refused, InvalidRequest) as error:
            await drain(request)
            status = error.status if isinstance(error, Refused) else UNUSABLE
            return await self._listed(request, str(error), status)
        return onwards(f"/bundles/{found['id']}")

    async def _listed(self, request: Request, complaint: str = "", status: int = 200) -> Response:
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_bundles(limit=ROWS, cursor=request.query_params.get("after"))
        body = self._pages.text(
            "bundles.html",
            me=me,
            rows=[row | {"shown": shown(row["verdict"])} for row in found["items"]],
            next_cursor=found["next_cursor"],
            complaint=complaint,
            may_import=bool(me["form_key"]) and "submit" in me["scopes"],
            mebibytes_max=IMPORTED_BYTES_MAX >> 20,
        )
        return HTMLResponse(body, status)

    async def one(self, request: Request) -> Response:
        """One of them; ``?trace=`` is the number of the one trace shown, from 1."""
        wanted = request.query_params.get("trace")
        if wanted is not None and not (wanted.isascii() and wanted.isdecimal() and len(wanted) < 6):  # noqa: PLR2004
            raise HTTPException(422, "trace: expected a number counted from 1")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            bundle = await client.get_imported(
                request.path_params["bundle"], trace=int(wanted) if wanted else None
            )
        first = int(wanted) if wanted else 1
        return await self._pages.page_in_thread(
            "bundle.html",
            lambda: {
                "me": me,
                "bundle": bundle | {"shown": shown(bundle["verdict"])},
                "answer": with_minus(bundle["answer"] or ""),
                "steps": [
                    step
                    | {
                        "shown": shown(step["verdict"]["name"]),
                        "sentence": with_minus(step["sentence"]),
                    }
                    for step in bundle["steps"]
                ],
                "pairs": pairs_of(bundle),
                "sections": [
                    _section(first + place, comparison)
                    for place, comparison in enumerate(bundle["comparisons"])
                ],
                "may_delete": bool(me["form_key"]) and "submit" in me["scopes"],
            },
        )

    async def delete(self, request: Request) -> Response:
        """Deletes it."""
        fields = await fields_of(request)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.delete_bundle(request.path_params["bundle"])
        return onwards("/bundles")


async def _sent(request: Request) -> tuple[str, bytes]:
    """The form key and the file of a form.

    Raises:
        InvalidRequest: it has no file, or a larger one than is imported.
    """
    key = ""
    reader = FormReader(request.headers.get("content-type", ""), aiter(request.stream()))
    while (part := await reader.next_part()) is not None:
        if part.filename is None:
            text = await reader.text_of_part(_FIELD_BYTES_MAX)
            key = text if part.name == "form_key" else key
            continue
        data = bytearray()
        async for piece in reader.bytes_of_part():
            data += piece
            if len(data) > IMPORTED_BYTES_MAX:
                raise InvalidRequest(
                    f"a bundle of more than {IMPORTED_BYTES_MAX >> 20} MiB is not imported; with "
                    "traces inside, `refault bundle import` sends them by themselves"
                )
        if data:
            return key, bytes(data)
        break
    raise InvalidRequest("no file was chosen: choose a bundle (.zip)")


def _section(number: int, comparison: Mapping[str, Any]) -> dict[str, Any]:
    columns = comparison["columns"]
    changed = [row for row in comparison["counters"] if not row["is_same"]]
    return {
        "anchor": f"trace-{number}",
        "name": comparison["trace"]["name"],
        "columns": [
            {
                "label": column["label"],
                "verdict": shown(column["verdict"]["name"]),
                "reason": with_minus(column["reason"]),
            }
            for column in columns
        ],
        "rows": [{"name": row["name"], "cells": _cells(row)} for row in changed],
        "same_count": len(comparison["counters"]) - len(changed),
    }


def _cells(row: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    numbers = zip(row["values"], row["changes"], row["percents"], strict=True)
    return [
        {"value": grouped(value), "change": change(delta, percent) if delta else ""}
        for value, delta, percent in numbers
    ]
