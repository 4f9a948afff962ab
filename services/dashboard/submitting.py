"""The page to submit a batch: choose, estimate, submit.

Every choice can be in the address (``?trace=…&patch_set=…&plan=…``), so that other pages, and
people, can link to a form that is filled in. Nothing is written before *Submit*, except the patch
set that is typed in, and those of a kernel's builds: they need names on the service to be
estimated. A batch on a kernel that is not built yet waits in the form, until it is.
"""

import dataclasses
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient
from refault.errors import BuildFailed, InvalidRequest, Refused
from services.dashboard.axes import NUMBERS, PREFIX, Axes, axes_of, words_of
from services.dashboard.axes import asked as axes_asked
from services.dashboard.doors import lists_of, onwards
from services.dashboard.formats import duration
from services.dashboard.pages import Pages
from services.dashboard.rows import guest
from services.dashboard.submitted_kernels import is_ready, own_kernel_of, sets_of, shown_of

TRACES_SHOWN = 30
SETS_SHOWN = 20
CHOSEN_MAX = 200
"""Traces, and patch sets, that a form may have chosen: each is asked for by itself."""
_FORM_BYTES_MAX = 256 * 1024
_FIELDS_MAX = 1_200
PLANS = {
    "each": "a column for each patch set",
    "series": "a column for every prefix: the first patch, the first two, …",
    "ablation": "each patch set whole, and without each of its patches",
    "matrix": "each patch set under every combination of what is varied below",
}
AUDITS = {
    "": "no audit",
    "sampled": "sampled: invariants now and then",
    "flush": "flush: at every flush",
    "every": "every operation; slow",
}
_SEPARATORS = re.compile(r"[\s,+]+")
_SHORT = re.compile(r"p\d+")
# 422: the text can be the name of none.
_NOT_THERE = (404, 422)
_NAME_MAX = 80
_DRY = "estimate"
# The fields of a form's address, beside what is chosen.
_TOLD = ("patches", "base", "name", "kernel", "plan", "audit", "title")


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
    title: str = ""
    find: str = ""
    axes: Axes = ()
    kernel: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, Sequence[str]]) -> "Asked":
        """From the values of an address or a form; a 422 where too much is chosen."""

        def many(name: str) -> tuple[str, ...]:
            found = tuple(dict.fromkeys(filter(None, fields.get(name, ()))))
            if len(found) > CHOSEN_MAX:
                message = f"{name}: more than {CHOSEN_MAX}; submit larger batches from a terminal"
                raise HTTPException(422, message)
            return found

        def one(name: str, usual: str = "") -> str:
            return (fields.get(name) or [usual])[0].strip()

        return cls(
            many("trace"), many("patch_set"), one("patches"), one("base"), one("name"),
            one("plan", "series"), one("audit"), one("title"), one("find"), axes_of(fields),
            one("kernel"),
        )  # fmt: skip

    @property
    def address(self) -> str:
        """The address of the form filled in like this."""
        told = [
            *(("trace", trace) for trace in self.traces),
            *(("patch_set", one) for one in self.patch_sets),
            *((name, getattr(self, name)) for name in _TOLD),
            *((f"{PREFIX}{name}", text) for name, text in self.axes),
        ]
        return f"/batches/new?{urlencode([(name, value) for name, value in told if value])}"


