"""The columns that a kernel of one's own gives the plan of a batch, of what of it is built."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from refault.catalogue import builds_of
from refault.client.kernel_calls import OPEN_STATES
from refault.errors import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Numbers
    from refault.client.calls import BuildPlan, Plan
    from refault.client.documents import KernelBuildDocument, KernelDocument


class Columns(NamedTuple):
    """Patch sets of a kernel, each by the numbers of its patches, and the plan to submit them by.

    The plan is another than the wanted one where an ablation's whole series makes no kernel: what
    could be built then stands beside the tree as it is.
    """

    numbers: Sequence[Numbers]
    plan: Plan


class LeftOut(NamedTuple):
    """A build that a plan needs and goes without; ``is_behind``: a shorter prefix is missing."""

    build: KernelBuildDocument
    is_behind: bool


def needed(kernel: KernelDocument, plan: str) -> list[Numbers]:
    """What a plan of a batch needs built; a matrix has a row for every prefix of the series.

    Raises:
        InvalidParameter: there is no such plan.
    """
    return builds_of("series" if plan == "matrix" else plan, len(kernel["patches"]))


def build_plan_of(plan: Plan) -> BuildPlan:
    """The plan by which a kernel is built for a plan of a batch."""
    return "series" if plan == "matrix" else plan


def lacks(kernel: KernelDocument, plan: str) -> bool:
    """Whether the plan needs builds that nobody asked for yet, or that failed."""
    known = {tuple(build["patches"]) for build in kernel["builds"] if build["state"] != "failed"}
    return not known.issuperset(needed(kernel, plan))


def awaited(kernel: KernelDocument, plan: str) -> list[KernelBuildDocument]:
    """The builds that the plan needs, in their order, as far as they were asked for."""
    wanted = set(needed(kernel, plan))
    return [build for build in kernel["builds"] if tuple(build["patches"]) in wanted]


def is_under_way(kernel: KernelDocument, plan: str) -> bool:
    """Whether one of the builds that the plan needs is not over."""
    return any(build["state"] in OPEN_STATES for build in awaited(kernel, plan))


def left_out(kernel: KernelDocument, plan: str) -> list[LeftOut]:
    """The builds that the plan goes without: refused, failed, or of a series behind such a one."""
    wanted, known = needed(kernel, plan), built(kernel)
    found = []
    for build in awaited(kernel, plan):
        numbers = tuple(build["patches"])
        is_behind = plan == "series" and not known.issuperset(wanted[: len(numbers)])
        if build["state"] in {"refused", "failed"} or is_behind:
            found.append(LeftOut(build, build["state"] not in {"refused", "failed"}))
    return found


def built(kernel: KernelDocument) -> set[Numbers]:
    """The choices of its patches that are built."""
    return {tuple(build["patches"]) for build in kernel["builds"] if build["state"] == "built"}


def columns_of(kernel: KernelDocument, plan: Plan) -> Columns:
    """Which patch sets: one for the service to take prefixes or patches from, or each alone.

    Raises:
        BuildFailed: nothing that the plan needs was built.
    """
    known = built(kernel)
    wanted = needed(kernel, plan)
    whole = tuple(range(1, len(kernel["patches"]) + 1))
    if () not in known:
        raise BuildFailed(f"{kernel['base']} as it is was not built: nothing to compare with")
    if plan in {"each", "matrix"}:
        return Columns([numbers for numbers in wanted if numbers in known], plan)
    if plan == "series":
        # A prefix stands on those before it: behind one that was refused there is no series.
        return Columns([[*itertools.takewhile(known.__contains__, wanted)][-1]], plan)
    if whole in known:
        return Columns([whole], plan)
    rests = [numbers for numbers in wanted if numbers in known and numbers != ()]
    if not rests:
        raise BuildFailed(
            f"plan ablation leaves patches out of the whole series: {kernel['base']} was built "
            "neither with all of them nor with all but one; try the plan series or each"
        )
    return Columns([(), *rests], "each")


def label_of(kernel: KernelDocument, numbers: Numbers) -> str:
    """The name of a build, by which its column is called."""
    return next(build["name"] for build in kernel["builds"] if tuple(build["patches"]) == numbers)
