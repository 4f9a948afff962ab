"""What the methods of ``Kernels`` and ``AsyncKernels`` ask, each request described once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from refault.client import answers, calls
from refault.client.documents import KernelDocument, Page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.client.calls import Call

#: States of a build of which nothing is known yet.
OPEN_STATES = ("queued", "running")
# Units of a build that was not begun, where no other was.
_UNITS_GUESSED = 20


def list_kernels(
    *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[KernelDocument]]:
    """One page of kernels, newest first."""
    return calls.ask(
        "GET", ("kernels",), query={"limit": limit, "cursor": cursor}, shape=Page[KernelDocument]
    )


def get_kernel(kernel: str) -> Call[KernelDocument]:
    """One kernel by name or id, with the logs of its builds."""
    return calls.ask("GET", ("kernels", kernel), shape=KernelDocument)


def create_kernel(
    name: str,
    tree: str,
    mails: bytes = b"",
    *,
    sanitize: bool = False,
    plan: calls.BuildPlan = "series",
    version: int | None = None,
) -> Call[KernelDocument]:
    """A kernel of an uploaded tree and the patches of ``mails``."""
    call: Call[KernelDocument] = calls.ask(
        "POST",
        ("kernels",),
        query={
            "name": name,
            "tree": tree,
            "sanitize": str(sanitize).lower(),
            "plan": plan,
            "version": version,
        },
        content=mails,
        shape=KernelDocument,
    )
    return dataclasses.replace(call, headers={"content-type": "application/mbox"})


def request_builds(
    kernel: str,
    *,
    patches: Sequence[Sequence[int]] | None = None,
    plan: calls.BuildPlan | None = None,
) -> Call[KernelDocument]:
    """More builds of a kernel: these combinations of its patches, or what a plan needs."""
    body = (
        {"plan": plan} if patches is None else {"patches": [list(numbers) for numbers in patches]}
    )
    return calls.ask("POST", ("kernels", kernel, "builds"), body=body, shape=KernelDocument)


def delete_kernel(kernel: str) -> Call[None]:
    """Delete a kernel with its builds."""
    return calls.done("DELETE", ("kernels", kernel))


def get_kernel_patch(kernel: str, number: int) -> Call[str]:
    """The diff of one patch of a kernel."""
    path = calls.ask("GET", ("kernels", kernel, "patches", str(number))).path
    return calls.Call("GET", path, answers.text)


def is_open(kernel: KernelDocument) -> bool:
    """Whether a build of the kernel is still to come."""
    return any(build["state"] in OPEN_STATES for build in kernel["builds"])


def units_of(kernel: KernelDocument) -> tuple[int, int]:
    """How many units of C are compiled, of how many, over all builds of a kernel.

    A build that was not begun counts with as many as the others have.
    """
    builds = kernel["builds"]
    usual = max((build["units_total"] for build in builds), default=0) or _UNITS_GUESSED
    totals = [build["units_total"] or usual for build in builds]
    done = [
        min(build["units_done"], total) if build["state"] in OPEN_STATES else total
        for build, total in zip(builds, totals, strict=True)
    ]
    return sum(done), sum(totals)
