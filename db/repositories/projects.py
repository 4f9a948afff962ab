"""Projects by name, and their quotas."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import Conflict, QuotaExceeded
from db.identifiers import uuid7
from db.models import Batch, Project, Run, Trace
from db.repositories import kernels
from db.scope import project_of
from refault.errors import InvalidRequest, NotFound

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
QUOTAS = (
    "quota_bytes",
    "quota_traces",
    "quota_queued_runs",
    "requests_per_minute",
    "shard_seconds",
)


def add(session: Session, name: str, **quotas: int | None) -> Project:
    """A new project.

    Raises:
        InvalidRequest: the name is not valid.
        Conflict: there is a project of that name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"project name {name[:80]!r}: 1 to 63 of a-z 0-9 -, a letter or digit first"
        )
    if session.scalar(sa.select(Project.id).where(Project.name == name)):
        raise Conflict(f"project {name} already exists")
    project = Project(id=uuid7(), name=name, **quotas)
    session.add(project)
    session.flush()
    session.refresh(project)
    return project


def get(session: Session, name: str) -> Project:
    """The project of that name; raises :class:`~refault.errors.NotFound`."""
    is_name = _NAME.fullmatch(name) is not None
    found = session.scalar(sa.select(Project).where(Project.name == name)) if is_name else None
    if found is None:
        raise NotFound(f"no project {name}")
    return found


def by_id(session: Session, project_id: uuid.UUID) -> Project:
    """The project of that id, which must exist."""
    return session.get_one(Project, project_id)


def check_room_for_trace(
    session: Session, size_bytes: int, *, under_way: tuple[int, int] = (0, 0)
) -> None:
    """Refuse another trace of so many bytes if it exceeds the project's quota.

    ``under_way`` counts unfinished uploads and their bytes, which are added to what is stored.
    Concurrent uploads are serialised here, so that two do not take the last place.
    """
    project = _locked(session)
    if project.quota_bytes is None and project.quota_traces is None:
        return
    trace_count = session.scalar(sa.select(sa.func.count(Trace.id))) or 0
    upload_count, upload_bytes = under_way
    if project.quota_traces is not None and trace_count + upload_count >= project.quota_traces:
        raise QuotaExceeded(
            f"the project has {trace_count} traces{_and(upload_count, 'unfinished uploads')}; it "
            f"may have {project.quota_traces}"
        )
    _check_bytes(session, project, size_bytes, upload_bytes)


def check_room_for_tree(session: Session, size_bytes: int, *, under_way_bytes: int = 0) -> None:
    """Refuse another packed tree of so many bytes, as for a trace; trees are not counted."""
    _check_bytes(session, _locked(session), size_bytes, under_way_bytes)


def check_room_for_builds(session: Session) -> None:
    """Refuse builds where the quota is used up: what a program has is known when it is built."""
    _check_bytes(session, _locked(session), 1, 0)


def _check_bytes(session: Session, project: Project, size_bytes: int, under_way_bytes: int) -> None:
    if project.quota_bytes is None:
        return
    held_bytes = _held_bytes(session)
    if held_bytes + under_way_bytes + size_bytes > project.quota_bytes:
        raise QuotaExceeded(
            f"the project's traces, trees and kernels have {held_bytes} bytes"
            f"{_and(under_way_bytes, 'unfinished')}; "
            f"{size_bytes} more would exceed its quota of {project.quota_bytes}"
        )


def _held_bytes(session: Session) -> int:
    """Of traces, trees, and programs built of these: each counts for all projects that have it."""
    held = session.scalar(sa.select(sa.func.coalesce(sa.func.sum(Trace.size_bytes), 0)))
    return int(held or 0) + kernels.trees_bytes(session) + kernels.programs_bytes(session)


def bytes_left(session: Session, *, under_way_bytes: int) -> int | None:
    """How many more bytes of files the project may have; None without a quota."""
    quota = session.scalar(sa.select(Project.quota_bytes).where(Project.id == project_of(session)))
    if quota is None:
        return None
    return max(0, int(quota) - _held_bytes(session) - under_way_bytes)


class Use(NamedTuple):
    """What a project has of what its quotas bound, without unfinished uploads."""

    size_bytes: int
    trace_count: int
    queued_run_count: int


def use(session: Session) -> Use:
    """How much the project has of each."""
    count = sa.func.count
    return Use(
        size_bytes=_held_bytes(session),
        trace_count=session.scalar(sa.select(count(Trace.id))) or 0,
        queued_run_count=_queued_runs(session),
    )


def take_turn(session: Session) -> None:
    """Wait until no other transaction counts what this project has."""
    _locked(session)


def _and(count: int, what: str) -> str:
    return f" and {count} {what}" if count else ""


def check_room_for_runs(session: Session) -> None:
    """Refuse what was just queued if it exceeds the project's quota."""
    project = _locked(session)
    if project.quota_queued_runs is None:
        return
    queued_count = _queued_runs(session)
    if queued_count > project.quota_queued_runs:
        raise QuotaExceeded(
            f"with this batch {queued_count} runs of the project would be queued at once, and "
            f"its quota is {project.quota_queued_runs}"
        )


def _queued_runs(session: Session) -> int:
    """How many runs wait; only batches that are not over have any, which are few."""
    is_open = sa.select(Batch.id).where(Batch.state.in_(("queued", "running")))
    query = sa.select(sa.func.count(Run.id)).where(Run.state == "queued", Run.batch_id.in_(is_open))
    return session.scalar(query) or 0


def _locked(session: Session) -> Project:
    query = sa.select(Project).where(Project.id == project_of(session))
    return session.scalars(query.with_for_update(key_share=True)).one()
