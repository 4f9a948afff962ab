"""Bundles that were imported, and what this project has computed itself of their cells."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from db.errors import QuotaExceeded
from db.models import ImportedBundle, Result, Run
from db.repositories.pagination import Page, among, newest_first
from refault.errors import NotFound

BUNDLES_MAX = 100
"""Bundles of one project."""


def add(session: Session, digest: str, **fields: Any) -> tuple[ImportedBundle, bool]:
    """The row of a bundle, and whether it is new to this project.

    Raises:
        QuotaExceeded: the project has as many as it may have.
    """
    # One at a time, so that two imports of one file make one row.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(int(digest[:15], 16))))
    known = session.scalar(sa.select(ImportedBundle).where(ImportedBundle.digest == digest))
    if known is not None:
        return known, False
    count = session.scalar(sa.select(sa.func.count()).select_from(ImportedBundle)) or 0
    if count >= BUNDLES_MAX:
        raise QuotaExceeded(f"the project has {count} imported bundles, the most it may have")
    row = ImportedBundle(digest=digest, **fields)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, True


def get(session: Session, row_id: uuid.UUID, *, with_body: bool = False) -> ImportedBundle:
    """A bundle by id; raises NotFound."""
    query = sa.select(ImportedBundle).where(ImportedBundle.id == row_id)
    if with_body:
        query = query.options(undefer(ImportedBundle.body))
    row = session.scalar(query)
    if row is None:
        raise NotFound(f"no bundle {row_id}")
    return row


def list_page(session: Session, *, after: uuid.UUID | None, limit: int) -> Page[ImportedBundle]:
    """Bundles, newest first."""
    return newest_first(
        session, sa.select(ImportedBundle), ImportedBundle.id, after=after, limit=limit
    )


def delete(session: Session, row: ImportedBundle) -> None:
    """Deletes a bundle."""
    session.delete(row)


def own_results(
    session: Session, trace_digests: Collection[str], variant_digests: Collection[str]
) -> dict[tuple[str, str, str], str | None]:
    """The digests of the results that this project's runs have of these traces and variants.

    By trace, variant and simulator. Through runs: what another project has computed must not show.
    """
    query = (
        sa.select(
            Result.trace_digest,
            Result.variant_digest,
            Result.simulator_digest,
            Result.body_digest,
        )
        .join(Run, Run.result_id == Result.id)
        .where(
            among(Result.trace_digest, list(trace_digests)),
            among(Result.variant_digest, list(variant_digests)),
        )
        .distinct()
    )
    return {(row[0], row[1], row[2]): row[3] for row in session.execute(query)}
