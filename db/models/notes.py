"""Notes that people pin to cells of batches and to patches."""

import datetime
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, RowId, is_digest
from db.models.projects import Made, Owned

NOTE_LENGTH_MAX = 2000


class Note(Owned, Made, Base):
    """A text about one cell (batch, trace, variant) or about one patch of the catalogue."""

    __tablename__ = "notes"
    __table_args__ = (
        sa.CheckConstraint(
            "(patch_id IS NULL) = (batch_id IS NOT NULL)"
            " AND (batch_id IS NULL) = (trace_digest IS NULL)"
            " AND (batch_id IS NULL) = (variant_digest IS NULL)",
            name="one_place",
        ),
        sa.CheckConstraint(f"length(text) BETWEEN 1 AND {NOTE_LENGTH_MAX}", name="text_is_bounded"),
        is_digest("trace_digest"),
        is_digest("variant_digest"),
    )

    id: Mapped[RowId]
    batch_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("batches.id", ondelete="CASCADE"), index=True
    )
    trace_digest: Mapped[str | None] = mapped_column(sa.String(64))
    variant_digest: Mapped[str | None] = mapped_column(sa.String(64))
    # Of the catalogue, which is the program's: no foreign key, as a release may drop one.
    patch_id: Mapped[str | None] = mapped_column(index=True)
    text: Mapped[str]
    created_at: Mapped[CreatedAt]
    edited_at: Mapped[datetime.datetime | None]
