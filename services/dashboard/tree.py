"""What a patch set is made of, in words: its parameters, and its patches in order."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from refault.client import AsyncClient, PatchDocument
from refault.errors import Refused
from services.dashboard.patches import fate_sign

_KERNEL = "kernel:"


async def titles_of(client: AsyncClient, kernel: str) -> dict[str, str]:
    """The titles of a kernel's patches by number; none once it was deleted."""
    try:
        found = await client.get_kernel(kernel)
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return {}
    return {str(patch["number"]): patch["title"] for patch in found["patches"]}


def is_id(name: str) -> bool:
    """Whether it is the id of a stored patch set, and no notation."""
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True


def kernel_of(base: str) -> str:
    """The name of the kernel that a base is; empty for one of the catalogue."""
    return base.removeprefix(_KERNEL) if base.startswith(_KERNEL) else ""


def parameters_of(parameters: Mapping[str, Any]) -> str:
    """The parameters that are set, in words; empty where all have their defaults."""
    usual = {"page_limit": None, "bypass": None, "host_page_level": 1, "tlb": 0, "tdp": 0}
    words = []
    for name, value in parameters.items():
        if value == usual.get(name):
            continue
        told = value
        if isinstance(value, Mapping):
            told = (
                f"{value['first']} and {value['then']} in turn, every {value['every']} operations"
            )
        words.append(f"{name.replace('_', ' ')} {told}")
    return ", ".join(words)


def steps_of(patches: Sequence[str], known: Sequence[PatchDocument]) -> list[dict[str, Any]]:
    """The patches in order, each with the other forms of its change."""
    by_id = {patch["id"]: patch for patch in known}
    steps = []
    for number, patch_id in enumerate(patches, 1):
        patch = by_id.get(patch_id)
        if patch is None:
            # It was taken out of the catalogue after the set was made.
            steps.append({"number": number, "id": patch_id, "is_known": False})
            continue
        others = [
            {**form, "badge": fate_sign(is_merged=form["is_merged"])}
            for form in patch["forms"]
            if form["id"] not in patches
        ]
        steps.append(
            {
                "number": number,
                "id": patch_id,
                "is_known": True,
                "title": patch["title"],
                "author": patch["author"],
                "date": patch["date"],
                "badge": fate_sign(is_merged=patch["is_merged"]),
                "changes": patch["changes"],
                "others": others,
            }
        )
    return steps
