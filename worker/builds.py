"""Compile kernels of users' trees: claim, unpack, build behind walls, check, store, record.

One turn takes all queued builds of one kernel. Each is recorded as soon as it is there, so that a
lost worker costs only what it was at; what it has compiled is in its store for the next attempt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from db import builds, orphans
from db.builds import BuildClaim
from db.leased import RowFence
from db.repositories import files, placements, programs
from db.session import transaction
from db.shards.leases import Grip
from refault.errors import BuildFailed, KernelError, NotATree, Unfaithful
from refault.golden import faithful
from refault.linux import packed
from refault.linux.build import Options, build_sets
from refault.linux.patches import Patch
from refault.linux.store import Build, Store, file_digest
from refault.linux.tree import checked
from refault.printable import printable
from services.shared import logs
from worker import claimed
from worker.deadline import Deadline
from worker.endings import WORDS_MAX
from worker.lease import Lease
from worker.patience import Patience
from worker.resources import Resources

_log = logging.getLogger(__name__)

_ROWS = claimed.Rows("builds", builds.QUEUE, builds.give_back)


class _Stopped(Exception):
    """Nobody wants the builds any more."""


class _Lost(Exception):
    """Somebody else has the build, or its kernel was deleted: nothing of it is written."""


class HeldBuilds:
    """The builds of a claim that are not recorded yet."""

    def __init__(self, fences: Sequence[RowFence]) -> None:
        self.open = list(fences)
        self._units: dict[uuid.UUID, tuple[int, int]] = {}

    def report(self, fence: RowFence, done: int, total: int) -> None:
        """How many units of a build are compiled."""
        self._units[fence.row_id] = (done, total)

    def extend(self, session: Session, lease_seconds: float) -> Grip:
        """See :class:`worker.lease.Held`."""
        units = dict(self._units)
        return builds.QUEUE.extend(
            session, list(self.open), lease_seconds=lease_seconds, units=units
        )

    def glance(self, session: Session) -> Grip:
        """See :class:`worker.lease.Held`."""
        return builds.QUEUE.glance(session, list(self.open))

    def __str__(self) -> str:
        return ", ".join(f"build {fence.row_id}" for fence in self.open)


def take_turn(resources: Resources) -> int:
    """Build what waits, kernel by kernel; the number of kernels."""
    return _ROWS.take_turn(lambda: run(resources))


def run(resources: Resources) -> bool:
    """Build what waits of one kernel; whether anything did, and was built or refused.

    Raises ServiceError if claiming fails.
    """
    asked_at = time.monotonic()
    claim = Patience().call("claim builds", lambda: _claim(resources))
    if claim is None:
        return False
    held = HeldBuilds(list(claim.wanted))
    with logs.bound(kernel=claim.kernel_name, worker=resources.name):
        _log.info("kernel %s: %d builds", claim.kernel_name, len(claim.wanted))
        try:
            with Lease(resources, held, since=asked_at) as lease:
                _build_all(resources, claim, lease)
        except _Stopped:
            _log.info("kernel %s: nobody wants the rest", claim.kernel_name)
        except Exception as error:  # noqa: BLE001  # another attempt may not meet it
            _ROWS.hand_back(resources, held.open, error)
            return False
    return True


def process_died(resources: Resources, pid: int, error: str) -> None:
    """A pool process is known to be dead: its builds are requeued before their lease expires."""
    _ROWS.process_died(resources, pid, error)


def _claim(resources: Resources) -> BuildClaim | None:
    with transaction(resources.engine) as session:
        return builds.claim(
            session,
            worker=resources.name,
            worker_pid=os.getpid(),
            lease_seconds=resources.settings.lease_seconds,
        )


class _Watch:
    """Told of each unit that is compiled; stops where nobody wants the rest."""

    def __init__(self, lease: Lease[HeldBuilds], deadline: Deadline, fence: RowFence) -> None:
        self._lease = lease
        self._deadline = deadline
        # The build that is being made.
        self.fence = fence

    def __call__(self, done: int, total: int, unit: str) -> None:
        del unit
        if self._deadline.is_over():
            raise KernelError("out of time: what is compiled is kept, and the next attempt goes on")
        if self._lease.is_cancelled():
            raise _Stopped
        self._lease.held.report(self.fence, done, total)


def _build_all(resources: Resources, claim: BuildClaim, lease: Lease[HeldBuilds]) -> None:
    """The tree as it is comes first, asked for or not: without it no patch is worth anything."""
    held, store = lease.held, Store()
    base = next((fence for fence, numbers in claim.wanted.items() if not numbers), None)
    rest = {fence: numbers for fence, numbers in claim.wanted.items() if numbers}
    watch = _Watch(lease, Deadline(resources.limits), base or next(iter(rest)))
    patches = [Patch(each.title, each.diff, each.files) for each in claim.patches]
    options = Options(claim.sanitize, jobs=1)
    blob = resources.blobs.fetch(claim.tree_digest)
    with store.scratch() as folder:
        root = Path(folder) / "unpacked"
        try:
            tree = checked(packed.unpack(blob, root), Path("the tree"))
            found = build_sets(tree, patches, [(), *rest.values()], store, options, watch)
            made = _as_it_is(next(found), store)
        except (NotATree, BuildFailed, Unfaithful) as error:
            why = _told(error, root)
            for fence in list(held.open):
                told = why if fence == base else f"the tree as it is: {why}"
                _refuse(resources, held, fence, told)
            return
        if base is not None:
            _record(resources, held, base, made, store)
        for fence in rest:
            watch.fence = fence
            patched = next(found)
            if isinstance(patched, Build):
                _record(resources, held, fence, patched, store)
            else:
                _refuse(resources, held, fence, _told(patched, root))


def _as_it_is(made: Build | KernelError, store: Store) -> Build:
    if isinstance(made, KernelError):
        raise made
    return faithful.checked(made, store)


def _record(
    resources: Resources, held: HeldBuilds, fence: RowFence, made: Build, store: Store
) -> None:
    log = (
        f"Linux {made.release}, {made.compiler}\n"
        f"{len(made.objects)} units of {made.files} files, "
        f"{len(made.missing)} names that nobody defines\n"
        f"{made.check or 'no check: it has patches'}\n"
    )
    placed = _placed(resources, made, store)

    def write() -> str:
        with transaction(resources.engine) as session:
            files.lock_digest(session, placed.file_digest)
            kept = programs.add(
                session, made, file_digest=placed.file_digest, size_bytes=placed.size_bytes
            )
            check = made.check or None
            if not builds.finish(session, fence, log=log, program_digest=made.digest, check=check):
                raise _Lost
            if kept == placed.file_digest:
                placements.end(session, placed.placement_id)
            return kept

    kept = None
    with contextlib.suppress(_Lost):
        kept = Patience().call("record a build", write)
    if kept != placed.file_digest:
        if kept is not None:
            _log.warning("build %s: another machine made other bytes of it", made.digest[:12])
        orphans.drop(resources.engine, resources.blobs, placed.placement_id, placed.file_digest)
    _end(held, fence, kept is not None, made.digest[:12])


def _refuse(resources: Resources, held: HeldBuilds, fence: RowFence, why: str) -> None:
    def write() -> bool:
        with transaction(resources.engine) as session:
            return builds.finish(session, fence, log=f"{why}\n", refusal=why)

    _end(held, fence, Patience().call("record a build", write), "refused")


def _end(held: HeldBuilds, fence: RowFence, is_ours: bool, what: str) -> None:  # noqa: FBT001
    held.open.remove(fence)
    _log.info("build %s: %s", fence.row_id, what if is_ours else "lost: nothing was written")


@dataclasses.dataclass(frozen=True)
class _Placed:
    file_digest: str
    size_bytes: int
    placement_id: uuid.UUID


def _placed(resources: Resources, made: Build, store: Store) -> _Placed:
    """Put the program in place among the blobs; its row is still to be written."""
    program = store.program(made.digest)
    digest = file_digest(program)
    with transaction(resources.engine) as session:
        placement_id = placements.begin(session, digest)
    try:
        if not resources.blobs.exists(digest):
            with resources.blobs.receive() as incoming, program.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    incoming.write(chunk)
                incoming.keep(digest)
    except BaseException:
        orphans.drop(resources.engine, resources.blobs, placement_id, digest)
        raise
    return _Placed(digest, program.stat().st_size, placement_id)


def _told(error: KernelError, root: Path) -> str:
    """What a user is told: no path of this machine."""
    text = str(error).replace(f"{root}/", "").replace(str(root), "the tree")
    return printable(text[:WORDS_MAX], lines=True)
