"""How every upload ends: all agrees, the file is put in place, and the row is written.

::

    request ── chunk ──► size ──► validator ──► incoming file
                           │          │              │ last chunk
                           ▼          ▼              ▼
                       413 / 422 with the byte     place(): the digest agrees, the file is in place
                       nothing stays behind        write_row(): in one transaction under its lock

Everything here runs in a worker thread; how the chunks come there stands in ``streaming.py``.
"""

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from db import orphans
from db.errors import Conflict
from db.models import Trace
from db.repositories import files, operations, placements, traces
from db.shards.messages import QuestionMessage
from refault.errors import DigestMismatch
from refault.trace import TraceValidator
from services.api.deps import Resources
from services.api.traces import verifying
from services.api.traces.announcement import Wishes
from services.api.traces.schemas import NAME_LENGTH_MAX, TraceDetail


@dataclasses.dataclass(frozen=True)
class Placed:
    """A trace that was found good and whose file is in place; its row is still to be written."""

    columns: Mapping[str, Any]
    placement: uuid.UUID

    @property
    def digest(self) -> str:
        """The sha256 of the file, and its name."""
        return str(self.columns["digest"])


def place(
    resources: Resources,
    validator: TraceValidator,
    wishes: Wishes,
    *,
    digest: str | None,
    put: Callable[[str], None],
) -> Placed:
    """Hold what the validator was fed against everything, and put its file in place.

    ``put`` puts it there under the digest it is given. Where that fails, nothing stays.

    Raises:
        TraceError: the trace is incomplete, or a replay of it would exceed a limit.
        DigestMismatch: ``digest`` was announced, and another one arrived.
        Conflict: the same trace is being deleted right now.
    """
    summary = validator.close()
    if digest not in {None, summary.digest}:
        raise DigestMismatch(
            f"{summary.size_bytes} bytes arrived with sha256 {summary.digest}, "
            f"the sender announced {digest}"
        )
    columns = _columns(validator, wishes)
    resources.limits.check(
        "the trace",
        work=columns["statistics"]["work"],
        memory_bytes=columns["statistics"]["memory_bytes"],
    )
    # Recorded before it is in place: if we are killed in between, the sweep of the API removes it.
    # Without a database no file is written.
    with resources.transaction() as session:
        placed = Placed(columns, placements.begin(session, summary.digest))
    # Sending to a bucket can take long, so no transaction is open meanwhile.
    with removed_if_it_fails(resources, placed.placement, placed.digest):
        put(placed.digest)
    return placed


def write_row(
    resources: Resources,
    placed: Placed,
    also: Callable[[Session, Trace], None] = lambda _session, _trace: None,
) -> tuple[TraceDetail, bool]:
    """Write the row of a trace whose file is in place; the trace, and whether it is new.

    A new capture is asked about itself.

    ``also`` is done in the same transaction. Where either fails, the file goes too.

    Raises:
        Conflict: the file took so long to be stored that it was given up.
    """
    with (
        removed_if_it_fails(resources, placed.placement, placed.digest),
        resources.transaction() as session,
    ):
        files.lock_digest(session, placed.digest)
        row, is_new = traces.add(session, **placed.columns)
        also(session, row)
        messages: Sequence[QuestionMessage] = ()
        if is_new:
            messages = verifying.ask(session, row)
            operations.count(session, operations.UPLOADS)
            operations.count(session, operations.UPLOADED_BYTES, row.size_bytes)
        if not placements.end(session, placed.placement):
            raise Conflict(
                f"storing trace {placed.digest} took too long and was aborted: upload it again"
            )
        session.flush()
        detail = TraceDetail.model_validate(row)
    resources.sender.publish(messages)
    return detail, is_new


@contextlib.contextmanager
def removed_if_it_fails(resources: Resources, placement: uuid.UUID, digest: str) -> Iterator[None]:
    """Without a row the file goes; not if another upload of the same file has one."""
    try:
        yield
    except BaseException:
        orphans.drop(resources.engine, resources.blobs, placement, digest)
        raise


def _columns(validator: TraceValidator, wishes: Wishes) -> dict[str, Any]:
    summary, statistics, costs = validator.close(), validator.statistics, validator.costs
    header = dataclasses.asdict(summary.header)
    meanings = summary.header.workload_marks
    return {
        "digest": summary.digest,
        "name": wishes.name or summary.header.name[:NAME_LENGTH_MAX] or summary.digest[:12],
        "content": summary.header.content,
        "guest_mode": summary.header.guest_mode,
        "vcpu_count": summary.vcpu_count,
        "size_bytes": summary.size_bytes,
        "event_count": summary.event_count,
        "instruction_count": summary.instruction_count,
        "truncated": summary.truncated,
        "events_by_kind": dict(summary.events_by_kind),
        "header": header,
        "guest": dict(summary.header.guest),
        "tags": list(wishes.tags),
        "note": wishes.note,
        "statistics": {
            "address_space_count": statistics.address_space_count,
            "makeup": statistics.makeup.to_dict(),
            "work": costs.work if costs else summary.event_count,
            "memory_bytes": costs.memory_bytes if costs else 0,
            "marks": [
                {"number": number, "count": count, "meaning": meanings.get(str(number), "")}
                for number, count in sorted(statistics.marks.items())
            ],
        },
    }
