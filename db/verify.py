"""Verifies the live installation: every row and every byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.backup import Progress
from db.blobs import BlobStore
from db.blobs.incoming import ABANDONED_AFTER_SECONDS
from db.errors import BlobDamaged
from db.models import Document, Program, Result, Trace, Tree
from db.repositories import dropping, files
from db.session import transaction
from refault.documents import DocumentKey
from refault.errors import NotFound, RefaultError
from refault.lineage import SAME_AS
from refault.results import RunResult

_ROWS_AT_ONCE = 500
_BODIES_AT_ONCE = 50  # of documents, which may have hundreds of kilobytes

_CONTRADICTIONS = {
    "batch {0} says {1}, its runs say {2}": """
        SELECT b.code,
               concat_ws('/', b.run_count, b.done_count, b.cached_count, b.failed_count,
                         b.cancelled_count),
               concat_ws('/', count(r.id),
                         count(r.id) FILTER (WHERE r.state IN ('done', 'cached', 'crashed')),
                         count(r.id) FILTER (WHERE r.state = 'cached'),
                         count(r.id) FILTER (WHERE r.state = 'failed'),
                         count(r.id) FILTER (WHERE r.state = 'cancelled')) AS runs
        FROM batches b LEFT JOIN runs r ON r.batch_id = b.id
        GROUP BY b.id
        HAVING b.run_count <> count(r.id)
            OR b.done_count <>
               count(r.id) FILTER (WHERE r.state IN ('done', 'cached', 'crashed'))
            OR b.failed_count <> count(r.id) FILTER (WHERE r.state = 'failed')
            OR b.cancelled_count <> count(r.id) FILTER (WHERE r.state = 'cancelled')
        ORDER BY b.code""",
    "batch {0} is {1} with runs that have not ended": """
        SELECT b.code, b.state FROM batches b
        WHERE b.finished_at IS NOT NULL AND EXISTS (
            SELECT 1 FROM runs r WHERE r.batch_id = b.id AND r.state IN ('queued', 'running'))
        ORDER BY b.code""",
    "run {0} has the result of another trace or variant": """
        SELECT r.id FROM runs r
        JOIN results x ON x.id = r.result_id JOIN traces t ON t.id = r.trace_id
        WHERE x.trace_digest <> t.digest OR x.variant_digest <> r.variant_digest
        ORDER BY r.id""",
    "run {0} has the result of another simulator than its batch": """
        SELECT r.id FROM runs r
        JOIN results x ON x.id = r.result_id JOIN batches b ON b.id = r.batch_id
        JOIN variants v ON v.digest = r.variant_digest
        CROSS JOIN LATERAL (SELECT coalesce(b.other_simulators ->> v.engine,
                                            b.simulator_digest) AS digest) n
        WHERE coalesce(CAST(:same_as AS jsonb) ->> x.simulator_digest, x.simulator_digest)
           <> coalesce(CAST(:same_as AS jsonb) ->> n.digest, n.digest)
        ORDER BY r.id""",
    "run {0} is queued in no shard": """
        SELECT r.id FROM runs r WHERE r.state IN ('queued', 'running') AND r.shard_id IS NULL
        ORDER BY r.id""",
    "run {0} is queued in a shard that is {1}": """
        SELECT r.id, s.state FROM runs r JOIN shards s ON s.id = r.shard_id
        WHERE r.state IN ('queued', 'running') AND s.state NOT IN ('queued', 'running')
        ORDER BY r.id""",
    "run {0} and its shard belong to different batches": """
        SELECT r.id FROM runs r JOIN shards s ON s.id = r.shard_id
        WHERE s.batch_id <> r.batch_id OR s.trace_id <> r.trace_id ORDER BY r.id""",
    "result {0} is of a variant that does not exist": """
        SELECT x.id FROM results x LEFT JOIN variants v ON v.digest = x.variant_digest
        WHERE v.digest IS NULL ORDER BY x.id""",
    "{0} {1} belongs to another project than its batch": """
        SELECT 'run', r.id FROM runs r JOIN batches b ON b.id = r.batch_id
        WHERE r.project_id <> b.project_id
        UNION ALL
        SELECT 'shard', s.id FROM shards s JOIN batches b ON b.id = s.batch_id
        WHERE s.project_id <> b.project_id""",
    "{0} {1} belongs to another project than its kernel": """
        SELECT 'build', u.id FROM kernel_builds u JOIN kernels k ON k.id = u.kernel_id
        WHERE u.project_id <> k.project_id
        UNION ALL
        SELECT 'tree', t.id FROM kernels k JOIN trees t ON t.id = k.tree_id
        WHERE t.project_id <> k.project_id
        UNION ALL
        SELECT 'patch set', s.id FROM patch_sets s JOIN kernels k ON k.id = s.kernel_id
        WHERE s.project_id <> k.project_id""",
}
"""Inconsistencies of rows: the sentence that reports one, and the query that finds it.

