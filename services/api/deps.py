"""Dependencies of the endpoints: the database, the blobs, the broker, a page of a list."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, cast

import anyio
import sqlalchemy as sa
from fastapi import Depends, Query, Request, Response
from sqlalchemy.orm import Session

from db import scope, session
from db.blobs import BlobStore, SnapshotStore, open_snapshots, open_store
from db.repositories.pagination import PAGE_SIZE, PAGE_SIZE_MAX
from db.scope import NOBODY, Maker
from services.api.batches.watching import Watchers
from services.api.bodies import Bodies
from services.api.callers import CALLER, Caller
from services.api.comparisons.drawing import Drawings
from services.api.comparisons.together import Together
from services.api.door import caller_of
from services.api.sender import Sender
from services.api.settings import Settings
from services.api.traces.quota import OpenUploads
from services.api.uploads.validators import Validators
from services.shared.limits import Limits

MAILS_AT_ONCE = 2
TREES_AT_ONCE = 2


@dataclass(frozen=True)
class Resources:
    """The resources of the API, from start to stop."""

    settings: Settings
    engine: sa.Engine
    blobs: BlobStore
    # Needed to delete the snapshots of a deleted trace.
    snapshots: SnapshotStore
    sender: Sender
    bodies: Bodies
    upload_slots: anyio.CapacityLimiter
    open_uploads: OpenUploads
    # Bounds the mails read at once, each in a thread of its own.
    mail_slots: anyio.CapacityLimiter
    # Bounds the packed trees that are examined at once.
    tree_slots: threading.BoundedSemaphore
    validators: Validators
    drawings: Drawings
    # Comparisons that several ask for at once.
    together: Together
    watchers: Watchers
    # The service's limits for a shard.
    limits: Limits
    # The caller; None outside of a request.
    project_id: uuid.UUID | None = None
    maker: Maker = NOBODY

    @classmethod
    def open(cls, settings: Settings) -> "Resources":
        """The resources named by the settings; connects to nothing yet."""
        return cls(
            settings=settings,
            engine=session.create_engine(settings.database_url, pool_size=10),
            blobs=open_store(settings.blobs, staging=settings.blobs_staging),
            snapshots=open_snapshots(
                settings.blobs, settings.snapshots, staging=settings.blobs_staging
            ),
            sender=Sender(settings.broker_url),
            bodies=Bodies(
                wait_seconds=settings.body_wait_seconds,
                bytes_per_second=settings.body_bytes_per_second,
                count_max=settings.body_count,
            ),
            upload_slots=anyio.CapacityLimiter(settings.upload_parallel_count),
            open_uploads=OpenUploads(),
            mail_slots=anyio.CapacityLimiter(MAILS_AT_ONCE),
            tree_slots=threading.BoundedSemaphore(TREES_AT_ONCE),
            validators=Validators(settings.upload_parallel_count, settings.upload_decode_count),
            drawings=Drawings(
                settings.drawing_parallel_count,
                settings.drawing_waiting_count,
                settings.drawing_seconds,
            ),
            together=Together(),
            watchers=Watchers(
                per_credential=settings.event_streams_per_caller,
                in_all=settings.event_streams,
                poll_seconds=settings.event_poll_seconds,
                access_seconds=settings.event_access_seconds,
            ),
            limits=Limits.of(settings.shard_seconds, settings.memory_limit_kib),
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that sees only the caller's project and records the caller as maker."""
        if self.project_id is None:
            raise RuntimeError("no project: only a request has one")
        with session.transaction(self.engine, self.project_id) as opened:
            scope.sign(opened, self.maker)
            yield opened

    def close(self) -> None:
        """Close all connections."""
        self.validators.close()
        self.drawings.close()
        self.engine.dispose()
        self.sender.close()


def resources_of(request: Request) -> Resources:
    """The resources of the API, bound to the caller."""
    held = cast("Resources", request.app.state.resources)
    caller = request.scope.get(CALLER)
    if not isinstance(caller, Caller):
        return held
    return replace(held, project_id=caller.project_id, maker=caller.maker)


@dataclass(frozen=True)
class PageQuery:
    """Which page of a list is requested."""

    limit: int
    cursor: uuid.UUID | None


def _page_query(
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description="Maximum number")] = PAGE_SIZE,
    cursor: Annotated[
        uuid.UUID | None, Query(description="`next_cursor` of the previous page")
    ] = None,
) -> PageQuery:
    return PageQuery(limit, cursor)


WithResources = Annotated[Resources, Depends(resources_of)]
WithCaller = Annotated[Caller, Depends(caller_of)]
WithPage = Annotated[PageQuery, Depends(_page_query)]

FOREVER = "private, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"


def unchanged(
    request: Request, response: Response, tag: str, *, keep: str = REVALIDATE
) -> Response | None:
    """Set the ETag of ``response``; returns a 304 to send instead if the caller has that version.

    ``keep`` is FOREVER for what can never change under its address.
    """
    headers = {"etag": f'"{tag}"', "cache-control": keep}
    response.headers.update(headers)
    known = request.headers.get("if-none-match", "")
    tags = {entry.strip().removeprefix("W/") for entry in known.split(",")}
    if "*" in tags or f'"{tag}"' in tags:
        return Response(status_code=304, headers=headers)
    return None
