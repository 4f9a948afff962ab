"""The comparison of a batch as a bundle (``refault/bundle``), written to a temporary file.

A bundle is made in a thread of the endpoint, a page of traces at a time, and sent from the file:
errors are answers, its length is known, and neither its results nor its bytes are in memory.
"""

import contextlib
import hashlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from sqlalchemy.orm import Session

from db.models import Batch
from db.repositories import batches, comparisons, patch_sets
from db.repositories.comparisons import TraceName
from refault.bundle import CELLS_MAX, BundleWriter, Cell, Head, HeadColumn, HeadSet
from refault.compare import Column
from refault.errors import BundleError, ComparisonError
from services.api.batches.provenance import asked_names
from services.api.comparisons import service
from services.api.comparisons.judging import columns_of, threshold_of
from services.api.deps import Resources
from services.api.refusals import Busy

_PAGE_CELLS = 400
_CHUNK_BYTES = 1 << 18
# Each takes a connection to the database, a thread and a file for as long as it is made.
BUNDLES_AT_ONCE = 2
_slots = threading.BoundedSemaphore(BUNDLES_AT_ONCE)


def bundle_of(
    resources: Resources, name: str, base: int = 0, trace_digest: str | None = None
) -> BinaryIO:
    """The bundle of a batch, or of one trace of it, in a file that goes when it is closed.

    Raises:
        NotFound: there is no such batch, or the trace is not part of it.
        BundleError: it has more cells, or would be larger, than a bundle may.
        Busy: as many are made as may be at once.
    """
    if not _slots.acquire(blocking=False):
        raise Busy(f"{BUNDLES_AT_ONCE} bundles are being made: ask again in a few seconds")
    try:
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(tempfile.TemporaryFile(prefix="refault-bundle-"))
            file = cast("BinaryIO", opened)
            with resources.transaction() as session:
                _write(session, file, batches.get(session, name), base, trace_digest)
            stack.pop_all()
    finally:
        _slots.release()
    file.seek(0)
    return file


def sha256_of(file: BinaryIO) -> str:
    """The digest of an open file, which is at its beginning again afterwards."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of the file, which is closed at the end."""
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _write(
    session: Session, file: BinaryIO, batch: Batch, base: int, trace_digest: str | None
) -> None:
    traces = comparisons.traces_of(session, batch.id)
    shown = service.shown_of(batch, traces, trace_digest)
    count = len(batch.columns)
    if not 0 <= base < count:
        raise ComparisonError(
            f"base column {base} does not exist; the {count} columns count from 0"
        )
    # Before anything is read: the writer would find out only at the end.
    if len(shown) * count > CELLS_MAX:
        raise BundleError(
            f"{len(shown):,} traces × {count:,} columns are {len(shown) * count:,} cells, and a "
            f"bundle has at most {CELLS_MAX:,}: take one trace of the batch (?trace=DIGEST)"
        )
    writer = BundleWriter(file, _head(session, batch, traces, base))
    step = max(1, _PAGE_CELLS // count)
    for first in range(0, len(shown), step):
        page = shown[first : first + step]
        columns = columns_of(session, batch, page)
        for trace in page:
            cells = [_cell(each) for each in columns[trace.id].values()]
            writer.add(trace.name, trace.digest, cells)
    writer.close()


def _head(session: Session, batch: Batch, traces: Sequence[TraceName], base: int) -> Head:
    sets = patch_sets.get_many(session, [column.patch_set_id for column in batch.columns])
    places = {entry.id: place for place, entry in enumerate(sets)}
    names = asked_names(batch.plan, batch.columns, {entry.id: entry for entry in sets})
    return Head(
        code=batch.code,
        title=service.title_of(batch, [entry.name for entry in sets]),
        plan=batch.plan,
        state=batch.state,
        created_at=batch.created_at.isoformat(),
        finished_at=None if batch.finished_at is None else batch.finished_at.isoformat(),
        command=service.command_of(batch, traces, service.chosen_of(batch, base, None)),
        base=base,
        columns=tuple(
            HeadColumn(
                label=column.label,
                variant_digest=column.variant_digest,
                variant_name=name,
                golden_name=column.variant.golden_name,
                engine=column.variant.engine,
                text=column.variant.text,
                patch_set=places[column.patch_set_id],
                prefix_length=column.prefix_length,
            )
            for column, name in zip(batch.columns, names, strict=True)
        ),
        threshold=threshold_of(session),
        patch_sets=tuple(
            HeadSet(
                entry.name,
                entry.base,
                tuple(entry.patches),
                json.dumps(entry.parameters, sort_keys=True),
            )
            for entry in sets
        ),
    )


def _cell(column: Column) -> Cell:
    return Cell(column.state, column.error, column.alarm, column.result, column.audit)
