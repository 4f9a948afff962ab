"""Findings over the corpus: by kind and variant, and the runs behind one group."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.routing import Route

from services.dashboard.audits import look_at
from services.dashboard.formats import counted, grouped
from services.dashboard.pages import ROWS
from services.dashboard.trace_section import INSPECTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from refault.client.finding_calls import FindingCellDocument, FindingGroupDocument, Wanted
    from services.dashboard.pages import Pages

_TEXTS = ("kind", "variant", "trace", "batch", "q")
_SOURCES = {"run": "seen in a replay", "audit": "failed in an audit"}
_LENGTH_MAX = 100


class FindingPages:
    """The page ``/findings``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """The routes of this page."""
        return [Route("/findings", self.list)]

    async def list(self, request: Request) -> Response:
        """Groups; with a kind and a variant, the cells of that group. Filters are the query."""
        wanted, chosen = _wanted(request.query_params)
        is_group = "kind" in wanted and "variant" in wanted
        after = request.query_params.get("after")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            groups = await client.list_findings(
                wanted, limit=ROWS, cursor=None if is_group else after
            )
            cells = None
            if is_group:
                cells = await client.list_finding_cells(wanted, limit=ROWS, cursor=after)
        next_cursor = groups["next_cursor"] if cells is None else cells["next_cursor"]
        return await self._pages.page(
            "findings.html",
            me=me,
            groups=[_group(group, chosen) for group in groups["items"]],
            cells=None if cells is None else [_cell(cell) for cell in cells["items"]],
            shrink=_shrink(cells["items"]) if cells and cells["items"] else "",
            chosen=chosen,
            is_filtered=any(chosen.values()),
            sources=_SOURCES,
            address="/api/v1/findings"
            + ("/cells" if is_group else "")
            + (f"?{urlencode(wanted)}" if wanted else ""),
            next=next_cursor and f"/findings?{urlencode({**_kept(chosen), 'after': next_cursor})}",
            whole="/findings?"
            + urlencode({k: v for k, v in _kept(chosen).items() if k not in {"kind", "variant"}}),
        )


def _wanted(query: Mapping[str, str]) -> tuple[Wanted, dict[str, str]]:
    """The filter of an address, as the API takes it and as the form shows it."""
    chosen = {name: query.get(name, "").strip() for name in (*_TEXTS, "source", "known")}
    for name, text in chosen.items():
        if len(text) > _LENGTH_MAX:
            raise HTTPException(422, f"{name} has more than {_LENGTH_MAX} characters")
    if chosen["source"] not in {"", *_SOURCES}:
        raise HTTPException(422, f"source must be one of {', '.join(_SOURCES)}")
    if chosen["known"] not in {"", "true", "false"}:
        raise HTTPException(422, "known must be true or false")
    wanted: dict[str, Any] = {name: text for name, text in chosen.items() if text}
    if "known" in wanted:
        wanted["known"] = wanted["known"] == "true"
    return wanted, chosen  # type: ignore[return-value]  # names of the filter alone


def _kept(chosen: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in chosen.items() if text}


def _group(group: FindingGroupDocument, chosen: Mapping[str, str]) -> dict[str, Any]:
    query = {**_kept(chosen), "kind": group["kind"], "variant": group["variant"]["digest"]}
    sign, tone = ("≈", "same") if group["is_known"] else ("✕", "alarm")
    word = "guest sees it" if group["is_guest_visible"] else _word(group)
    return {
        **group,
        "href": f"/findings?{urlencode(query)}",
        "badge": {"sign": sign, "tone": tone, "title": word},
        "cells": grouped(group["cells"]),
        "places": grouped(group["places"]) + ("" if group["is_all"] else " or more"),
        "traces": grouped(group["traces"]),
        "first": _cell(group["first"]),
    }


def _word(group: FindingGroupDocument) -> str:
    return "known defect" if group["is_known"] else "rule broken"


def _shrink(cells: Sequence[FindingCellDocument]) -> str:
    """The commands that make a bug report of a few events of the smallest trace that has it.

    A kernel of one's own keeps its state to itself, so its findings cannot be shrunk.
    """
    first = min(cells, key=lambda cell: cell["event_index"])
    if first["variant"]["engine"] not in INSPECTED:
        return ""
    file = f"{first['trace_digest'][:12]}.rft"
    keep = shlex.quote(f"finding:{first['kind']}@{first['variant']['text']}")
    return (
        f"refault traces download {first['trace_digest'][:12]} --output {file}\n"
        f"refault shrink {file} --keep {keep} --as-test ."
    )


def _cell(cell: FindingCellDocument) -> dict[str, Any]:
    variant = cell["variant"]
    text = variant["text"] if variant["engine"] in INSPECTED else None
    view = {cell["address_kind"]: cell["address"]} if cell["address_kind"] else {}
    return {
        **cell,
        "trace": cell["trace_name"] or cell["trace_digest"][:12],
        "told": counted(cell["count"], "time") + ("" if cell["is_all"] else " or more"),
        "look": look_at(cell["trace_digest"], text, cell, **view),
    }
