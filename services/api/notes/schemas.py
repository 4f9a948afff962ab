"""Notes as JSON."""

import uuid
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from db.models.notes import NOTE_LENGTH_MAX
from services.api.schemas import LINES, Body, Digest, Document, Time

NoteText = Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH_MAX), LINES]


class NoteBody(Body):
    """A note on a cell (`batch`, `trace` and `variant`) or on a patch (`patch`)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"patch": "zap-account", "text": "Merge this one."}]}
    )

    batch: str | None = Field(None, max_length=64, description="Its code or id")
    trace: Digest | None = None
    variant: Digest | None = None
    patch: str | None = Field(None, max_length=100, description="Of the catalogue")
    text: NoteText

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        cell = (self.batch, self.trace, self.variant)
        is_cell = None not in cell and self.patch is None
        is_patch = cell == (None, None, None) and self.patch is not None
        if not (is_cell or is_patch):
            message = "give batch, trace and variant, or patch"
            raise ValueError(message)
        return self


class NoteChange(Body):
    """Another text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "Not yet."}]})

    text: NoteText


class NotePlace(Document):
    """A cell of the batch, or a patch, that has notes."""

    trace: Digest | None
    variant: Digest | None
    patch: str | None
    note_count: int


class Note(Document):
    """A note with the names of its place."""

    id: uuid.UUID
    batch: str | None = Field(description="Code of the batch")
    trace: Digest | None
    trace_name: str | None
    variant: Digest | None
    column: str | None = Field(description="Labels of the batch's columns of that variant")
    patch: str | None
    text: str
    made_by: str | None
    is_own: bool = Field(description="Whether the caller may change it")
    created_at: Time
    edited_at: Time | None
