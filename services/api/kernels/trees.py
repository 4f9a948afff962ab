"""Packed trees: the end of an upload of one, and those that no kernel was made of.

::

    the whole file ──► sha256 ──► examine() ──► in place ──► row, in one transaction under its lock
                          │           │
                      422, the upload is over and nothing stays behind
"""

import logging
import uuid
from collections.abc import Iterable

from sqlalchemy.orm import Session

from db import orphans
from db.errors import Conflict
from db.models import Tree
from db.repositories import files, kernels, placements, projects, uploads
from db.session import transaction
from refault.errors import DigestMismatch, Unavailable
from refault.linux.packed import Packed, examine
from refault.linux.store import file_digest
from services.api.deps import Resources
from services.api.traces.keeping import removed_if_it_fails
from services.api.uploads.appending import Appending

Removals = list[tuple[uuid.UUID, str]]

_log = logging.getLogger("refault.api")


class TreeAppending(Appending):
    """A request that writes to a packed tree, which is examined once it is whole."""

    def _finish(self) -> None:
        self._partial.sync()
        with self._refusing():
            digest = file_digest(self._partial.path)
            if self._row.digest not in {None, digest}:
                raise DigestMismatch(
                    f"{self._row.size_bytes} bytes arrived with sha256 {digest}, "
                    f"the sender announced {self._row.digest}"
                )
            # An archive may want much memory while it is read, so few are at once.
            with self._resources.tree_slots:
                found = examine(self._partial.path)
            self._keep(digest, found)

    def _keep(self, digest: str, found: Packed) -> None:
        # As for a trace (``services/api/traces/keeping.py``): recorded before it is in place.
        with self._resources.transaction() as session:
            placement = placements.begin(session, digest)
        with removed_if_it_fails(self._resources, placement, digest):
            self._resources.blobs.put(self._partial.path, digest)
            with self._resources.transaction() as session:
                files.lock_digest(session, digest)
                if not kernels.has_tree(session, digest):
                    projects.check_room_for_tree(session, self._row.size_bytes)
                tree, _ = kernels.add_tree(
                    session,
                    digest=digest,
                    release=found.release,
                    size_bytes=self._row.size_bytes,
                    file_count=found.file_count,
                )
                uploads.finish_tree(session, self._row, tree)
                if not placements.end(session, placement):
                    raise Conflict(
                        f"storing tree {digest} took too long and was aborted: upload it again"
                    )


def drop_unused(resources: Resources) -> int:
    """Delete the trees that no kernel was made of in time, in all projects; returns how many."""
    with transaction(resources.engine) as session:
        found = kernels.unused_trees(session, resources.settings.upload_expire_seconds)
    dropped_count = 0
    for tree in found:
        with transaction(resources.engine) as session:
            files.lock_digest(session, tree.digest)
            row = session.get(Tree, tree.id)
            # Not if it was uploaded anew since it was found.
            is_unused = row is not None and row.created_at == tree.created_at
            gone = kernels.drop_tree(session, row) if row is not None and is_unused else []
            removals = begin_removals(session, gone)
        remove_files(resources, removals)
        dropped_count += len(gone)
    return dropped_count


def begin_removals(session: Session, digests: Iterable[str]) -> Removals:
    """Record that files are to be removed, unless something needs them; their digests are locked.

    In the transaction that deletes their rows; :func:`remove_files` comes after it.
    """
    begun = ((placements.begin_removal(session, digest), digest) for digest in digests)
    return [(removal, digest) for removal, digest in begun if removal is not None]


def remove_files(resources: Resources, removals: Removals) -> None:
    """Remove files whose removal has begun; what fails is left to the sweep."""
    for removal, digest in removals:
        try:
            orphans.finish(resources.engine, resources.blobs, removal, digest)
        except (OSError, Unavailable) as error:
            _log.warning("file %s is removed later: %s", digest[:12], error)
