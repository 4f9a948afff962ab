"""Kernels of users' own trees: what was uploaded, what is to be built of it, and the programs.

::

    trees ◄── kernels ◄── kernel_patches         what a user gave
                 ▲
                 └── kernel_builds ──► programs  the tree with some of the patches, compiled
                        (what a worker takes)      (by digest alone, everybody's, like results)
"""

import uuid
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from db.models.base import (
    Base,
    CreatedAt,
    Digest,
    Leased,
    RowId,
    is_digest,
    leases_are_kept,
    one_of,
)
from db.models.projects import Made, Owned

BUILD_STATES = ("queued", "running", "done", "failed")


class Tree(Owned, Made, Base):
    """The part of a Linux tree that a build reads, packed; the file is a blob of this digest."""

    __tablename__ = "trees"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "digest"),
        is_digest("digest"),
        sa.CheckConstraint("size_bytes > 0 AND file_count > 0", name="sizes"),
    )

    id: Mapped[RowId]
    digest: Mapped[Digest] = mapped_column(index=True)
    release: Mapped[str]
    size_bytes: Mapped[int]
    file_count: Mapped[int]
    created_at: Mapped[CreatedAt]


class Kernel(Owned, Made, Base):
    """A tree and the patches of one series on it; neither ever changes."""

    __tablename__ = "kernels"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "name"),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9._-]{0,39}$'", name="name_is_plain"),
    )

    id: Mapped[RowId]
    name: Mapped[str]
    tree_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("trees.id"), index=True)
    sanitize: Mapped[bool]
    created_at: Mapped[CreatedAt]

    tree: Mapped[Tree] = relationship(lazy="joined")
    patches: Mapped[list["KernelPatch"]] = relationship(
        order_by="KernelPatch.number", cascade="all, delete-orphan", lazy="selectin"
    )
    builds: Mapped[list["KernelBuild"]] = relationship(
        order_by="KernelBuild.position", cascade="all, delete-orphan", back_populates="kernel"
    )

    @property
    def base(self) -> str:
        """What a patch set names it."""
        return f"kernel:{self.name}"


class KernelPatch(Base):
    """One patch of a series on a kernel; patch sets name it by its number, from 1."""

    __tablename__ = "kernel_patches"
    __table_args__ = (sa.CheckConstraint("number >= 1", name="number"),)

    kernel_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("kernels.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str]
    author: Mapped[str]
    files: Mapped[list[str]]
    # Up to megabytes, so it is loaded only on demand.
    diff: Mapped[str] = mapped_column(deferred=True)


class Program(Base):
    """A compiled kernel, named by the digest of all it was built of; the file is a blob."""

    __tablename__ = "programs"
    __table_args__ = (
        is_digest("digest"),
        is_digest("file_digest"),
        is_digest("objects_digest"),
    )

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    file_digest: Mapped[Digest] = mapped_column(index=True)
    size_bytes: Mapped[int]
    # Equal ones prove that two builds do the same, whatever their sources say.
    objects_digest: Mapped[Digest]
    # refault.linux.store.Build.to_dict(), without what the builder named it. Kilobytes, and there
    # are many programs to a kernel: loaded only on demand.
    body: Mapped[dict[str, Any]] = mapped_column(JSONB, deferred=True)
    release: Mapped[str] = column_property(cast("Any", body).column["release"].astext)
    compiler: Mapped[str] = column_property(cast("Any", body).column["compiler"].astext)
    created_at: Mapped[CreatedAt]


class KernelBuild(Owned, Leased, Base):
    """A kernel with some of its patches, built by a worker that can.

    ``done``: ``program_digest`` or ``refusal`` says what came of it. ``failed``: nothing did,
    after so many attempts.
    """

    __tablename__ = "kernel_builds"
    __table_args__ = (
        sa.UniqueConstraint("kernel_id", "patches"),
        one_of("state", BUILD_STATES, "state_known"),
        *leases_are_kept(),
        sa.CheckConstraint(
            "(state = 'done') = ((program_digest IS NULL) <> (refusal IS NULL))",
            name="done_has_outcome",
        ),
        sa.Index("ix_kernel_builds_state_lease_until", "state", "lease_until"),
    )

    id: Mapped[RowId]
    kernel_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("kernels.id", ondelete="CASCADE"), index=True
    )
    position: Mapped[int]
    # Numbers of the kernel's patches, in the order they apply.
    patches: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger))
    # What the builder said, attempt by attempt; bounded.
    log: Mapped[str] = mapped_column(server_default="")
    # Units of C compiled so far.
    units_done: Mapped[int] = mapped_column(default=0, server_default="0")
    units_total: Mapped[int] = mapped_column(default=0, server_default="0")
    program_digest: Mapped[str | None] = mapped_column(sa.ForeignKey("programs.digest"), index=True)
    # Why these patches make no kernel: one does not apply, or does not compile.
    refusal: Mapped[str | None]
    # Of an unpatched kernel: how much of what the guests of the demo captures saw it showed them.
    check_text: Mapped[str | None]

    kernel: Mapped[Kernel] = relationship(back_populates="builds", lazy="joined")
    program: Mapped[Program | None] = relationship(lazy="joined")
