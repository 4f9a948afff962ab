"""Patches of the catalogue, patch sets of users, and the variants these resolve to."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest
from db.models.projects import Owned
from refault import catalogue
from refault.results import SHADOW


class Patch(Base):
    """A copy of one catalogue entry, so that rows can refer to it; the catalogue is the source."""

    __tablename__ = "patches"

    id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[dict[str, Any]]


class Variant(Base):
    """An engine and a complete configuration of it, named by digest."""

    __tablename__ = "variants"
    __table_args__ = (is_digest("digest"),)

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    name: Mapped[str]
    engine: Mapped[str] = mapped_column(server_default=SHADOW)
    base: Mapped[str]
    # Of the first patch set that resolved to this variant; others may, too.
    patches: Mapped[list[str]]
    parameters: Mapped[dict[str, Any]]
    # Nobody reads it: base, patches and parameters say the same. The previous release still writes
    # it while an upgrade is under way, so the column goes with the next one.
    knobs: Mapped[dict[str, int] | None] = mapped_column(deferred=True)
    # Null: the real kernel code has never been run in this configuration.
    golden_name: Mapped[str | None]
    created_at: Mapped[CreatedAt]

    @property
    def text(self) -> str:
        """The text of ``refault replay --variant`` for this variant."""
        parameters = catalogue.Parameters.from_dict(self.parameters)
        if self.golden_name is not None:
            return ",".join((self.golden_name, *parameters.to_words()))
        wanted = catalogue.PatchSet(self.base, tuple(self.patches), parameters)
        return catalogue.patch_set_to_text(wanted)


class PatchSet(Owned, Base):
    """An ordered list of patches on a base, with parameters."""

    __tablename__ = "patch_sets"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "digest"),
        sa.CheckConstraint("name <> ''", name="named"),
        sa.CheckConstraint("(series IS NULL) = (version IS NULL)", name="series_has_version"),
        sa.CheckConstraint("version >= 1", name="version"),
    )

    id: Mapped[RowId]
    name: Mapped[str]
    # v1, v2, v3 of one series carry its name; null: it belongs to none.
    series: Mapped[str | None] = mapped_column(index=True)
    version: Mapped[int | None]
    base: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    # sha256 over name, base, patches and parameters: the same set twice gives a project one row.
    digest: Mapped[Digest]
    variant_digest: Mapped[str] = mapped_column(sa.ForeignKey("variants.digest"), index=True)
    # Of a base ``kernel:NAME``: the kernel, and the numbers of its patches. Null again once the
    # kernel was deleted: the set stays with the batches that have it.
    kernel_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("kernels.id", ondelete="SET NULL"), index=True
    )
    kernel_patches: Mapped[list[int] | None] = mapped_column(ARRAY(sa.BigInteger))
    created_at: Mapped[CreatedAt]

    entries: Mapped[list["PatchSetPatch"]] = relationship(
        order_by="PatchSetPatch.position", cascade="all, delete-orphan", lazy="selectin"
    )
    variant: Mapped[Variant] = relationship(lazy="joined")

    @property
    def patches(self) -> tuple[str, ...]:
        """Patch ids in the order they apply; on a kernel, the numbers of its patches."""
        if self.kernel_patches is not None:
            return tuple(map(str, self.kernel_patches))
        return tuple(entry.patch_id for entry in self.entries)


class PatchSetPatch(Base):
    """One place in the order of a patch set."""

    __tablename__ = "patch_set_patches"
    __table_args__ = (sa.CheckConstraint("position >= 0", name="position"),)

    patch_set_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("patch_sets.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    patch_id: Mapped[str] = mapped_column(sa.ForeignKey("patches.id"), index=True)
