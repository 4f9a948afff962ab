"""The page to submit a batch: choose, estimate, submit.

Every choice can be in the address (``?trace=…&patch_set=…&plan=…``), so that other pages, and
people, can link to a form that is filled in. Nothing is written before *Submit*, except the patch
set that is typed in: it needs a name on the service to be estimated.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from refault.client import AsyncClient
from refault.errors import InvalidRequest, Refused
from services.dashboard.doors import lists_of, onwards
from services.dashboard.formats import duration
from services.dashboard.pages import Pages
from services.dashboard.rows import guest

TRACES_SHOWN = 30
SETS_SHOWN = 20
_FORM_BYTES_MAX = 256 * 1024
_FIELDS_MAX = 1_200
PLANS = {
    "each": "a column for each patch set",
    "series": "a column for every prefix: the first patch, the first two, …",
    "ablation": "each patch set whole, and without each of its patches",
}
AUDITS = {
    "": "no audit",
    "sampled": "sampled: invariants now and then",
    "flush": "flush: at every flush",
    "every": "every operation; slow",
}
_SEPARATORS = re.compile(r"[\s,+]+")
_SHORT = re.compile(r"p\d+")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the form says. ``patches`` and ``base`` describe a patch set that is not stored yet."""

    traces: tuple[str, ...] = ()
    patch_sets: tuple[str, ...] = ()
    patches: str = ""
    base: str = ""
    name: str = ""
    plan: str = "series"
    audit: str = ""
    find: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, Sequence[str]]) -> "Asked":
        """From the values of an address or a form."""

        def many(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(filter(None, fields.get(name, ()))))

        def one(name: str, usual: str = "") -> str:
            return (fields.get(name) or [usual])[0].strip()

        return cls(
            many("trace"), many("patch_set"), one("patches"), one("base"), one("name"),
            one("plan", "series"), one("audit"), one("find"),
        )  # fmt: skip

    @property
    def address(self) -> str:
        """The address of the form filled in like this."""
        told = [
            *(("trace", trace) for trace in self.traces),
            *(("patch_set", one) for one in self.patch_sets),
            *((name, getattr(self, name)) for name in ("patches", "base", "name", "plan", "audit")),
        ]
        return f"/batches/new?{urlencode([(name, value) for name, value in told if value])}"


class SubmitPage:
    """The page ``/batches/new``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Its address; before ``/batches/{batch}``."""
        return [Route("/batches/new", self.submit, methods=["GET", "POST"])]

    async def submit(self, request: Request) -> Response:
        """The form; what it would come to; the batch."""
        if request.method != "POST":
            query = request.query_params
            asked = Asked.of({name: query.getlist(name) for name in query})
            async with self._pages.client(request) as client:
                return await self._form(client, asked)
        fields = await lists_of(request, bytes_max=_FORM_BYTES_MAX, fields_max=_FIELDS_MAX)
        asked = Asked.of(fields)
        action = (fields.get("action") or ["estimate"])[0]
        key = (fields.get("form_key") or [""])[0]
        async with self._pages.client(request, form_key=key) as client:
            if action == "find":
                return await self._form(client, asked)
            try:
                asked = await _with_stored_set(client, asked)
                if action == "submit":
                    batch = await client.submit_batch(
                        asked.traces, asked.patch_sets, plan=_plan(asked), audit=asked.audit or None
                    )
                    return onwards(f"/batches/{batch['code']}")
                estimate = await client.estimate_batch(
                    asked.traces, asked.patch_sets, plan=_plan(asked)
                )
            except (Refused, InvalidRequest) as error:
                status = error.status if isinstance(error, Refused) else 422
                return await self._form(client, asked, complaint=str(error), status=status)
            return await self._form(client, asked, estimate=_estimate(estimate, asked))

    async def _form(
        self,
        client: AsyncClient,
        asked: Asked,
        *,
        estimate: Mapping[str, Any] | None = None,
        complaint: str | None = None,
        status: int = 200,
    ) -> Response:
        me = await client.get_me()
        found = await client.list_traces(limit=TRACES_SHOWN, q=asked.find or None)
        sets = await client.list_patch_sets(limit=SETS_SHOWN)
        bases = await client.list_bases()
        patches = await client.list_patches()
        text = self._pages.text(
            "submit.html",
            me=me,
            may_submit=bool(me["form_key"]) and "submit" in me["scopes"],
            asked=asked,
            traces=await _choices(client, asked, found["items"]),
            more_traces=found["next_cursor"] is not None,
            sets=await _set_choices(client, asked, sets["items"]),
            bases=bases["items"],
            patches=patches["items"],
            plans=PLANS,
            audits=AUDITS,
            estimate=estimate,
            complaint=complaint,
        )
        return HTMLResponse(text, status)


