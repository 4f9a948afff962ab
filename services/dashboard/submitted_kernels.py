"""A kernel of one's own in the form that submits a batch: what of it is built, and its columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from refault.client import AsyncClient, KernelDocument
from refault.client.calls import Plan
from refault.client.kernel_calls import OPEN_STATES, units_of
from refault.client.kernel_columns import (
    awaited,
    build_plan_of,
    built,
    columns_of,
    is_under_way,
    label_of,
    lacks,
    left_out,
)
from refault.errors import RefaultError

_SCOPES = frozenset({"submit", "build"})
_BEHIND = "a shorter prefix of it was not built"
_REASON_MAX = 600


async def is_ready(client: AsyncClient, name: str, plan: Plan, *, may_ask: bool) -> bool:
    """Whether all that the plan needs of the kernel is over; no kernel is ready at once.

    ``may_ask``: builds that nobody asked for, and those that failed, are asked for.
    """
    if not name:
        return True
    kernel = await client.get_kernel(name)
    if lacks(kernel, plan):
        if may_ask:
            await client.request_builds(kernel["name"], plan=build_plan_of(plan))
        return False
    return not is_under_way(kernel, plan)


async def sets_of(client: AsyncClient, name: str, plan: Plan) -> tuple[list[str], Plan]:
    """The patch sets that give the plan its columns, stored, and the plan to submit them by.

    Raises:
        BuildFailed: nothing that the plan needs was built.
    """
    kernel = await client.get_kernel(name)
    found = columns_of(kernel, plan)
    ids = []
    for numbers in found.numbers:
        row = await client.create_patch_set(
            label_of(kernel, numbers), base=kernel["base"], patches=[*map(str, numbers)]
        )
        ids.append(row["id"])
    return ids, found.plan


async def own_kernel_of(
    client: AsyncClient, name: str, plan: Plan, me: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the form says of its kernel; None where none is chosen."""
    return shown_of([await client.get_kernel(name)] if name else [], plan, me)


def shown_of(
    kernels: Sequence[KernelDocument], plan: str, me: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The same of a kernel that was read; None of none, and for a plan that there is not."""
    if not kernels:
        return None
    kernel = kernels[0]
    try:
        builds = awaited(kernel, plan)
    except RefaultError:
        return None
    is_open = is_under_way(kernel, plan)
    over = sum(build["state"] not in OPEN_STATES for build in builds)
    done, total = units_of({**kernel, "builds": builds})
    is_failed = not is_open and not lacks(kernel, plan) and () not in built(kernel)
    return {
        "name": kernel["name"],
        "base": kernel["base"],
        "is_open": is_open,
        "is_lacking": not is_open and lacks(kernel, plan),
        "is_failed": is_failed,
        "over": over,
        "total": len(builds),
        "bar": {"done": done, "total": total},
        "left_out": [] if is_open else _left_out(kernel, plan),
        "may_build": bool(me["form_key"]) and _SCOPES.issubset(me["scopes"]),
        "may_submit": bool(me["form_key"]) and "submit" in me["scopes"],
    }


def _left_out(kernel: KernelDocument, plan: str) -> list[dict[str, str]]:
    """What the batch will go without, those with one reason together."""
    names: dict[str, list[str]] = {}
    for each in left_out(kernel, plan):
        build = each.build
        reason = _BEHIND if each.is_behind else build["refusal"] or build["error"] or build["state"]
        names.setdefault(reason.strip()[:_REASON_MAX], []).append(build["name"])
    return [{"names": ", ".join(told), "reason": reason} for reason, told in names.items()]
