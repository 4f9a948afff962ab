"""From the bytes of a bundle to a row, and from a row to its comparison.

A bundle's results are a stranger's word. They stay inside of it, and are compared with results
that the project has computed itself; none becomes a result of this service.
"""

from __future__ import annotations

import hashlib
import io
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from db.models import ImportedBundle
from db.repositories import accounts, bundles
from refault.bundle import Bundle, verify
from refault.bundle.judged import JudgedBatch
from refault.bundle.layout import IMPORTED_BYTES_MAX
from refault.bundle.reader import Manifest
from refault.compare import Comparison, Verdict, to_csv, to_dict, to_markdown, to_text
from refault.compare.notes import notes_text
from refault.errors import BundleError, NotFound
from services.api.bundles.schemas import (
    BundleColumn,
    BundleDetail,
    BundleMatches,
    BundleNote,
    BundleSummary,
)
from services.api.deps import Resources
from services.api.refusals import Busy, UploadTooLarge

BYTES_MAX = IMPORTED_BYTES_MAX
CELLS_MAX = 2_000
"""Cells of a bundle that is imported: its verdicts are all judged again, for each page too."""
UNPACKED_BYTES_MAX = 128 << 20
PAGE_CELLS = 80

_slot = threading.BoundedSemaphore(1)
_waiting = threading.BoundedSemaphore(4)


async def bounded(chunks: AsyncIterator[bytes]) -> bytes:
    """The body, up to the largest bundle."""
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) > BYTES_MAX:
            raise UploadTooLarge(
                f"a bundle of more than {BYTES_MAX} bytes is not imported; traces do not belong "
                "inside: upload them by themselves"
            )
    return bytes(found)


def keep(resources: Resources, data: bytes) -> tuple[BundleSummary, bool]:
    """Checks a bundle and keeps it; whether it is new.

    Raises:
        BundleError: it is none, it does not agree with itself, or is larger than what is imported.
        Busy: another one is being checked.
    """
    with _checking():
        bundle = _opened(data)
        found = verify(bundle)
    if not found.is_sound:
        more = f" and {found.problem_count - 1} more" if found.problem_count > 1 else ""
        raise BundleError(f"it does not agree with itself: {found.problems[0]}{more}")
    with resources.transaction() as session:
        row, is_new = bundles.add(
            session,
            hashlib.sha256(data).hexdigest(),
            code=found.head.code,
            title=found.head.title,
            verdict=next(v.value for v in Verdict if v.title == found.verdict),
            exit_code=found.exit_code,
            trace_count=found.traces,
            cell_count=found.cells,
            made_with=found.made_by,
            body=data,
        )
        return summaries_of(session, [row])[0], is_new


def summaries_of(session: Session, rows: list[ImportedBundle]) -> list[BundleSummary]:
    """Rows as a list shows them."""
    makers = accounts.makers(session, rows)
    return [_summary(row, makers.get(row.id)) for row in rows]


def detail_of(resources: Resources, row_id: uuid.UUID, trace: int | None) -> BundleDetail:
    """A bundle with the comparisons of its first traces, or of the one of that number, from 1."""
    with resources.transaction() as session:
        row = bundles.get(session, row_id, with_body=True)
        [summary] = summaries_of(session, [row])
        data = row.body
    with _checking():
        manifest = _opened(data).manifest()
        judged, found = _judged(manifest)
    head = manifest.head
    with resources.transaction() as session:
        variants = {column.variant_digest for column in head.columns}
        own = bundles.own_results(session, manifest.digests, variants)
    if trace is not None and not 1 <= trace <= len(found):
        raise NotFound(f"bundle {row.code} has no trace {trace}; it has {len(found)}")
    count = max(1, PAGE_CELLS // len(head.columns))
    shown = found[:count] if trace is None else found[trace - 1 : trace]
    return BundleDetail(
        **dict(summary),
        columns=[BundleColumn.model_validate(column) for column in head.columns],
        matches=_matches(found, own),
        verdict_title=Verdict(row.verdict).title,
        plan=head.plan,
        answer=judged.answer,
        steps=[step.to_dict() for step in judged.steps],
        interactions=[each.to_dict() for each in judged.interactions],
        comparisons=[to_dict(each) for each in shown],
        notes=[
            BundleNote(**note._asdict())
            for note in head.pinned({str(each.trace.digest): each.trace.name for each in found})
        ],
        traces=[each.trace.name for each in found],
    )


def body_of(resources: Resources, row_id: uuid.UUID, form: str) -> bytes:
    """The file itself, or its comparison as txt, md or csv."""
    with resources.transaction() as session:
        data = bundles.get(session, row_id, with_body=True).body
    if form == "zip":
        return data
    with _checking():
        manifest = _opened(data).manifest()
        judged, found = _judged(manifest)
    head = manifest.head
    if form == "csv":
        return to_csv(found).encode()
    told: dict[str, Any] = {
        "title": head.title,
        "command": head.command,
        "verdict": judged.overall,
        "plan": head.plan,
        "steps": judged.steps,
        "interactions": judged.interactions,
    }
    text = to_markdown(found, **told) if form == "md" else to_text(found, **told)
    notes = head.pinned({str(each.trace.digest): each.trace.name for each in found})
    return (text + notes_text(notes)).encode()


def _matches(found: list[Comparison], own: dict[tuple[str, str, str], str | None]) -> BundleMatches:
    equal, unknown, different = 0, 0, []
    for comparison in found:
        for column in comparison.columns:
            result = column.result
            if result is None:
                continue
            key = (result.trace_digest, result.variant_digest, result.simulator_digest)
            if key not in own:
                unknown += 1
            elif own[key] == column.result_digest:
                equal += 1
            else:
                different.append(f"{comparison.trace.name}, {column.label}")
    return BundleMatches(equal=equal, different=different, unknown=unknown)


def _judged(manifest: Manifest) -> tuple[JudgedBatch, list[Comparison]]:
    """The comparisons of all traces, and what they come to."""
    judged = JudgedBatch(manifest.head)
    found = [
        judged.add(name, digest, manifest.cells(digest, told), limits)
        for name, digest, told, _, limits in manifest.traces()
    ]
    return judged, found


def _opened(data: bytes) -> Bundle:
    bundle = Bundle.open(io.BytesIO(data))
    size_bytes = sum(bundle.size_of(name) for name in bundle.files)
    if size_bytes > UNPACKED_BYTES_MAX:
        raise BundleError(
            f"it unpacks to {size_bytes} bytes; at most {UNPACKED_BYTES_MAX} are imported"
        )
    manifest = bundle.manifest()
    count = len(manifest.digests) * len(manifest.head.columns)
    if count > CELLS_MAX:
        raise BundleError(f"it has {count:,} cells; at most {CELLS_MAX:,} are imported")
    return bundle


@contextmanager
def _checking() -> Iterator[None]:
    # A page of a large one takes a second: a few may wait for it, each in a thread of all requests.
    busy = "other bundles are being read: ask again in a few seconds"
    if not _waiting.acquire(blocking=False):
        raise Busy(busy)
    try:
        if not _slot.acquire(timeout=10):
            raise Busy(busy)
        try:
            yield
        finally:
            _slot.release()
    finally:
        _waiting.release()


def _summary(row: ImportedBundle, made_by: str | None) -> BundleSummary:
    names = BundleSummary.model_fields.keys() - {"made_by"}
    return BundleSummary(**{name: getattr(row, name) for name in names}, made_by=made_by)
