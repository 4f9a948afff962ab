"""The pages of imported bundles: comparisons that another service made."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.dashboard.doors import fields_of, onwards
from services.dashboard.formats import change, grouped
from services.dashboard.pages import ROWS, Pages
from services.dashboard.verdicts import shown


class BundlePages:
    """The pages under ``/bundles``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/bundles", self.list),
            Route("/bundles/{bundle}", self.one),
            Route("/bundles/{bundle}/delete", self.delete, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """The imported comparisons of the project; how to import one."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_bundles(limit=ROWS, cursor=request.query_params.get("after"))
        rows = [row | {"shown": shown(row["verdict"])} for row in found["items"]]
        return self._pages.page("bundles.html", me=me, rows=rows, next_cursor=found["next_cursor"])

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
                "reason": column["reason"],
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
