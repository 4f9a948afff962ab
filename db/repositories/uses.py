"""Where a patch or a patch set was run: the batches with a column of it, and those columns."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from db.models import Batch, BatchColumn, PatchSet, PatchSetPatch
from db.repositories.pagination import PAGE_SIZE, Page, newest_first
from refault.catalogue import patches_of_column


def batches_with_patch(
    session: Session, patch_id: str, *, after: uuid.UUID | None = None, limit: int = PAGE_SIZE
) -> Page[Batch]:
    """Batches with a column that contains a patch of the catalogue, newest first."""
    is_before_the_end = sa.or_(
        BatchColumn.prefix_length.is_(None),
        PatchSetPatch.position < BatchColumn.prefix_length,
    )
    column = (
        sa.select(BatchColumn.batch_id)
        .join(PatchSetPatch, PatchSetPatch.patch_set_id == BatchColumn.patch_set_id)
        .where(PatchSetPatch.patch_id == patch_id, is_before_the_end)
    )
    query = sa.select(Batch).where(Batch.id.in_(column)).options(selectinload(Batch.columns))
    return newest_first(session, query, Batch.id, after=after, limit=limit)


def batches_with_patch_set(
    session: Session,
    patch_set_id: uuid.UUID,
    *,
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
) -> Page[Batch]:
    """Batches with a column of a patch set, or of a prefix of it, newest first."""
    column = sa.select(BatchColumn.batch_id).where(BatchColumn.patch_set_id == patch_set_id)
    query = sa.select(Batch).where(Batch.id.in_(column)).options(selectinload(Batch.columns))
    return newest_first(session, query, Batch.id, after=after, limit=limit)


def batches_with_variant(
    session: Session, digest: str, *, after: uuid.UUID | None = None, limit: int = PAGE_SIZE
) -> Page[Batch]:
    """Batches with a column of the machine of that digest, newest first."""
    column = sa.select(BatchColumn.batch_id).where(BatchColumn.variant_digest == digest)
    query = sa.select(Batch).where(Batch.id.in_(column))
    return newest_first(session, query, Batch.id, after=after, limit=limit)


def patches_of(batch: Batch, column: BatchColumn, patch_set: PatchSet) -> tuple[str, ...]:
    """The patches of a column: those of its patch set, but for what its plan left out."""
    return patches_of_column(batch.plan, column.label, column.prefix_length, patch_set.patches)
