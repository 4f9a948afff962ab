"""Kernels as JSON."""

import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from db.repositories.kernels import BUILDS_MAX, PATCHES_MAX
from services.api.schemas import Body, Digest, Document, Time

FILES_LISTED_MAX = 100

KernelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]
BuildPlan = Literal["series", "ablation", "each"]
PatchNumber = Annotated[int, Field(ge=1, le=PATCHES_MAX)]
KernelState = Literal["queued", "running", "done", "failed"]
BuildState = Literal["queued", "running", "built", "refused", "failed"]

_EXAMPLE: dict[str, Any] = {
    "id": "019ab5d0-a1b2-7c41-9d0e-3f6b1c2d4e5f",
    "name": "mine",
    "base": "kernel:mine",
    "release": "6.12.43",
    "tree": "9b1c" * 16,
    "tree_bytes": 1823440,
    "sanitize": False,
    "state": "running",
    "seconds": 12.5,
    "made_by": "user anna",
    "patches": [
        {
            "number": 1,
            "title": "KVM: x86/mmu: Zap less",
            "author": "A Developer <a@developer.example>",
            "files": ["arch/x86/kvm/mmu/mmu.c"],
        }
    ],
    "builds": [
        {
            "id": "019ab5d0-a1b2-7c42-8e1f-3f6b1c2d4e60",
            "patches": [],
            "name": "mine",
            "state": "built",
            "digest": "4e1d" * 16,
            "variant": "7c2a" * 16,
            "text": f"kernel:{'4e1d' * 16}",
            "compiler": "gcc 14.2.0",
            "changes_nothing": None,
            "check": "71,406 of 71,406 accesses as the guests saw them",
            "missing": [],
            "program_bytes": 1530272,
            "refusal": None,
            "error": None,
            "units_done": 13,
            "units_total": 13,
            "attempt": 1,
            "worker": "builder-1",
            "log": None,
            "created_at": "2026-11-30T02:10:07.412Z",
            "started_at": "2026-11-30T02:10:08.001Z",
            "finished_at": "2026-11-30T02:10:33.118Z",
        }
    ],
    "created_at": "2026-11-30T02:10:07.412Z",
}


class KernelPatch(Document):
    """One patch of the series that a kernel was made with."""

    number: int = Field(description="By which patch sets and builds name it, from 1")
    title: str
    author: str
    files: list[str] = Field(description=f"That its diff names, the first {FILES_LISTED_MAX}")


class KernelBuild(Document):
    """A kernel with some of its patches, and what became of it."""

    id: uuid.UUID
    patches: list[int] = Field(description="Numbers, in the order they apply; empty: none")
    name: str = Field(description="Of prefixes as `refault kernel build` names them")
    state: BuildState = Field(
        description="`refused`: these patches make no kernel, see `refusal`; `failed`: it could "
        "not be tried, see `error`"
    )
    digest: Digest | None = Field(description="Of all that the program was built of")
    variant: Digest | None = Field(description="Of the variant with default parameters")
    text: str | None = Field(description="The text of `refault replay --variant` for it")
    compiler: str | None
    changes_nothing: bool | None = Field(
        description="Whether its last patch changed no compiled byte; null: not known"
    )
    check: str | None = Field(
        description="Of the tree as it is: how much of what guests saw it showed them"
    )
    missing: list[str] | None = Field(
        description="Functions and variables that nothing built defines; null in lists, and unless "
        "it is built"
    )
    program_bytes: int | None
    refusal: str | None
    error: str | None = Field(description="Of the last attempt")
    units_done: int = Field(description="Files of C compiled so far")
    units_total: int
    attempt: int
    worker: str | None
    log: str | None = Field(None, description="Attempt by attempt; null in lists")
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class Kernel(Document):
    """A tree and the patches of one series on it, with what was built of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: uuid.UUID
    name: str
    base: str = Field(description="What patch sets name it")
    release: str
    tree: Digest = Field(description="Digest of the packed tree")
    tree_bytes: int
    sanitize: bool = Field(description="Built with AddressSanitizer")
    state: KernelState = Field(
        description="`failed`: the tree as it is makes no kernel; `done`: nothing is open any more"
    )
    seconds: float | None = Field(
        description="Time of a worker for what is open, by the last builds; null: nothing is open, "
        "or none was made yet"
    )
    patches: list[KernelPatch]
    builds: list[KernelBuild]
    made_by: str | None = Field(description="`user NAME` or `token NAME`; null: no longer known")
    created_at: Time


class BuildsBody(Body):
    """Builds to ask for: lists of patches, or a plan over the whole series."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patches": [[1], [1, 3]]}]})

    patches: list[Annotated[list[PatchNumber], Field(max_length=PATCHES_MAX)]] | None = Field(
        None,
        min_length=1,
        max_length=BUILDS_MAX,
        description="Numbers of patches in the order they apply, for each build",
    )
    plan: BuildPlan | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.patches is None) == (self.plan is None):
            message = "give either patches or plan"
            raise ValueError(message)
        return self
