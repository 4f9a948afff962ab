"""Builds of kernels as work, in a queue of :mod:`db.leased`.

A worker takes all queued builds of one kernel at once, as they share what is compiled, and records
each as soon as it is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from db import leased
from db.leased import DONE, QUEUED, RowFence
from db.models import Kernel, KernelBuild, KernelPatch
from db.repositories.kernels import NewPatch
from db.shards.messages import BuildMessage, Message
from refault.catalogue import Numbers

LOG_MAX = 16_000
"""What is kept of a build's log, in characters."""

QUEUE = leased.Queue(KernelBuild, lambda build: BuildMessage(build.kernel_id))


@dataclasses.dataclass(frozen=True)
class BuildClaim:
    """What a worker holds: a tree, the patches of a series, and which of them to build with."""

    kernel_name: str
    tree_digest: str
    patches: tuple[NewPatch, ...]
    sanitize: bool
    wanted: Mapping[RowFence, Numbers]


def claim(
    session: Session, *, worker: str, worker_pid: int, lease_seconds: float
) -> BuildClaim | None:
    """Take all queued builds of a kernel; of the project with the fewest running, the oldest.

    None if nothing waits that nobody else is just taking.
    """
    oldest = QUEUE.oldest(session)
    if oldest is None:
        return None
    builds = session.scalars(
        sa.select(KernelBuild)
        .where(KernelBuild.kernel_id == oldest.kernel_id, KernelBuild.state == QUEUED)
        .order_by(KernelBuild.position)
        .with_for_update(of=KernelBuild, skip_locked=True)
    ).all()
    QUEUE.take(session, builds, worker=worker, worker_pid=worker_pid, lease_seconds=lease_seconds)
    return _claim_of(session, oldest.kernel, builds)


def _claim_of(session: Session, kernel: Kernel, builds: Sequence[KernelBuild]) -> BuildClaim:
    rows = session.scalars(
        sa.select(KernelPatch)
        .where(KernelPatch.kernel_id == kernel.id)
        .order_by(KernelPatch.number)
        .options(undefer(KernelPatch.diff))
        .execution_options(populate_existing=True)
    )
    return BuildClaim(
        kernel_name=kernel.name,
        tree_digest=kernel.tree.digest,
        patches=tuple(NewPatch(row.title, row.author, tuple(row.files), row.diff) for row in rows),
        sanitize=kernel.sanitize,
        wanted={RowFence(row.id, row.attempt): tuple(row.patches) for row in builds},
    )


def finish(
    session: Session,
    fence: RowFence,
    *,
    log: str,
    program_digest: str | None = None,
    refusal: str | None = None,
    check: str | None = None,
) -> bool:
    """Record what came of a build: a program, or why there is none; False if the fence is lost."""
    build = QUEUE.held(session, fence)
    if build is None:
        return False
    build.state, build.lease_until, build.error = DONE, None, None
    build.program_digest, build.refusal, build.check_text = program_digest, refusal, check
    build.units_done = build.units_total
    build.finished_at = sa.func.clock_timestamp()
    _tell(build, log)
    session.flush()
    return True


def give_back(
    session: Session, fence: RowFence, error: str, *, log: str = "", counts_as_loss: bool = True
) -> Message | None:
    """End an attempt without an outcome; answers the message for the next one, if there is one."""
    build = QUEUE.held(session, fence)
    if build is None:
        return None
    _tell(build, f"{log}attempt {build.attempt} on {build.worker}: {error}\n")
    return QUEUE.requeue(session, build, error, counts_as_loss)


def take_from_lost(session: Session, fence: RowFence) -> Message | None:
    """Give an abandoned build back, if it is still abandoned now that it is locked."""
    build = QUEUE.held(session, fence)
    if build is None or not QUEUE.is_lost(session, build):
        return None
    in_order = leased.is_in_order(session, build)
    return give_back(session, fence, "it was not heard of any more", counts_as_loss=not in_order)


def _tell(build: KernelBuild, log: str) -> None:
    build.log = (build.log + log)[-LOG_MAX:]
