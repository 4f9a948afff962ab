"""Builds of kernels as work: claimed for a lease, extended, ended or given back under a fence.

::

            asked for
                │
                ▼     claim (attempt, lease)     finish
             queued ───────────────────────► running ──────► done (a program, or why there is none)
                ▲                               │  │
                └── lost, or its worker ended ──┘  └─ third loss ─► failed

A worker takes all queued builds of one kernel at once, as they share what is compiled, and records
each as soon as it is there. Nothing of a project's batches is locked.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from db.models import Kernel, KernelBuild, KernelPatch, Worker
from db.repositories.kernels import NewPatch
from db.shards.endings import LOSSES_MAX
from db.shards.leases import Grip
from db.shards.messages import BuildMessage
from refault.catalogue import Numbers

LOG_MAX = 16_000
"""What is kept of a build's log, in characters."""

_QUEUED, _RUNNING, _DONE, _FAILED = "queued", "running", "done", "failed"


@dataclasses.dataclass(frozen=True)
class BuildFence:
    """The right to write for a build, as long as the row still has this attempt."""

    build_id: uuid.UUID
    attempt: int


@dataclasses.dataclass(frozen=True)
class BuildClaim:
    """What a worker holds: a tree, the patches of a series, and which of them to build with."""

    kernel_name: str
    tree_digest: str
    patches: tuple[NewPatch, ...]
    sanitize: bool
    wanted: Mapping[BuildFence, Numbers]


def claim(
    session: Session, *, worker: str, worker_pid: int, lease_seconds: float
) -> BuildClaim | None:
    """Take all queued builds of a kernel; of the project with the fewest running, the oldest.

    None if nothing waits that nobody else is just taking.
    """
    running = (
        sa.select(KernelBuild.project_id, sa.func.count().label("count"))
        .where(KernelBuild.state == _RUNNING)
        .group_by(KernelBuild.project_id)
        .subquery()
    )
    oldest = session.scalars(
        sa.select(KernelBuild)
        .outerjoin(running, running.c.project_id == KernelBuild.project_id)
        .where(KernelBuild.state == _QUEUED)
        .order_by(sa.func.coalesce(running.c.count, 0), KernelBuild.created_at, KernelBuild.id)
        .limit(1)
        .with_for_update(of=KernelBuild, skip_locked=True)
    ).first()
    if oldest is None:
        return None
    builds = session.scalars(
        sa.select(KernelBuild)
        .where(KernelBuild.kernel_id == oldest.kernel_id, KernelBuild.state == _QUEUED)
        .order_by(KernelBuild.position)
        .with_for_update(of=KernelBuild, skip_locked=True)
    ).all()
    for build in builds:
        build.state, build.worker, build.worker_pid = _RUNNING, worker, worker_pid
        build.started_at = sa.func.clock_timestamp()
        build.lease_until = _in(lease_seconds)
        build.units_done = build.units_total = 0
    session.flush()
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
        wanted={BuildFence(row.id, row.attempt): tuple(row.patches) for row in builds},
    )


def extend(
    session: Session,
    fences: Sequence[BuildFence],
    *,
    lease_seconds: float,
    units: Mapping[uuid.UUID, tuple[int, int]],
) -> Grip:
    """Extend the leases of a live worker, and store the progress; LOST if no fence still holds."""
    held = session.scalars(
        sa.select(KernelBuild)
        .where(_is_any_of(fences), KernelBuild.state == _RUNNING)
        .order_by(KernelBuild.id)
        .with_for_update(of=KernelBuild)
    ).all()
    for build in held:
        build.lease_until = _in(lease_seconds)
        build.units_done, build.units_total = units.get(build.id, (0, 0))
    session.flush()
    return Grip.HELD if held else Grip.LOST


def glance(session: Session, fences: Sequence[BuildFence]) -> Grip:
    """What :func:`extend` would answer, without writing."""
    query = sa.select(KernelBuild.id).where(_is_any_of(fences), KernelBuild.state == _RUNNING)
    return Grip.HELD if session.scalar(query.limit(1)) else Grip.LOST


