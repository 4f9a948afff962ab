"""Patch sets and the variants they resolve to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.identifiers import uuid7
from db.models import Kernel, PatchSet, PatchSetPatch, Variant
from db.repositories import kernels, programs
from db.repositories.pagination import PAGE_SIZE, Page, among, newest_first
from db.scope import project_of
from refault import catalogue
from refault.errors import CatalogueError, NotFound, UnknownKernel
from refault.linux.variants import variant_of_build


def add(
    session: Session,
    name: str,
    wanted: catalogue.PatchSet,
    *,
    series: str | None = None,
    version: int | None = None,
) -> tuple[PatchSet, bool]:
    """Store a patch set with the variant it resolves to; answers its row and whether it is new.

    The same name, base, patches and parameters give the existing row.
    ``series`` and ``version``, both or neither, link v1, v2 and v3 of one series.

    Raises:
        CatalogueError: the patch set does not resolve (see :func:`refault.catalogue.resolve`).
        KernelNotBuilt: its base is a kernel that is not built with these patches.
    """
    variant = programs.resolver(session)(wanted)
    add_variant(session, variant)
    parameters = wanted.parameters.to_dict()
    document = [name, wanted.base, list(wanted.patches), parameters]
    kernel: Kernel | None = None
    numbers: catalogue.Numbers | None = None
    if catalogue.is_kernel(wanted.base):
        kernel, numbers = programs.named_by(session, wanted)
        kernels.lock(session, kernel, shared=True)
        wanted = dataclasses.replace(wanted, base=kernel.base)
        # Another kernel may be called so later.
        document.append(str(kernel.id))
    # Only if there is one, so that older rows keep their digest.
    digest = _digest(document if series is None else [*document, series, version])
    row_id = uuid7()
    created = session.scalar(
        insert(PatchSet)
        .values(
            id=row_id,
            project_id=project_of(session),
            name=name,
            series=series,
            version=version,
            base=wanted.base,
            parameters=parameters,
            digest=digest,
            variant_digest=variant.digest,
            kernel_id=None if kernel is None else kernel.id,
            kernel_patches=None if numbers is None else list(numbers),
        )
        .on_conflict_do_nothing(index_elements=[PatchSet.project_id, PatchSet.digest])
        .returning(PatchSet.id)
    )
    if created is not None and kernel is None:
        session.add_all(
            PatchSetPatch(patch_set_id=row_id, position=position, patch_id=patch_id)
            for position, patch_id in enumerate(wanted.patches)
        )
        session.flush()
    query = sa.select(PatchSet).where(
        PatchSet.project_id == project_of(session), PatchSet.digest == digest
    )
    row = session.scalars(query).one()
    return row, created is not None


def add_variant(session: Session, variant: catalogue.Variant) -> None:
    """Add a row for the variant unless it has one."""
    session.execute(
        insert(Variant)
        .values(
            digest=variant.digest,
            name=variant.name,
            engine=variant.engine,
            base=variant.base,
            patches=list(variant.patches),
            parameters=variant.parameters.to_dict(),
            golden_name=variant.golden_name,
        )
        .on_conflict_do_nothing(index_elements=[Variant.digest])
    )


def variants_of(session: Session, digests: Collection[str]) -> dict[str, Variant]:
    """The variants of these digests that there are."""
    rows = session.scalars(sa.select(Variant).where(among(Variant.digest, digests)))
    return {row.digest: row for row in rows}


def get(session: Session, row_id: uuid.UUID) -> PatchSet:
    """The patch set of that id; raises :class:`~refault.errors.NotFound`."""
    found = session.get(PatchSet, row_id)
    if found is None:
        raise NotFound(f"no patch set {row_id}: GET /api/v1/patch_sets lists them")
    return found


def get_many(session: Session, row_ids: Iterable[uuid.UUID]) -> list[PatchSet]:
    """The patch sets of these ids, each once, in this order; one query for all of them.

    Deleted ones are missing.
    """
    wanted = list(dict.fromkeys(row_ids))
    if not wanted:
        return []
    query = sa.select(PatchSet).where(among(PatchSet.id, wanted))
    found = {row.id: row for row in session.scalars(query).unique()}
    return [found[row_id] for row_id in wanted if row_id in found]


def of_variant(session: Session, digest: str, limit: int = PAGE_SIZE) -> Sequence[PatchSet]:
    """The newest patch sets that make the machine of that digest."""
    query = sa.select(PatchSet).where(PatchSet.variant_digest == digest)
    return newest_first(session, query, PatchSet.id, after=None, limit=limit).rows


SIBLINGS_MAX = 20


def siblings(session: Session, rows: Sequence[PatchSet]) -> dict[uuid.UUID, Sequence[sa.Row[Any]]]:
    """The other patch sets of each row's series: id, name and version, by version and age.

    The newest 20 of each, in one query for all rows; none for a row without a series.
    """
    series = {row.series for row in rows if row.series is not None}
    if not series:
        return {row.id: () for row in rows}
    place = sa.func.row_number().over(
        partition_by=PatchSet.series, order_by=(PatchSet.version.desc(), PatchSet.id.desc())
    )
    ranked = (
        sa.select(PatchSet.id, PatchSet.name, PatchSet.version, PatchSet.series, place.label("at"))
        .where(PatchSet.series.in_(series))
        .subquery()
    )
    # One more than are shown, as the row itself may be among them.
    query = sa.select(ranked).where(ranked.c.at <= SIBLINGS_MAX + 1).order_by(ranked.c.at.desc())
    by_series: dict[str, list[sa.Row[Any]]] = {}
    for found in session.execute(query):
        by_series.setdefault(found.series, []).append(found)
    return {
        row.id: [each for each in by_series.get(row.series or "", ()) if each.id != row.id][
            -SIBLINGS_MAX:
        ]
        for row in rows
    }


class Filter(NamedTuple):
    """Which patch sets a list is asked for; None asks for all."""

    q: str | None = None
    patch: str | None = None
    base: str | None = None
    series: str | None = None


EVERY = Filter()


def list_page(
    session: Session,
    *,
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
    wanted: Filter = EVERY,
) -> Page[PatchSet]:
    """The wanted patch sets, newest first."""
    query = sa.select(PatchSet)
    if wanted.q is not None:
        query = query.where(
            sa.or_(
                PatchSet.name.icontains(wanted.q, autoescape=True),
                PatchSet.series.icontains(wanted.q, autoescape=True),
            )
        )
    if wanted.patch is not None:
        having = sa.select(PatchSetPatch.patch_set_id).where(PatchSetPatch.patch_id == wanted.patch)
        query = query.where(PatchSet.id.in_(having))
    if wanted.base is not None:
        query = query.where(PatchSet.base == wanted.base)
    if wanted.series is not None:
        query = query.where(PatchSet.series == wanted.series)
    return newest_first(session, query, PatchSet.id, after=after, limit=limit)


def to_catalogue(row: PatchSet) -> catalogue.PatchSet:
    """The row as a patch set of the catalogue, or of a kernel.

    Raises:
        UnknownKernel: its kernel was deleted.
    """
    if catalogue.is_kernel(row.base) and row.kernel_id is None:
        raise UnknownKernel(
            f"patch set {row.name} is of {row.base}, which was deleted: build it again, and make a "
            "new patch set"
        )
    return catalogue.PatchSet(row.base, row.patches, catalogue.Parameters.from_dict(row.parameters))


def to_variant(row: Variant) -> catalogue.Variant:
    """The row as a variant for engines; raises :class:`CatalogueError` if it is outdated.

    Resolved again rather than trusted: if the digest no longer matches, the catalogue
    has changed since, and the variant must not be run.
    """
    if catalogue.is_kernel(row.base):
        parameters = catalogue.Parameters.from_dict(row.parameters)
        build = row.base.removeprefix(catalogue.KERNEL)
        return _unchanged(
            row, dataclasses.replace(variant_of_build(build, "", parameters), name=row.name)
        )
    wanted = catalogue.PatchSet(
        row.base, tuple(row.patches), catalogue.Parameters.from_dict(row.parameters)
    )
    return _unchanged(row, catalogue.resolve(wanted))


def _unchanged(row: Variant, variant: catalogue.Variant) -> catalogue.Variant:
    if variant.digest != row.digest:
        raise CatalogueError(
            f"variant {row.name} ({row.digest[:12]}) now resolves to {variant.digest[:12]}:"
            " the catalogue has changed since; submit the batch again"
        )
    return variant


def _digest(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
