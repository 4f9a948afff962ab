"""Comparisons that came from other services, as bundles."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest
from db.models.projects import Made, Owned


class ImportedBundle(Owned, Made, Base):
    """A bundle of another service, checked when it came, with what its first page says.

    Its results stay inside: they are somebody's word, and never become results of this service.
    """

    __tablename__ = "imported_bundles"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "digest"),
        is_digest("digest"),
        sa.CheckConstraint("trace_count >= 0 AND cell_count >= 0", name="counts"),
    )

    id: Mapped[RowId]
    # sha256 of the file.
    digest: Mapped[Digest]
    # Of the batch, on the service that it came from.
    code: Mapped[str]
    title: Mapped[str]
    # refault.compare.Verdict by value, as this service judged its results.
    verdict: Mapped[str]
    exit_code: Mapped[int]
    trace_count: Mapped[int]
    cell_count: Mapped[int]
    made_with: Mapped[str]
    body: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[CreatedAt]