def finish(
    session: Session,
    fence: BuildFence,
    *,
    log: str,
    program_digest: str | None = None,
    refusal: str | None = None,
    check: str | None = None,
) -> bool:
    """Record what came of a build: a program, or why there is none; False if the fence is lost."""
    build = _held(session, fence)
    if build is None:
        return False
    build.state, build.lease_until, build.error = _DONE, None, None
    build.program_digest, build.refusal, build.check_text = program_digest, refusal, check
    build.units_done = build.units_total
    build.finished_at = sa.func.clock_timestamp()
    _tell(build, log)
    session.flush()
    return True


def give_back(
    session: Session, fence: BuildFence, error: str, *, log: str = "", counts_as_loss: bool = True
) -> BuildMessage | None:
    """End an attempt without an outcome; answers the message for the next one, if there is one."""
    build = _held(session, fence)
    if build is None:
        return None
    build.lost_count += int(counts_as_loss)
    _tell(build, f"{log}attempt {build.attempt} on {build.worker}: {error}\n")
    build.lease_until, build.error = None, error
    if build.lost_count >= LOSSES_MAX:
        build.state, build.finished_at = _FAILED, sa.func.clock_timestamp()
        session.flush()
        return None
    build.state, build.published_at = _QUEUED, sa.func.clock_timestamp()
    build.attempt += 1
    session.flush()
    return BuildMessage(build.kernel_id)


def held_by(session: Session, worker: str, worker_pid: int) -> list[BuildFence]:
    """The builds that this process of this worker has claimed and not yet ended."""
    query = sa.select(KernelBuild.id, KernelBuild.attempt).where(
        KernelBuild.state == _RUNNING,
        KernelBuild.worker == worker,
        KernelBuild.worker_pid == worker_pid,
    )
    return [BuildFence(row.id, row.attempt) for row in session.execute(query)]


def abandoned(session: Session, *, limit: int = 100) -> list[BuildFence]:
    """Running builds whose lease ran out, or whose worker is known to have ended."""
    query = (
        sa.select(KernelBuild.id, KernelBuild.attempt)
        .where(KernelBuild.state == _RUNNING, _is_abandoned())
        .limit(limit)
    )
    return [BuildFence(row.id, row.attempt) for row in session.execute(query)]


def take_from_lost(session: Session, fence: BuildFence) -> BuildMessage | None:
    """Give an abandoned build back, if it is still abandoned now that it is locked."""
    build = _held(session, fence)
    if build is None or not session.scalar(
        sa.select(_is_abandoned()).where(KernelBuild.id == build.id)
    ):
        return None
    in_order = session.scalar(sa.select(Worker.ended_in_order).where(Worker.name == build.worker))
    return give_back(session, fence, "it was not heard of any more", counts_as_loss=not in_order)


def _is_abandoned() -> sa.ColumnElement[bool]:
    ended = sa.exists().where(Worker.name == KernelBuild.worker, Worker.ended_at.is_not(None))
    return sa.or_(KernelBuild.lease_until < sa.func.clock_timestamp(), ended)


def stale_messages(session: Session, *, older_than_seconds: float) -> list[BuildMessage]:
    """One message for each kernel with queued builds whose message may be lost."""
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, older_than_seconds)
    stale = (
        sa.update(KernelBuild)
        .where(
            KernelBuild.state == _QUEUED,
            sa.or_(
                KernelBuild.published_at.is_(None),
                KernelBuild.published_at < sa.func.clock_timestamp() - age,
            ),
        )
        .values(published_at=sa.func.clock_timestamp())
        .returning(KernelBuild.kernel_id)
        .execution_options(synchronize_session=False)
    )
    return [BuildMessage(kernel_id) for kernel_id in sorted(set(session.scalars(stale)))]


def _held(session: Session, fence: BuildFence) -> KernelBuild | None:
    return session.scalars(
        sa.select(KernelBuild)
        .where(_is_any_of([fence]), KernelBuild.state == _RUNNING)
        .with_for_update(of=KernelBuild)
        .execution_options(populate_existing=True)
    ).one_or_none()


def _tell(build: KernelBuild, log: str) -> None:
    build.log = (build.log + log)[-LOG_MAX:]


def _is_any_of(fences: Sequence[BuildFence]) -> sa.ColumnElement[bool]:
    keys = [(fence.build_id, fence.attempt) for fence in fences]
    return sa.tuple_(KernelBuild.id, KernelBuild.attempt).in_(keys)


def _in(seconds: float) -> sa.ColumnElement[datetime.datetime]:
    length = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=sa.Interval)
    return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + length
