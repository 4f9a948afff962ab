"""Patch sets as JSON."""

import uuid
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, model_validator

from services.api.schemas import Body, Digest, Document, Time

PATCHES_MAX = 100


class Schedule(Body):
    """A changing page limit: `first`, `then`, `first`, …, each for `every` operations."""

    first: int
    then: int
    every: int


class Parameters(Body):
    """Settings of the variant besides its patches."""

    page_limit: int | Schedule | None = Field(
        None, description="Shadow pages a VM may have; null is KVM's default"
    )
    bypass: int | None = Field(None, description="bypass_guest_pf; null: as in the trace")
    host_page_level: int = Field(1, description="1, 2 or 3: host pages of 4 KiB, 2 MiB or 1 GiB")
    tlb: int = Field(0, description="1: each vCPU has a TLB; the golden results have none")
    tdp: int = Field(0, description="1: two-dimensional paging, on a base `kernel:NAME` only")


class PatchSetBody(Body):
    """A patch set to create."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "zap accounting, then cr4",
                    "base": "v2.6.34-pre",
                    "patches": ["zap-account", "cr4-posted"],
                    "parameters": {"page_limit": None},
                }
            ]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=200)]
    base: str = Field("v2.6.34-pre", description="Of the catalogue, or `kernel:NAME`")
    patches: list[str] = Field(
        default_factory=list,
        max_length=PATCHES_MAX,
        description="Ids in the catalogue; on a kernel, the numbers of its own patches",
    )
    parameters: Parameters = Field(default_factory=Parameters)
    series: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Links v1, v2, v3 of one series; needs `version`"
    )
    version: int | None = Field(None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.series is None) != (self.version is None):
            message = "series and version belong together: give both or neither"
            raise ValueError(message)
        return self


class Sibling(Document):
    """Another version of the same series."""

    id: uuid.UUID
    name: str
    version: int


EXAMPLE: Final[dict[str, Any]] = {
    "base": "v2.6.34-pre",
    "patches": ["zap-account", "cr4-posted"],
    "parameters": {
        "page_limit": None,
        "bypass": None,
        "host_page_level": 1,
        "tlb": 0,
        "tdp": 0,
    },
    "variant": {
        "digest": "4e1d" * 16,
        "name": "v2.6.34-pre +zap-account +cr4-posted",
        "engine": "shadow",
        "golden_name": "p4",
        "text": "zap-account+cr4-posted",
    },
}
"""What two patches name, for the examples of documents that hold it."""


class Variant(Document):
    """What a patch set resolves to: an engine and a complete configuration of it."""

    digest: Digest
    name: str
    engine: str = Field(description="`shadow`, `walk` or `kernel`; the base decides it")
    golden_name: str | None = Field(
        description="Its name among the results of the real kernel code; null if there is none"
    )
    text: str = Field(description="The text of `refault replay --variant` for this variant")


class PatchSet(Document):
    """A stored patch set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019ab5d0-91c4-7b02-8a6d-1b2c3d4e5f60",
                    "name": "zap accounting, then cr4",
                    **EXAMPLE,
                    "created_at": "2026-11-24T11:22:31.094Z",
                }
            ]
        }
    )

    id: uuid.UUID
    name: str
    base: str
    patches: list[str]
    parameters: Parameters
    variant: Variant
    series: str | None = None
    version: int | None = None
    siblings: list[Sibling] = Field(
        default_factory=list, description="The other versions of its series, the newest 20"
    )
    created_at: Time
