"""Imported bundles as JSON."""

import uuid
from typing import Any

from pydantic import Field

from services.api.schemas import Digest, Document, Time


class BundleSummary(Document):
    """An imported bundle."""

    id: uuid.UUID
    digest: Digest = Field(description="sha256 of the file")
    code: str = Field(description="Of the batch, on the service that it came from")
    title: str
    verdict: str
    exit_code: int
    trace_count: int
    cell_count: int
    made_with: str = Field(description="What made its pages")
    made_by: str | None = Field(description="Who imported it")
    created_at: Time


class BundleColumn(Document):
    """A column of its comparison."""

    label: str
    variant_digest: Digest
    variant_name: str
    engine: str


class BundleMatches(Document):
    """What this project has computed itself of the bundle's cells."""

    equal: int = Field(description="Results with the same bytes here")
    different: list[str] = Field(
        description="Trace and column of each result that has other bytes here: do not trust it"
    )
    unknown: int = Field(description="Results that this project has not computed")


class BundleNote(Document):
    """A note on one of its cells, as it came inside."""

    column: str | None
    trace: str | None
    text: str
    made_by: str | None = Field(description="By the bundle's own word")
    created_at: Time


class BundleDetail(BundleSummary):
    """An imported bundle with its comparison, as this service judges its results."""

    columns: list[BundleColumn]
    matches: BundleMatches
    verdict_title: str
    plan: str
    answer: str | None = Field(description="Which patch, in a sentence; null where nothing is told")
    steps: list[dict[str, Any]] = Field(
        description="What each patch of the plan does, as in a comparison of this service"
    )
    interactions: list[dict[str, Any]] = Field(
        description="What two patches do together, as in a comparison of this service"
    )
    comparisons: list[dict[str, Any]] = Field(
        description="As in a comparison of this service; of the first 80 cells, unless of one trace"
    )
    notes: list[BundleNote]
    traces: list[str] = Field(description="The names of all its traces")