async def _choices(client: AsyncClient, asked: Asked, found: Sequence[Any]) -> list[dict[str, Any]]:
    """Traces to choose from: those that are chosen first, then what was found."""
    known = {trace["digest"]: trace for trace in found}
    chosen = []
    for name in asked.traces:
        try:
            chosen.append(known.get(name) or await client.get_trace(name))
        except Refused:
            continue
    digests = {trace["digest"] for trace in chosen}
    rest = [trace for trace in found if trace["digest"] not in digests]
    return [
        {**trace, "guest_title": guest(trace), "is_chosen": trace["digest"] in digests}
        for trace in [*chosen, *rest]
    ]


async def _set_choices(
    client: AsyncClient, asked: Asked, found: Sequence[Any]
) -> list[dict[str, Any]]:
    known = {one["id"]: one for one in found}
    chosen = []
    for name in asked.patch_sets:
        try:
            chosen.append(known.get(name) or await client.get_patch_set(name))
        except Refused:
            continue
    ids = {one["id"] for one in chosen}
    rest = [one for one in found if one["id"] not in ids]
    return [{**one, "is_chosen": one["id"] in ids} for one in [*chosen, *rest]]


async def _with_stored_set(client: AsyncClient, asked: Asked) -> Asked:
    """The same with the typed-in patch set stored; equal ones are one."""
    if not (asked.patches or asked.base or asked.name):
        return asked
    ids = _ids_of(asked.patches, (await client.list_patches())["items"])
    base = asked.base or "v2.6.34-pre"
    name = asked.name or (" + ".join(ids) if ids else base)[:200]
    made = await client.create_patch_set(name, base=base, patches=ids)
    patch_sets = tuple(dict.fromkeys((*asked.patch_sets, made["id"])))
    return dataclasses.replace(asked, patch_sets=patch_sets, patches="", base="", name="")


def _ids_of(text: str, patches: Sequence[Any]) -> list[str]:
    """Patches by id or short name; ``series`` is all short names in their order.

    Raises:
        InvalidRequest: one is not in the catalogue.
    """
    short = {patch["short"]: patch["id"] for patch in patches if patch["short"]}
    known = {patch["id"]: patch["id"] for patch in patches} | short
    series = [short[name] for name in sorted(filter(_SHORT.fullmatch, short))]
    found: list[str] = []
    for word in filter(None, _SEPARATORS.split(text.strip())):
        if word not in known and word != "series":
            raise InvalidRequest(f"patches: {word!r:.60} is not in the catalogue; see the list")
        found += series if word == "series" else [known[word]]
    return found


def _plan(asked: Asked) -> Any:
    if asked.plan not in PLANS:
        raise InvalidRequest(f"plan: {asked.plan!r:.40} is none of {', '.join(PLANS)}")
    return asked.plan


def _estimate(estimate: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What a batch would come to, and the command that would submit it."""
    seconds = estimate["seconds"]
    command = [
        "refault", "submit", *(trace[:12] for trace in asked.traces),
        *(word for one in asked.patch_sets for word in ("--set", one)),
        "--plan", asked.plan, *(("--audit", asked.audit) if asked.audit else ()), "--wait",
    ]  # fmt: skip
    return {
        **estimate,
        "time": None if seconds is None else duration(seconds),
        "command": shlex.join(command),
    }
