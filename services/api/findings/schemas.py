"""Findings as JSON."""

import uuid
from typing import Literal

from pydantic import Field

from services.api.patch_sets.schemas import Variant
from services.api.schemas import Digest, Document

FindingSource = Literal["run", "audit"]


class FindingCell(Document):
    """What one result, or one audit, found of one kind."""

    id: uuid.UUID
    source: FindingSource = Field(description="`run`: seen in a replay; `audit`: a failed check")
    kind: str = Field(description="wrong-address and its like, or a check such as F-U1")
    variant: Variant
    trace_digest: Digest
    trace_name: str | None = Field(description="Null: the project has deleted the trace")
    count: int = Field(description="How often it is known in this run")
    is_all: bool = Field(description="False: a result keeps only its first findings")
    exception: str | None = Field(
        description="The name of a known defect of the real kernel of that time"
    )
    event_index: int = Field(description="Of the first; from 0")
    operation_index: int
    vcpu: int | None
    address: str | None
    address_kind: str = Field(description="gva, gfn or empty")
    message: str
    run_id: uuid.UUID | None = Field(description="The newest run of the project that shows it")
    batch_code: str | None


class FindingGroup(Document):
    """The findings of one kind under one variant, over all traces of the project."""

    source: FindingSource
    kind: str
    title: str = Field(description="Of a check: what should hold")
    is_guest_visible: bool
    is_known: bool = Field(description="Each is a named defect of the real kernel of that time")
    variant: Variant
    cells: int = Field(description="Results, or audits, that have it")
    places: int = Field(description="How often it is known in all of them")
    is_all: bool = Field(description="False: there are more than `places`")
    traces: int
    first: FindingCell = Field(description="The one with the lowest operation")
