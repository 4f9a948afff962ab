"""Resumable uploads, and files being placed in the store."""

import datetime
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest, one_of
from db.models.projects import Made, Owned

UPLOAD_STATES = ("open", "done", "refused")
TREE = "tree"
"""Among the wishes of an upload: it is no trace but the packed tree of a kernel."""


class Placement(Base):
    """A file that is being put in place under its digest; deleted when it is done.

    A leftover row is of a process that was killed in between; its file is orphaned unless a row
    needs it by now (``db/repositories/files.py``). ``is_removal``: nothing needs the file any more
    and it is being removed; nobody may put it in place until that is done.
    """

    __tablename__ = "placements"
    __table_args__ = (is_digest("digest"),)

    id: Mapped[RowId]
    digest: Mapped[Digest]
    is_removal: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[CreatedAt] = mapped_column(index=True)


class Upload(Owned, Made, Base):
    """One upload; its bytes are in the store's incoming area under ``id``.

    ``offset_bytes`` are safe on disk. It reaches ``size_bytes`` only in the transaction that
    writes the trace or tree, so an upload that has all its bytes has its trace or tree too.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        one_of("state", UPLOAD_STATES, "state_known"),
        sa.CheckConstraint("offset_bytes BETWEEN 0 AND size_bytes", name="offset"),
        sa.CheckConstraint(
            "(state = 'done') = (offset_bytes = size_bytes AND size_bytes > 0)", name="done"
        ),
        sa.CheckConstraint("(state = 'refused') = (error IS NOT NULL)", name="refused_has_reason"),
    )

    id: Mapped[RowId]
    state: Mapped[str] = mapped_column(default="open")
    size_bytes: Mapped[int]
    offset_bytes: Mapped[int] = mapped_column(default=0)
    # Announced sha256 of the whole file, which is checked at the end. A tree's is set there.
    digest: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    # Upload-Metadata as received, and the part for the trace: name, tags, note. Of a tree: TREE.
    metadata_header: Mapped[str] = mapped_column(default="")
    wishes: Mapped[dict[str, Any]]
    # Why the bytes were refused, and the byte of the error.
    error: Mapped[str | None]
    error_offset: Mapped[int | None]
    trace_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("traces.id", ondelete="SET NULL"), index=True
    )
    # What it became, if it was announced as a tree.
    tree_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("trees.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime.datetime] = mapped_column(index=True)

    @property
    def is_tree(self) -> bool:
        """Whether it was announced as a packed tree, not as a trace."""
        return bool(self.wishes.get("content") == TREE)

    @property
    def tree(self) -> str | None:
        """The digest of the tree that it became."""
        return None if self.tree_id is None else self.digest
