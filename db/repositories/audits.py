"""Audits of a batch: which documents they are, how many are there, and what they found."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
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
READ_AT_ONCE = 100
"""Bodies in memory at once."""
Cell = tuple[uuid.UUID, str]
"""A trace's id, and the digest of a variant."""


KEPT_BYTES_MAX = 64 << 20


class _Kept:
    """Reports that were read, by the digests of document and bytes; the oldest ones go.

    A page that is watched is judged repeatedly by the same reports: their bodies are not read
    again. Bounded by the bytes of the bodies, for one may have hundreds of kilobytes.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, str], tuple[AuditReport, int]] = OrderedDict()
        self._size_bytes = 0

    def get(self, key: tuple[str, str]) -> AuditReport | None:
        """A report, if it is kept."""
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key][0]

    def put(self, key: tuple[str, str], report: AuditReport, size_bytes: int) -> None:
        """Keep a report, if there is room for it at all."""
        if size_bytes > self._bytes_max:
            return
        with self._lock:
            _, before = self._found.pop(key, (report, 0))
            self._found[key] = (report, size_bytes)
            self._size_bytes += size_bytes - before
            while self._size_bytes > self._bytes_max:
                _, (_, gone) = self._found.popitem(last=False)
                self._size_bytes -= gone


_kept = _Kept(KEPT_BYTES_MAX)


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
        sa.select(Document.digest, Document.body_digest)
        .join(Question, Question.document_digest == Document.digest)
        .where(among(Document.digest, list(digests.values())), Question.state == "done")
    )
    found: dict[str, AuditReport] = {}
    unread: dict[str, str] = {}
    for digest, body_digest in session.execute(query):
        report = _kept.get((digest, body_digest))
        if report is None:
            unread[digest] = body_digest
        else:
            found[digest] = report
    for first in range(0, len(unread), READ_AT_ONCE):
        some = list(unread)[first : first + READ_AT_ONCE]
        bodies = sa.select(Document.digest, Document.body).where(among(Document.digest, some))
        for digest, body in session.execute(bodies):
            found[digest] = AuditReport.from_dict(msgpack.unpackb(body)["answer"])
            _kept.put((digest, unread[digest]), found[digest], len(body))
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