A cached run that was recomputed is counted as done, so cached ones are shown and not compared.
"""


def live(engine: sa.Engine, blobs: BlobStore, progress: Progress) -> Iterator[str]:
    """Yield a sentence for everything that is wrong; nothing for a sound installation."""
    with transaction(engine) as session:
        session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        # Without a limit: every byte is read.
        session.execute(sa.text("SET LOCAL statement_timeout = 0"))
        session.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        for number, (sentence, query) in enumerate(_CONTRADICTIONS.items()):
            progress("checks of rows", number, len(_CONTRADICTIONS))
            given = {"same_as": json.dumps(SAME_AS)} if ":same_as" in query else {}
            for row in session.execute(sa.text(query), given):
                yield sentence.format(*row)
        progress("checks of rows", len(_CONTRADICTIONS), len(_CONTRADICTIONS))
        yield from _results(session, progress)
        yield from _documents(session, progress)
        for result_id in dropping.foreign_crashes(session):
            yield (
                f"result {result_id}: it is recorded as a crash but was a fault of the service: "
                "`python -m db verify --drop-false-crashes` drops it"
            )
        yield from _files(session, blobs, progress)
        yield from _orphans(session, blobs)


def drop_false_crashes(engine: sa.Engine) -> tuple[int, int]:
    """Drop crashes that are not the simulator's, one by one; answers how many results and runs."""
    with transaction(engine) as session:
        found = list(dropping.foreign_crashes(session))
    run_count = 0
    for result_id in found:
        with transaction(engine) as session:
            run_count += dropping.drop(session, result_id)
    return len(found), run_count


def _files(session: Session, blobs: BlobStore, progress: Progress) -> Iterator[str]:
    """Reads the file of every trace, tree and program."""
    queries = {
        "trace {}": sa.select(
            Trace.digest, sa.func.min(Trace.name), sa.func.max(Trace.size_bytes)
        ).group_by(Trace.digest),
        "tree of Linux {}": sa.select(
            Tree.digest, sa.func.min(Tree.release), sa.func.max(Tree.size_bytes)
        ).group_by(Tree.digest),
        "program {}": sa.select(Program.file_digest, Program.digest, Program.size_bytes),
    }
    rows = [
        (digest, kind.format(name), size_bytes)
        for kind, query in queries.items()
        for digest, name, size_bytes in session.execute(query.order_by(sa.text("1"))).all()
    ]
    for number, (digest, what, size_bytes) in enumerate(rows):
        progress("blobs read", number, len(rows))
        try:
            stored_bytes = blobs.fetch(digest).stat().st_size
        except NotFound:
            yield f"{what} ({digest[:12]}) has no blob"
            continue
        except BlobDamaged as error:
            yield f"{what} ({digest[:12]}): {error}"
            continue
        if stored_bytes != size_bytes:
            yield (
                f"{what} ({digest[:12]}): its row says {size_bytes} bytes, "
                f"its blob has {stored_bytes}"
            )
    progress("blobs read", len(rows), len(rows))


def _orphans(session: Session, blobs: BlobStore) -> Iterator[str]:
    """Blobs without a row, except recent ones, whose upload may be about to write it."""
    needed = files.needed(session)
    for digest, age_seconds in blobs.kept():
        if digest not in needed and age_seconds > ABANDONED_AFTER_SECONDS:
            yield f"blob {digest} is needed by nothing: remove it if no other database needs it"


def _results(session: Session, progress: Progress) -> Iterator[str]:
    total = session.scalar(sa.select(sa.func.count()).select_from(Result)) or 0
    query = sa.select(
        Result.id,
        Result.body,
        Result.body_digest,
        Result.trace_digest,
        Result.variant_digest,
        Result.simulator_digest,
    ).where(Result.outcome == "complete")
    done = 0
    for row in session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
        if done % _ROWS_AT_ONCE == 0:
            progress("results read", done, total)
        done += 1
        try:
            result = RunResult.from_dict(row.body)
        except (RefaultError, KeyError, TypeError, ValueError) as error:
            yield f"result {row.id}: its body is not a result: {error}"
            continue
        if hashlib.sha256(result.to_bytes()).hexdigest() != row.body_digest:
            yield f"result {row.id}: its body does not have the digest {row.body_digest[:12]}"
        named = (result.trace_digest, result.variant_digest, result.simulator_digest)
        if named != (row.trace_digest, row.variant_digest, row.simulator_digest):
            yield f"result {row.id}: its body belongs to another trace, variant or simulator"
    progress("results read", total, total)


def _documents(session: Session, progress: Progress) -> Iterator[str]:
    total = session.scalar(sa.select(sa.func.count()).select_from(Document)) or 0
    query = sa.select(
        Document.digest,
        Document.kind,
        Document.level,
        Document.trace_digest,
        Document.variant_digest,
        Document.simulator_digest,
        Document.body,
        Document.body_digest,
    )
    for done, row in enumerate(session.execute(query.execution_options(yield_per=_BODIES_AT_ONCE))):
        if done % _BODIES_AT_ONCE == 0:
            progress("documents read", done, total)
        named = (row.kind, row.level, row.trace_digest, row.variant_digest, row.simulator_digest)
        if DocumentKey(*named).digest != row.digest:
            yield f"document {row.digest[:12]} ({row.kind}): it is stored under another key"
        if hashlib.sha256(row.body).hexdigest() != row.body_digest:
            yield (
                f"document {row.digest[:12]} ({row.kind}): its body does not have the digest "
                f"{row.body_digest[:12]}"
            )
    progress("documents read", total, total)
