"""The comparison of a batch as a bundle (``refault/bundle``), written to a temporary file.

A bundle is made in a thread of the endpoint, a page of traces at a time, and sent from the file:
errors are answers, its length is known, and neither its results nor its bytes are in memory.
"""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

from sqlalchemy.orm import Session

from db.models import Batch
from db.repositories import accounts, batches, comparisons, kernels
from db.repositories.comparisons import TraceName
from refault.bundle import CELLS_MAX, BundleWriter, Cell, Head, HeadColumn, HeadNote, HeadSet
from refault.bundle.writer import Draw
from refault.compare import Column, chart
from refault.errors import BundleError, ComparisonError
from refault.printable import printable
from services.api.batches.provenance import asked_names
from services.api.comparisons import service
from services.api.comparisons.judging import columns_of, threshold_of
from services.api.deps import Resources
from services.api.notes import service as notes
from services.api.refusals import Busy, DrawingFailed

_PAGE_CELLS = 400
_CHUNK_BYTES = 1 << 18
# Each takes a connection to the database, a thread and a file for as long as it is made.
BUNDLES_AT_ONCE = 2
_slots = threading.BoundedSemaphore(BUNDLES_AT_ONCE)


def bundle_of(
    resources: Resources,
    name: str,
    base: int = 0,
    trace_digest: str | None = None,
    *,
    has_notes: bool = True,
) -> BinaryIO:
    """The bundle of a batch, or of one trace of it, in a file that goes when it is closed.

    ``has_notes``: with what the project has noted on its cells.

    Raises:
        NotFound: there is no such batch, or the trace is not part of it.
        BundleError: it has more cells, or would be larger, than a bundle may.
        Busy: as many are made as may be at once, or as many charts drawn.
    """
    if not _slots.acquire(blocking=False):
        raise Busy(f"{BUNDLES_AT_ONCE} bundles are being made: ask again in a few seconds")
    try:
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(tempfile.TemporaryFile(prefix="refault-bundle-"))
            file = cast("BinaryIO", opened)
            asked = _Asked(base, trace_digest, has_notes)
            with resources.transaction() as session:
                _write(session, file, batches.get(session, name), asked, _drawing(resources))
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


class _Asked(NamedTuple):
    base: int
    trace_digest: str | None
    has_notes: bool


def _drawing(resources: Resources) -> Draw:
    """Draws as the page's charts are drawn, and takes those that are kept."""

    def draw(_number: int, document: Mapping[str, Any]) -> str | None:
        try:
            return resources.drawings.svg_of(chart([document]), resources.project_id)
        except DrawingFailed:
            # The table has the same numbers.
            return None

    return draw


def _write(session: Session, file: BinaryIO, batch: Batch, asked: _Asked, draw: Draw) -> None:
    traces = comparisons.traces_of(session, batch.id)
    shown = service.shown_of(batch, traces, asked.trace_digest)
    count = len(batch.columns)
    if not 0 <= asked.base < count:
        raise ComparisonError(
            f"base column {asked.base} does not exist; the {count} columns count from 0"
        )
    # Before anything is read: the writer would find out only at the end.
    if len(shown) * count > CELLS_MAX:
        raise BundleError(
            f"{len(shown):,} traces × {count:,} columns are {len(shown) * count:,} cells, and a "
            f"bundle has at most {CELLS_MAX:,}: take one trace of the batch (?trace=DIGEST)"
        )
    head = _head(session, batch, traces, asked.base)
    if asked.has_notes:
        head = dataclasses.replace(head, notes=_notes(session, batch, shown))
    writer = BundleWriter(file, head, draw)
    step = max(1, _PAGE_CELLS // count)
    for first in range(0, len(shown), step):
        page = shown[first : first + step]
        columns = columns_of(session, batch, page)
        for trace in page:
            cells = [_cell(each) for each in columns[trace.id].values()]
            writer.add(trace.name, trace.digest, cells, trace.limits)
    writer.close()


def _notes(session: Session, batch: Batch, shown: Sequence[TraceName]) -> tuple[HeadNote, ...]:
    rows = notes.of_batch(session, batch)
    makers, digests = accounts.makers(session, rows), {trace.digest for trace in shown}
    return tuple(
        HeadNote(
            row.trace_digest or "",
            row.variant_digest or "",
            row.text,
            makers.get(row.id),
            row.created_at.isoformat(),
        )
        for row in rows
        if row.trace_digest in digests
    )


def _head(session: Session, batch: Batch, traces: Sequence[TraceName], base: int) -> Head:
    sets = batch.patch_sets
    titles = kernels.titles(session, {entry.base for entry in sets if entry.patches})
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
                tuple(printable(titles[entry.base].get(each, "")) for each in entry.patches)
                if entry.base in titles
                else (),
            )
            for entry in sets
        ),
    )


def _cell(column: Column) -> Cell:
    return Cell(column.state, column.error, column.alarm, column.result, column.audit)
