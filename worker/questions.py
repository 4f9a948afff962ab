"""Answer questions: claim, compute, record, one by one."""

from __future__ import annotations

import functools
import logging
import os
import time

from sqlalchemy.orm import Session

from db import questions
from db.errors import BlobDamaged
from db.leased import RowFence
from db.models import Variant
from db.questions import QuestionClaim
from db.repositories import patch_sets
from db.session import transaction
from db.shards.leases import Grip
from refault import catalogue
from refault.errors import (
    CatalogueError,
    InvalidParameter,
    ReplayCancelled,
    ReplayError,
    TraceError,
)
from refault.questions import Question
from services.shared import logs
from worker import answering, claimed, kernels
from worker.deadline import Deadline
from worker.endings import WORDS_MAX
from worker.lease import Lease
from worker.patience import Patience
from worker.resources import Resources

_log = logging.getLogger(__name__)

FINAL = (TraceError, CatalogueError, InvalidParameter, ReplayError, BlobDamaged)
"""Errors that every other attempt would have too: the question fails with the message."""

TURN_SECONDS = 1.0
"""How long one message may be used for questions, as shards may be waiting."""

_ROWS = claimed.Rows("question", questions.QUEUE, questions.QUEUE.give_back)


class HeldQuestion:
    """The question of a claim, and how far its answer is."""

    def __init__(self, fence: RowFence) -> None:
        self._fence = fence
        self._units = (0, 0)

    def report(self, done: int, total: int) -> None:
        """How many bytes of the trace are read."""
        self._units = (done, total)

    def extend(self, session: Session, lease_seconds: float) -> Grip:
        """See :class:`worker.lease.Held`."""
        units = {self._fence.row_id: self._units}
        return questions.QUEUE.extend(
            session, [self._fence], lease_seconds=lease_seconds, units=units
        )

    def glance(self, session: Session) -> Grip:
        """See :class:`worker.lease.Held`."""
        return questions.QUEUE.glance(session, [self._fence])

    def __str__(self) -> str:
        return f"question {self._fence.row_id}"


def take_turn(resources: Resources) -> int:
    """Answer what waits, for up to :data:`TURN_SECONDS`; the number of questions."""
    return _ROWS.take_turn(functools.partial(run, resources), TURN_SECONDS)


def run(resources: Resources) -> bool:
    """Answer the oldest question; whether there was one, and it is answered or refused.

    Raises ServiceError if claiming fails.
    """
    asked_at = time.monotonic()
    claim = Patience().call("claim a question", functools.partial(_claim, resources))
    if claim is None:
        return False
    fence = claim.fence
    with logs.bound(question=str(fence.row_id), worker=resources.name):
        try:
            with Lease(resources, HeldQuestion(fence), since=asked_at) as lease:
                return _answered(resources, claim, lease)
        except Exception as error:  # noqa: BLE001  # another attempt may not meet it
            _ROWS.hand_back(resources, [fence], error)
            return False


def process_died(resources: Resources, pid: int, error: str) -> None:
    """A pool process is known to be dead: its question is requeued before the lease expires."""
    _ROWS.process_died(resources, pid, error)


def _claim(resources: Resources) -> QuestionClaim | None:
    with transaction(resources.engine) as session:
        return questions.claim(
            session,
            engines=resources.simulators,
            worker=resources.name,
            worker_pid=os.getpid(),
            lease_seconds=resources.settings.lease_seconds,
        )


def _answered(resources: Resources, claim: QuestionClaim, lease: Lease[HeldQuestion]) -> bool:
    deadline = Deadline(resources.limits.within(claim.shard_seconds))
    document = None
    try:
        if not claim.is_answered:
            asked = _asked(resources, claim, lease, deadline)
            _log.info("%s of trace %s", asked.question.kind, claim.trace_digest[:12])
            document = (asked.key, _computed(asked, deadline, lease))
    except ReplayCancelled:
        _log.info("lost: nothing was written")
        return False
    except FINAL as error:
        refused = functools.partial(questions.fail, fence=claim.fence, error=str(error)[:WORDS_MAX])
        return _written(resources, refused, f"refused: {error}")
    return _written(
        resources, functools.partial(questions.finish, fence=claim.fence, answer=document), "done"
    )


def _written(resources: Resources, write: functools.partial[bool], what: str) -> bool:
    def once() -> bool:
        with transaction(resources.engine) as session:
            return write(session)

    is_ours = Patience().call("record an answer", once)
    _log.info("%s", what if is_ours else "lost: nothing was written")
    return True


def _asked(
    resources: Resources, claim: QuestionClaim, lease: Lease[HeldQuestion], deadline: Deadline
) -> answering.Asked:
    with transaction(resources.engine) as session:
        rows = [session.get_one(Variant, digest) for digest in claim.asked["variants"]]
        texts = [row.text for row in rows]
        variants: list[catalogue.Variant] = [patch_sets.to_variant(row) for row in rows]
    kernels.provide(resources, variants)
    return answering.Asked(
        question=Question.from_dict(claim.asked["question"]),
        trace_digest=claim.trace_digest,
        trace=resources.blobs.fetch(claim.trace_digest),
        variants=list(zip(texts, variants, strict=True)),
        progress=lease.held.report,
        is_cancelled=lambda: lease.is_cancelled() or deadline.is_over(),
        memory_bytes=resources.limits.memory_bytes,
    )


def _computed(asked: answering.Asked, deadline: Deadline, lease: Lease[HeldQuestion]) -> bytes:
    try:
        return answering.answer(asked)
    except ReplayCancelled:
        if not lease.is_cancelled():
            deadline.check()
        raise
