"""Audits of a batch: which documents they are, how many are there, and what they found."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgpack
import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Document, Question
from db.repositories.comparisons import TraceName
from db.repositories.pagination import among
from refault.audits import AuditReport
from refault.documents import DocumentKey
from refault.lineage import present_name

KIND = "audit"
Cell = tuple[uuid.UUID, str]
"""A trace's id, and the digest of a variant."""


@functools.lru_cache(maxsize=4_000)
def _report_from(body: bytes) -> AuditReport:
    """A page that is watched is judged repeatedly by the same reports."""
    return AuditReport.from_dict(msgpack.unpackb(body)["answer"])


class Progress(NamedTuple):
    """How many audits of a batch are in which state; ``total`` are all."""

    total: int
    done: int
    failed: int


def digests_of(
    batch: Batch, traces: Iterable[TraceName], variants: Collection[str] | None = None
) -> dict[Cell, str]:
    """The document of each cell of the batch, or of some variants; none if it is not audited."""
    level = batch.audit_level
    if level is None:
        return {}
    engines = {column.variant_digest: column.variant.engine for column in batch.columns}
    versions = {engine: present_name(digest) for engine, digest in batch.simulators.items()}
    return {
        (trace.id, variant): DocumentKey(KIND, level, trace.digest, variant, versions[name]).digest
        for trace in traces
        for variant, name in engines.items()
        if variants is None or variant in variants
    }


def reports(
    session: Session,
    batch: Batch,
    traces: Sequence[TraceName],
    variants: Collection[str] | None = None,
) -> Mapping[Cell, AuditReport]:
    """The audits that the project has got, by cell; of some variants where these are given.

    Through its own questions: that another project has the document must not show.
    """
    digests = digests_of(batch, traces, variants)
    if not digests:
        return {}
    query = (
        sa.select(Document.digest, Document.body)
        .join(Question, Question.document_digest == Document.digest)
        .where(among(Document.digest, list(digests.values())), Question.state == "done")
    )
    found = {row.digest: _report_from(row.body) for row in session.execute(query)}
    return {cell: found[digest] for cell, digest in digests.items() if digest in found}


def question_of(
    session: Session, batch: Batch, trace: TraceName, variant_digest: str
) -> Question | None:
    """The question that asks for the audit of one cell; None where there is none."""
    digest = digests_of(batch, [trace], [variant_digest]).get((trace.id, variant_digest))
    if digest is None:
        return None
    query = sa.select(Question).where(Question.document_digest == digest)
    return session.scalars(query).one_or_none()


def progress(session: Session, batch: Batch, traces: Iterable[TraceName]) -> Progress | None:
    """How far the audits of a batch are; None if it is not audited.

    Cells that an engine refuses have no question, and are not counted.
    """
    digests = digests_of(batch, traces)
    if not digests:
        return None
    query = (
        sa.select(Question.state, sa.func.count())
        .where(among(Question.document_digest, list(digests.values())))
        .group_by(Question.state)
    )
    counts = {row.state: int(row[1]) for row in session.execute(query)}
    return Progress(sum(counts.values()), counts.get("done", 0), counts.get("failed", 0))