class SubmitPage:
    """The page ``/batches/new``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Its addresses; before ``/batches/{batch}``."""
        return [
            Route("/batches/new", self.submit, methods=["GET", "POST"]),
            Route("/batches/new/kernel", self.kernel),
        ]

    async def kernel(self, request: Request) -> Response:
        """Only what changes while the kernel of the form is built."""
        query = request.query_params
        asked = Asked.of({name: query.getlist(name) for name in query})
        async with self._pages.client(request) as client:
            me = await client.get_me()
            own = await own_kernel_of(client, asked.kernel, _plan(asked), me)
        if own is None:
            return onwards(asked.address)
        return await self._pages.page(
            "submit_kernel.html", me=me, asked=asked, own=own, given=dict(asked.axes)
        )

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
                if not await is_ready(client, asked.kernel, _plan(asked), may_ask=action != _DRY):
                    return onwards(asked.address)
                if action == "submit":
                    return await _submitted(client, asked)
                sets, plan = await _columns(client, asked)
                estimate = await client.estimate_batch(
                    asked.traces, sets, plan=plan, axes=_axes(asked)
                )
            except (Refused, InvalidRequest, BuildFailed) as error:
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
        kernels = await client.list_kernels(limit=SETS_SHOWN)
        bases = await client.list_bases()
        patches = await client.list_patches()
        traces = await _chosen(asked.traces, found["items"], "digest", client.get_trace)
        chosen_sets = await _chosen(asked.patch_sets, sets["items"], "id", client.get_patch_set)
        names = [asked.kernel] if asked.kernel else []
        chosen_kernels = await _chosen(names, kernels["items"], "name", client.get_kernel)
        own = shown_of([*chosen_kernels.found.values()], asked.plan, me)
        return await self._pages.page_in_thread(
            "submit.html",
            lambda: {
                "me": me,
                "may_submit": bool(me["form_key"]) and "submit" in me["scopes"],
                "asked": asked,
                "traces": [
                    {**trace, "guest_title": guest(trace)}
                    for trace in _choices(traces.found, found["items"], "digest")
                ],
                "more_traces": found["next_cursor"] is not None,
                "sets": _choices(chosen_sets.found, sets["items"], "id"),
                "kernels": _choices(chosen_kernels.found, kernels["items"], "name"),
                "own": own,
                "bases": bases["items"],
                "patches": patches["items"],
                "plans": PLANS,
                "axes": NUMBERS,
                "given": dict(asked.axes),
                "audits": AUDITS,
                "estimate": estimate,
                "complaint": complaint,
                "missing": [
                    *(f"There is no trace {name}." for name in traces.missing),
                    *(f"There is no patch set {name}." for name in chosen_sets.missing),
                    *(f"There is no kernel {name}." for name in chosen_kernels.missing),
                ],
            },
            status=status,
        )


class Chosen(NamedTuple):
    """What is chosen: what there is of it, by id, and the names of what is not there."""

    found: Mapping[str, Any]
    missing: Sequence[str]


async def _chosen(
    names: Sequence[str], listed: Sequence[Any], key: str, get: Callable[[str], Awaitable[Any]]
) -> Chosen:
    known = {one[key]: one for one in listed}
    found, missing = {}, []
    for name in names:
        try:
            one = known.get(name) or await get(name)
        except Refused as refused:
            if refused.status not in _NOT_THERE:
                raise
            missing.append(name[:_NAME_MAX])
        else:
            found[one[key]] = one
    return Chosen(found, missing)


def _choices(chosen: Mapping[str, Any], listed: Sequence[Any], key: str) -> list[Any]:
    """What to choose from: what is chosen first, then what was found."""
    rest = [one for one in listed if one[key] not in chosen]
    return [
        *({**one, "is_chosen": True} for one in chosen.values()),
        *({**one, "is_chosen": False} for one in rest),
    ]


async def _columns(client: AsyncClient, asked: Asked) -> tuple[Sequence[str], Any]:
    """The patch sets, those of a kernel in front, and the plan that makes columns of them."""
    plan = _plan(asked)
    if not asked.kernel:
        return asked.patch_sets, plan
    own, plan = await sets_of(client, asked.kernel, plan)
    return list(dict.fromkeys((*own, *asked.patch_sets))), plan


async def _submitted(client: AsyncClient, asked: Asked) -> Response:
    sets, plan = await _columns(client, asked)
    batch = await client.submit_batch(
        asked.traces,
        sets,
        plan=plan,
        axes=_axes(asked),
        audit=asked.audit or None,
        title=asked.title or None,
    )
    return onwards(f"/batches/{batch['code']}")


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


def _axes(asked: Asked) -> dict[str, Any] | None:
    """What is varied; a plan that varies nothing has no use for it, and one that does needs it."""
    if asked.plan != "matrix":
        return None
    found = axes_asked(asked.axes)
    if found is None:
        raise InvalidRequest("plan: a matrix varies something: give values to one axis at least")
    return found


def _estimate(estimate: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What a batch would come to, and the command that would submit it."""
    seconds = estimate["seconds"]
    axes = words_of(asked.axes) if asked.plan == "matrix" else []
    command = [
        "refault", "submit", *(trace[:12] for trace in asked.traces),
        *(("--kernel", asked.kernel) if asked.kernel else ()),
        *(word for one in asked.patch_sets for word in ("--set", one)),
        "--plan", asked.plan, *axes, *(("--audit", asked.audit) if asked.audit else ()),
        *(("--title", asked.title) if asked.title else ()), "--wait",
    ]  # fmt: skip
    return {
        **estimate,
        "time": None if seconds is None else duration(seconds),
        "command": shlex.join(command),
    }
