"""One method per page: ask the API, shape the answer, fill the template."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from refault.client import AsyncClient, BatchDocument, Page, TraceDocument
from refault.client.connection import FORM_KEY_HEADER
from services.dashboard.verdicts import state_sign
from services.dashboard.view import page_of

ROWS = 20
_FRAME_BYTES = 4096
_GUESTS = {
    "long": "64-bit guest",
    "pae": "PAE guest",
    "32bit": "32-bit guest",
    "nonpaging": "guest without paging",
    "mixed": "guest that changes modes",
}


class Pages:
    """The pages over one API."""

    def __init__(self, api: ASGIApp, templates: jinja2.Environment) -> None:
        self._api = api
        self._templates = templates

    async def home(self, request: Request) -> Response:
        """Batches and traces."""
        query = request.query_params
        async with self.client(request) as client:
            me = await client.get_me()
            batches = await client.list_batches(limit=ROWS, cursor=query.get("batches"))
            traces = await client.list_traces(limit=ROWS, cursor=query.get("traces"))
        return self.page(
            "home.html",
            me=me,
            batches=_rows(batches, _batch_row),
            traces=_rows(traces, _trace_row),
        )

    async def batch(self, request: Request) -> Response:
        """The comparison of a batch; ``?base=`` chooses the column it is read against."""
        name = request.path_params["batch"]
        base = whole_number(request.query_params.get("base", "0"), "base")
        async with self.client(request) as client:
            me = await client.get_me()
            batch = await client.get_batch(name)
            document = await client.comparison(batch["code"], base=base)
            # Forms write with the key of a login; a token has none, and none is shown a form.
            may_act = bool(me["form_key"]) and "submit" in me["scopes"]
            shares = (await client.list_shares(batch["code"]))["items"] if may_act else []
        page = page_of(batch, document, base, address=f"/api/v1/comparisons/{batch['code']}")
        page["shares"] = [share for share in shares if _opens(share)]
        return self.page(
            "batch.html", me=me, batch=batch, page=page, may_act=may_act, is_shared=False
        )

    async def trace(self, request: Request) -> Response:
        """What is known of a trace."""
        async with self.client(request) as client:
            me = await client.get_me()
            trace = await client.get_trace(request.path_params["trace"])
        return self.page("trace.html", me=me, trace=_trace_page(trace))

    async def problem(self, request: Request) -> Response:
        """What a problem's ``type`` means."""
        async with self.client(request) as client:
            kind = await client.get_problem(request.path_params["name"])
        return self.page("problem.html", me=None, kind=kind)

    def client(
        self, request: Request, *, token: str | None = None, form_key: str | None = None
    ) -> AsyncClient:
        """The API on behalf of who asks for a page: with their cookie or token, or with ``token``.

        ``form_key`` is what a form of theirs has sent along; the API compares it.
        """
        shown = () if token else ("authorization", "cookie")
        headers = {
            name: request.headers[name] for name in (*shown, "origin") if name in request.headers
        }
        if form_key is not None:
            headers[FORM_KEY_HEADER] = form_key
        address = (request.client.host, request.client.port) if request.client else ("unknown", 0)
        return AsyncClient.in_process(
            self._api, str(request.base_url), token=token, headers=headers, address=address
        )

    def page(self, template: str, **values: Any) -> Response:
        """A filled template as an answer."""
        return HTMLResponse(self.text(template, **values))

    def text(self, template: str, **values: Any) -> str:
        """A filled template."""
        return self._templates.get_template(template).render(values)


def _opens(share: Mapping[str, Any]) -> bool:
    """Whether a link opens its batch now."""
    expires_at = share["expires_at"]
    is_over = expires_at is not None and datetime.fromisoformat(expires_at) <= datetime.now(UTC)
    return share["revoked_at"] is None and not is_over


def _rows(page: Page[Any], shape: Any) -> dict[str, Any]:
    return {
        "rows": [shape(item) for item in page["items"]],
        "next_cursor": page["next_cursor"],
    }


def _batch_row(batch: BatchDocument) -> dict[str, Any]:
    sign, tone = state_sign(batch["state"])
    return {
        "code": batch["code"],
        "state": batch["state"],
        "sign": sign,
        "tone": tone,
        "is_stale": batch["is_stale"],
        "alarm_count": batch["integrity_alarms"],
        "patch_sets": ", ".join(entry["name"] for entry in batch["patch_sets"]),
        "traces": ", ".join(entry["name"] for entry in batch["traces"]),
        "finished": batch["progress"]["finished"],
        "total": batch["progress"]["total"],
        "cached": batch["progress"]["cached"],
        "created_at": batch["created_at"],
    }


def _trace_row(trace: TraceDocument) -> dict[str, Any]:
    return {**trace, "guest": _guest(trace)}


def _trace_page(trace: TraceDocument) -> dict[str, Any]:
    header: Mapping[str, Any] = trace.get("header", {})
    facts = [
        {"name": title, "value": value}
        for title, value in (
            ("Capture tool", header.get("capture_tool")),
            ("Time unit", header.get("time_unit")),
            *_named(header.get("capture_filter"), "Capture"),
            *_named(header.get("guest"), "Guest"),
            *_named(header.get("workload_marks"), "Mark"),
        )
        if value not in {None, ""}
    ]
    event_count = trace["event_count"]
    return {
        **trace,
        "guest": _guest(trace),
        "facts": facts,
        "kinds": [
            {"name": name, "count": count, "share": f"{100 * count / event_count:.1f} %"}
            for name, count in sorted(trace["events_by_kind"].items(), key=lambda kind: -kind[1])
            if count
        ],
        "slots": [
            {
                "slot": slot["slot"],
                "first": hex(slot["base_gfn"]),
                "page_count": slot["page_count"],
                "size_bytes": slot["page_count"] * _FRAME_BYTES,
            }
            for slot in header.get("slots", [])
        ],
    }


def _named(values: Mapping[str, Any] | None, lead: str) -> list[tuple[str, Any]]:
    return [(f"{lead}: {name}", value) for name, value in (values or {}).items()]


def _guest(trace: TraceDocument) -> str:
    vcpus = "1 vCPU" if trace["vcpu_count"] == 1 else f"{trace['vcpu_count']} vCPUs"
    return f"{_GUESTS.get(trace['guest_mode'], trace['guest_mode'])}, {vcpus}"


def whole_number(text: str, name: str) -> int:
    """A number of a query; a 422 for anything else."""
    if not (text.isascii() and text.isdecimal()):
        raise HTTPException(422, f"{name} must be a whole number")
    return int(text)
