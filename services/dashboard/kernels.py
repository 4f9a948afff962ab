"""The pages of kernels of people's own trees: the list, one of them, and its deletion."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from refault.client import AsyncClient, KernelBuildDocument, KernelDocument
from refault.client.calls import BuildPlan
from refault.client.kernel_calls import OPEN_STATES, is_open, units_of
from refault.client.kernel_columns import lacks
from refault.errors import Refused
from services.dashboard.doors import fields_of, onwards
from services.dashboard.formats import counted
from services.dashboard.pages import ROWS, Pages
from services.dashboard.verdicts import state_sign

#: Which builds a kernel has: the names of plans, and what is built for each beside the tree itself.
PLANS: Final = {
    "series": "every prefix of the series",
    "each": "each patch alone",
    "ablation": "the series, and without each of its patches",
}
_SCOPE = "build"
_IN_USE = 409


class KernelPages:
    """The pages under ``/kernels``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def list(self, request: Request) -> Response:
        """The kernels of the project; how to make one where there is none."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.list_kernels(limit=ROWS, cursor=request.query_params.get("after"))
            values = await building(client, me)
        rows = [_row(kernel) for kernel in found["items"]]
        return await self._pages.page(
            "kernels.html",
            me=me,
            rows=rows,
            next_cursor=found["next_cursor"],
            has_forms=bool(me["form_key"]) and values["may_build"],
            **values,
        )

    async def one(self, request: Request) -> Response:
        """A kernel: its builds, its patches, and how to use it."""
        return await self._one(request, "kernel.html")

    async def parts(self, request: Request) -> Response:
        """Only what changes while it is built."""
        return await self._one(request, "kernel_parts.html")

    async def _one(self, request: Request, template: str, complaint: str = "") -> Response:
        async with self._pages.client(request) as client:
            me = await client.get_me()
            kernel = await client.get_kernel(request.path_params["kernel"])
            values = await building(client, me)
        has_forms = bool(me["form_key"]) and values["may_build"]
        return await self._pages.page(
            template,
            me=me,
            kernel=_page(kernel),
            has_forms=has_forms,
            build_plans=_build_plans(kernel) if has_forms else {},
            complaint=complaint,
            **values,
        )

    async def build(self, request: Request) -> Response:
        """Has more of the kernel built, and once more what failed."""
        fields = await fields_of(request)
        name = request.path_params["kernel"]
        plan = fields.get("plan", "")
        if plan not in PLANS:
            raise HTTPException(422, f"plan: expected one of {', '.join(PLANS)}")
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.request_builds(name, plan=cast("BuildPlan", plan))
        return onwards(f"/kernels/{name}")

    async def delete(self, request: Request) -> Response:
        """Deletes the kernel; on its page stands why not, where a batch that runs has it."""
        fields = await fields_of(request)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            try:
                await client.delete_kernel(request.path_params["kernel"])
            except Refused as refused:
                if refused.status != _IN_USE:
                    raise
                complaint = str(refused)
            else:
                return onwards("/kernels")
        answer = await self._one(request, "kernel.html", complaint)
        answer.status_code = _IN_USE
        return answer


def _build_plans(kernel: KernelDocument) -> dict[str, str]:
    """The plans that would build something: more of the kernel, or once more what failed."""
    if not kernel["patches"]:
        return PLANS if lacks(kernel, "series") else {}
    return {plan: words for plan, words in PLANS.items() if lacks(kernel, plan)}


async def building(client: AsyncClient, me: Mapping[str, Any]) -> dict[str, Any]:
    """Whether kernels are built here, by whom, and whether this caller may ask for it."""
    limits = await client.get_limits()
    return {
        "is_on": limits["builds"],
        "builder_count": limits["builders"],
        "may_build": limits["builds"] and _SCOPE in me["scopes"],
    }


def _row(kernel: KernelDocument) -> dict[str, Any]:
    return {
        "name": kernel["name"],
        "base": kernel["base"],
        "release": kernel["release"],
        "sanitize": kernel["sanitize"],
        "patches": len(kernel["patches"]),
        "builds": _built(kernel["builds"]),
        "refused": _refused(kernel["builds"]),
        "made_by": kernel.get("made_by"),
        "created_at": kernel["created_at"],
        **_state(kernel["state"]),
    }


def _page(kernel: KernelDocument) -> dict[str, Any]:
    titles = {patch["number"]: patch["title"] for patch in kernel["patches"]}
    done, total = units_of(kernel)
    builds = [_build(build, titles, kernel["release"]) for build in kernel["builds"]]
    compilers = {build["compiler"] for build in builds if build["compiler"]}
    return {
        **_row(kernel),
        "tree": kernel["tree"],
        "tree_bytes": kernel["tree_bytes"],
        "is_open": is_open(kernel),
        "over": sum(build["state"] not in OPEN_STATES for build in kernel["builds"]),
        "total": len(builds),
        "seconds": _about(kernel.get("seconds")),
        "bar": {"done": done, "total": total},
        "patches": [
            {**patch, "href": f"/api/v1/kernels/{kernel['name']}/patches/{patch['number']}"}
            for patch in kernel["patches"]
        ],
        "builds": builds,
        "troubles": _troubles(builds),
        "is_one_compiler": len(compilers) == 1,
        "commands": _commands(kernel),
    }


def _troubles(builds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Why builds were refused, or failed: those with one reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for build in builds:
        if build["trouble"]:
            found.setdefault((build["state"], build["trouble"]), []).append(build["name"])
    return [
        {"names": names, "state": state, "trouble": trouble}
        for (state, trouble), names in found.items()
    ]


def _build(build: KernelBuildDocument, titles: Mapping[int, str], release: str) -> dict[str, Any]:
    numbers = build["patches"]
    return {
        **build,
        **_state(build["state"]),
        "adds": titles.get(numbers[-1], "") if numbers else f"Linux {release} as it is",
        "numbers": ", ".join(map(str, numbers)),
        "effect": _effect(build),
        "units": f"{build['units_done']} of {build['units_total']} files"
        if build["state"] == "running" and build["units_total"]
        else "",
        "trouble": (build["refusal"] or build["error"] or "")
        if build["state"] in {"refused", "failed"}
        else "",
        "log": (build.get("log") or "").strip(),
        "replay": f"refault replay TRACE.rft -v {build['text']}" if build["text"] else "",
    }


def _effect(build: KernelBuildDocument) -> str:
    """What is known of a build before any guest has run on it."""
    if build["state"] != "built":
        return ""
    if not build["patches"]:
        return build["check"] or "not checked"
    told = {True: "no compiled byte differs", False: "compiled code differs", None: ""}
    return told[build["changes_nothing"]]


def _commands(kernel: KernelDocument) -> Sequence[Mapping[str, str]]:
    """How to submit a batch on it."""
    submit = f"refault submit TRACE --kernel {kernel['name']}"
    if not kernel["patches"]:
        return [{"what": "Beside the model of 2010:", "text": f"{submit} -p base --wait"}]
    return [
        {"what": "Every prefix of the series:", "text": f"{submit} --plan series --wait"},
        {"what": "Each patch alone:", "text": f"{submit} --plan each --wait"},
        {
            "what": "The series without each of its patches in turn:",
            "text": f"{submit} --plan ablation --wait",
        },
    ]


def _built(builds: Sequence[KernelBuildDocument]) -> str:
    done = sum(build["state"] == "built" for build in builds)
    return f"{done} of {len(builds)}"


def _refused(builds: Sequence[KernelBuildDocument]) -> str:
    count = sum(build["state"] == "refused" for build in builds)
    return f"{count} refused" if count else ""


def _state(state: str) -> dict[str, str]:
    sign, tone = state_sign(state)
    return {"state": state, "sign": sign, "tone": tone}


def _about(seconds: float | None) -> str:
    """A worker's time for what is open, in words."""
    if seconds is None:
        return ""
    if seconds < 90:  # noqa: PLR2004
        return f"about {counted(max(1, round(seconds)), 'second')}"
    return f"about {counted(round(seconds / 60), 'minute')}"
