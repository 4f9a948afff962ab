"""The page of a trace: its make-up, what it cannot tell, its batches; edited and deleted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from refault.client import TraceDocument
from refault.client.question_calls import OPEN_STATES
from refault.client.question_documents import QuestionDocument
from refault.errors import Refused
from refault.limits import limits_of
from services.dashboard.doors import fields_of, lists_of, onwards
from services.dashboard.pages import Pages
from services.dashboard.rows import batch_row, guest, rows_of

BATCHES_SHOWN = 10
_FRAME_BYTES = 4096
_SPARK_HEIGHT = 20
# A note has 10,000 characters, each of which may be escaped.
_FORM_BYTES_MAX = 128 * 1024


class TracePages:
    """The pages under ``/traces/{trace}``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/traces/{trace}", self.trace),
            Route("/traces/{trace}/edit", self.edit, methods=["POST"]),
            Route("/traces/{trace}/delete", self.delete, methods=["GET", "POST"]),
        ]

    async def trace(self, request: Request) -> Response:
        """The trace."""
        return await self._trace(request)

    async def edit(self, request: Request) -> Response:
        """Changes name, tags and note."""
        lists = await lists_of(request, lines=frozenset({"note"}), bytes_max=_FORM_BYTES_MAX)
        fields = {name: values[0] for name, values in lists.items()}
        trace = request.path_params["trace"]
        changes = {
            "name": fields.get("name", "").strip(),
            "tags": fields.get("tags", "").split(),
            "note": fields.get("note", "").strip(),
        }
        try:
            async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
                await client.change_trace(trace, **changes)
        except Refused as error:
            return await self._trace(request, str(error), fields, error.status)
        return onwards(f"/traces/{trace}")

    async def delete(self, request: Request) -> Response:
        """What a deletion would take with it, and the deletion."""
        trace = request.path_params["trace"]
        if request.method == "POST":
            fields = await fields_of(request)
            async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
                await client.delete_trace(trace, cascade=fields.get("cascade") == "yes")
            return onwards("/traces")
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.get_trace(trace)
        # Lists what would go and writes nothing, but the API takes it for a deletion.
        async with self._pages.client(request, form_key=me["form_key"]) as client:
            taken = await client.delete_trace(trace, dry_run=True)
        return await self._pages.page("trace_delete.html", me=me, trace=found, taken=taken)

    async def _trace(
        self,
        request: Request,
        complaint: str | None = None,
        fields: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        async with self._pages.client(request) as client:
            me = await client.get_me()
            trace = await client.get_trace(request.path_params["trace"])
            batches = await client.list_batches(limit=BATCHES_SHOWN, trace=trace["digest"])
            asked = await client.list_questions(kind="verification", trace=trace["digest"], limit=1)
        usual = {
            "name": trace["name"],
            "tags": " ".join(trace["tags"]),
            "note": trace["note"],
        }
        text = self._pages.text(
            "trace.html",
            me=me,
            may_edit=bool(me["form_key"]) and "upload" in me["scopes"],
            may_submit=bool(me["form_key"]) and "submit" in me["scopes"],
            trace=_page(trace),
            verification=_verification(trace, asked["items"]),
            batches=rows_of(batches, batch_row),
            uploaded=request.query_params.get("uploaded", ""),
            complaint=complaint,
            fields=usual | dict(fields or {}),
        )
        return HTMLResponse(text, status)


def _page(trace: TraceDocument) -> dict[str, Any]:
    header: Mapping[str, Any] = trace.get("header", {})
    capture = header.get("capture_filter") or {}
    makeup = trace["statistics"].get("makeup")
    facts = [
        {"name": title, "value": value}
        for title, value in (
            ("Capture tool", header.get("capture_tool")),
            ("Time unit", header.get("time_unit")),
            *_named({k: v for k, v in capture.items() if k not in {"keeps", "loses"}}, "Capture"),
            *_named(trace["guest"], "Guest"),
            *_named(header.get("provenance") or {}, "From"),
            *_named(header.get("extra") or {}, "Also"),
        )
        if value not in {None, ""}
    ]
    return {
        **trace,
        "guest_title": guest(trace),
        "facts": facts,
        "kinds": list(_kinds(trace, makeup)),
        "makeup": makeup,
        "working_set": _working_set(trace),
        "limits": list(_limits(trace, header, capture)),
        "marks": _marks(trace, header),
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


def _working_set(trace: TraceDocument) -> dict[str, Any] | None:
    """How many frames the guest touches in each slice of its time; None before it was counted."""
    told = trace["statistics"].get("working_set")
    if not told or not told["touched"]:
        return None
    frames = told["frames"]
    most = max(frames)
    return {
        **told,
        "most": most,
        "most_bytes": most * _FRAME_BYTES,
        "touched_bytes": told["touched"] * _FRAME_BYTES,
        "memory_bytes": told["memory"] * _FRAME_BYTES,
        "bars": _bars(frames),
        "rows": [
            {"from": place * told["width"], "frames": count, "bytes": count * _FRAME_BYTES}
            for place, count in enumerate(frames)
        ],
    }


def _bars(slices: list[int]) -> list[dict[str, int]]:
    return [
        {"x": place, "height": height, "y": _SPARK_HEIGHT - height}
        for place, height in enumerate(_heights(slices))
        if height
    ]


def _kinds(trace: TraceDocument, makeup: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The kinds of events, the most frequent first, each with its course over the guest's time."""
    for name, count in sorted(trace["events_by_kind"].items(), key=lambda kind: -kind[1]):
        if count:
            slices = (makeup or {}).get("kinds", {}).get(name, [])
            yield {
                "name": name,
                "count": count,
                "share": f"{100 * count / max(trace['event_count'], 1):.1f} %",
                "slices": slices,
                "most": max(slices, default=0),
                "bars": _bars(slices),
            }


def _heights(slices: list[int]) -> list[int]:
    """The heights of bars; what is there at all is seen."""
    most = max(slices, default=0)
    return [-(-_SPARK_HEIGHT * count // most) if count else 0 for count in slices]


def _limits(
    trace: TraceDocument, header: Mapping[str, Any], capture: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """What a replay of it can and cannot tell, as the capture says itself."""
    if trace["content"] != "capture":
        yield "No guest", "These are operations as given: nothing says what a real guest saw."
    if capture.get("keeps"):
        yield "Kept", str(capture["keeps"])
    limits = limits_of(header.get("origin") or "", header.get("losses") or ())
    if limits:
        yield "Limits", "; ".join(limits)
    elif capture.get("loses"):
        yield "Lost", str(capture["loses"])
    if trace["truncated"]:
        yield "Cut off", "The file ended early; what is here ends with its last whole block."
    for note in header.get("notes") or ():
        yield "Note", str(note)


def _verification(
    trace: TraceDocument, questions: Sequence[QuestionDocument]
) -> dict[str, Any] | None:
    """What the witnesses say, or how far the question is; None where there is nothing to ask."""
    told = trace["statistics"].get("verification")
    asked = questions[0] if questions else None
    if trace["content"] != "capture" and asked is None:
        return None
    return {
        "told": told,
        "percent": f"{told['share']:.4%}" if told and told["share"] is not None else "",
        "question": asked,
        "is_open": asked is not None and asked["state"] in OPEN_STATES,
    }


def _marks(trace: TraceDocument, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The marks of the workload: those that were counted, else what the header says of them."""
    counted = trace["statistics"].get("marks") or []
    if counted:
        return list(counted)
    told = header.get("workload_marks") or {}
    return [{"number": number, "count": None, "meaning": text} for number, text in told.items()]


def _named(values: Mapping[str, Any], lead: str) -> list[tuple[str, Any]]:
    return [(f"{lead}: {name}", value) for name, value in values.items()]
