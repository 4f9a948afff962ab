"""Kernels of users' own trees: what was given, what is to be built of it, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, defer, selectinload

from db.errors import Conflict, QuotaExceeded
from db.identifiers import uuid7
from db.models import (
    Batch,
    BatchColumn,
    Kernel,
    KernelBuild,
    KernelPatch,
    PatchSet,
    Program,
    Tree,
)
from db.models.batches import BATCH_FINAL_STATES
from db.repositories import files
from db.repositories.pagination import PAGE_SIZE, Page, newest_first
from db.scope import EVERYWHERE, maker_of, project_of
from refault.catalogue import KERNEL, Numbers, builds_of
from refault.errors import InvalidRequest, NotFound
from refault.linux.store import check_name

KERNELS_MAX = 500
"""Kernels of a project; the diffs of their patches are in the database."""

PATCHES_MAX = 64
BUILDS_MAX = 256
"""Builds of one kernel: the prefixes of the longest series, and more."""


@dataclasses.dataclass(frozen=True)
class NewPatch:
    """One patch of a series, as it was sent."""

    title: str
    author: str
    files: tuple[str, ...]
    diff: str


# --- trees ---------------------------------------------------------------------------------------


def add_tree(
    session: Session, *, digest: str, release: str, size_bytes: int, file_count: int
) -> tuple[Tree, bool]:
    """Register a tree whose file is in place; answers its row and whether it is new."""
    created = session.scalar(
        insert(Tree)
        .values(
            id=uuid7(),
            project_id=project_of(session),
            digest=digest,
            release=release,
            size_bytes=size_bytes,
            file_count=file_count,
            **maker_of(session)._asdict(),
        )
        .on_conflict_do_nothing(index_elements=[Tree.project_id, Tree.digest])
        .returning(Tree.id)
    )
    row = session.scalars(sa.select(Tree).where(Tree.digest == digest)).one()
    if created is None:
        # Wanted anew, so its time without a kernel begins anew.
        row.created_at = sa.func.now()
        session.flush()
    return row, created is not None


def has_tree(session: Session, digest: str) -> bool:
    """Whether the project has the tree of that digest."""
    return session.scalar(sa.select(Tree.id).where(Tree.digest == digest)) is not None


def get_tree(session: Session, digest: str) -> Tree:
    """The project's tree of that digest, which stays until the transaction ends.

    Raises :class:`~refault.errors.NotFound`.
    """
    query = sa.select(Tree).where(Tree.digest == digest)
    found = session.scalar(query.with_for_update(read=True, key_share=True))
    if found is None:
        raise NotFound(
            f"no tree {digest[:12]} in this project: pack yours (refault kernel pack) and upload "
            "it (POST /api/v1/uploads with `content tree` in Upload-Metadata)"
        )
    return found


def trees_bytes(session: Session) -> int:
    """The bytes of all trees of the project."""
    return int(session.scalar(sa.select(sa.func.coalesce(sa.func.sum(Tree.size_bytes), 0))) or 0)


def programs_bytes(session: Session) -> int:
    """The bytes of all programs that the project's kernels were built to, each counted once."""
    built = (
        sa.select(KernelBuild.program_digest)
        .join(Kernel, Kernel.id == KernelBuild.kernel_id)
        .where(KernelBuild.program_digest.is_not(None))
    )
    query = sa.select(sa.func.coalesce(sa.func.sum(Program.size_bytes), 0)).where(
        Program.digest.in_(built)
    )
    return int(session.scalar(query) or 0)


def unused_trees(session: Session, older_than_seconds: float) -> Sequence[Tree]:
    """Trees that no kernel is made of, of any project, and that came so long ago."""
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, older_than_seconds)
    return session.scalars(
        sa.select(Tree)
        .where(Tree.created_at < sa.func.now() - age, ~sa.exists().where(Kernel.tree_id == Tree.id))
        .limit(100)
    ).all()


# --- kernels -------------------------------------------------------------------------------------


def add(
    session: Session,
    name: str,
    tree: Tree,
    patches: Sequence[NewPatch],
    *,
    sanitize: bool,
    plan: str,
) -> tuple[Kernel, bool]:
    """Make a kernel and queue its builds; the same once more is the one that is there.

    Raises:
        InvalidParameter: it cannot be called so.
        InvalidRequest: there is no such plan, or there are too many patches.
        Conflict: another kernel of the project is called so.
        QuotaExceeded: the project has as many as it may have.
    """
    check_name(name)
    if len(patches) > PATCHES_MAX:
        raise InvalidRequest(f"{len(patches)} patches are more than the {PATCHES_MAX} of a kernel")
    wanted = builds_of(plan, len(patches))
    row_id = uuid7()
    created = session.scalar(
        insert(Kernel)
        .values(
            id=row_id,
            project_id=project_of(session),
            name=name,
            tree_id=tree.id,
            sanitize=sanitize,
            **maker_of(session)._asdict(),
        )
        .on_conflict_do_nothing(index_elements=[Kernel.project_id, Kernel.name])
        .returning(Kernel.id)
    )
    if created is None:
        found = get(session, name)
        if not _is_same(found, tree, patches, sanitize=sanitize):
            raise Conflict(
                f"there is another kernel {name} (Linux {found.tree.release}, "
                f"{len(found.patches)} patches): give this one another name, or delete that one"
            )
        request(session, found, wanted)
        return found, False
    if (session.scalar(sa.select(sa.func.count(Kernel.id))) or 0) > KERNELS_MAX:
        raise QuotaExceeded(f"the project has {KERNELS_MAX} kernels, the maximum: delete some")
    session.add_all(
        KernelPatch(
            kernel_id=row_id,
            number=number,
            title=patch.title,
            author=patch.author,
            files=list(patch.files),
            diff=patch.diff,
        )
        for number, patch in enumerate(patches, 1)
    )
    session.flush()
    kernel = session.get_one(Kernel, row_id)
    request(session, kernel, wanted)
    return kernel, True


def _is_same(kernel: Kernel, tree: Tree, patches: Sequence[NewPatch], *, sanitize: bool) -> bool:
    return (kernel.tree_id, kernel.sanitize) == (tree.id, sanitize) and [
        patch.diff for patch in kernel.patches
    ] == [patch.diff for patch in patches]


def request(session: Session, kernel: Kernel, wanted: Iterable[Numbers]) -> list[KernelBuild]:
    """Queue the builds that are not there yet, and again those that failed; answers these.

    Raises:
        InvalidRequest: the kernel has no such patch, or would have too many builds.
        NotFound: it was deleted meanwhile.
    """
    lock(session, kernel)
    session.refresh(kernel, ["builds"])
    present = {tuple(build.patches): build for build in kernel.builds}
    queued = []
    for numbers in wanted:
        check_numbers(kernel, numbers)
        build = present.get(numbers)
        if build is None:
            build = KernelBuild(
                id=uuid7(), kernel_id=kernel.id, position=len(present), patches=list(numbers)
            )
            build.project_id = kernel.project_id
            build.published_at = sa.func.now()
            session.add(build)
            present[numbers] = build
        elif build.state == "failed":
            build.state, build.error, build.lost_count = "queued", None, 0
            build.attempt += 1
            build.started_at = build.finished_at = None
            build.published_at = sa.func.now()
        else:
            continue
        queued.append(build)
    if len(present) > BUILDS_MAX:
        raise InvalidRequest(f"a kernel has at most {BUILDS_MAX} builds, this would be more")
    session.flush()
    session.refresh(kernel, ["builds"])
    return queued


def check_numbers(kernel: Kernel, numbers: Numbers) -> None:
    """Refuses patches that the kernel does not have, and one twice."""
    for number in numbers:
        if not 1 <= number <= len(kernel.patches):
            raise InvalidRequest(
                f"kernel {kernel.name} has patches 1 to {len(kernel.patches)}, not {number}"
                if kernel.patches
                else f"kernel {kernel.name} was made without patches"
            )
    if len(set(numbers)) < len(numbers):
        raise InvalidRequest(f"kernel {kernel.name}: the same patch twice")


def get(session: Session, name: str | uuid.UUID) -> Kernel:
    """The kernel of that name or id; raises :class:`~refault.errors.NotFound`."""
    found = None
    with contextlib.suppress(ValueError):
        found = session.get(Kernel, name if isinstance(name, uuid.UUID) else uuid.UUID(name))
    if found is None and isinstance(name, str):
        # A name may look like an id.
        found = session.scalar(sa.select(Kernel).where(Kernel.name == name))
    if found is None:
        raise NotFound(f"no kernel {name}: GET /api/v1/kernels lists them")
    return found


def list_page(
    session: Session, *, after: uuid.UUID | None = None, limit: int = PAGE_SIZE
) -> Page[Kernel]:
    """Kernels with their builds, newest first; without the logs of these."""
    builds = selectinload(Kernel.builds).options(defer(KernelBuild.log))
    return newest_first(
        session, sa.select(Kernel).options(builds), Kernel.id, after=after, limit=limit
    )


def diff_of(session: Session, kernel: Kernel, number: int) -> str:
    """One of its patches, whole."""
    found = session.get(KernelPatch, (kernel.id, number))
    if found is None:
        raise NotFound(f"kernel {kernel.name} has no patch {number}")
    return found.diff


def titles(session: Session, bases: Iterable[str]) -> dict[str, dict[str, str]]:
    """What the patches of those kernels are called, by number; ``bases`` as patch sets have them.

    Other bases, and kernels that are gone, are left out.
    """
    names = [base.removeprefix(KERNEL) for base in bases if base.startswith(KERNEL)]
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    of_patches = (
        sa.select(Kernel.name, KernelPatch.number, KernelPatch.title)
        .join(KernelPatch, KernelPatch.kernel_id == Kernel.id)
        .where(Kernel.name.in_(names))
    )
    for name, number, title in session.execute(of_patches):
        found.setdefault(f"{KERNEL}{name}", {})[str(number)] = title
    return found


def lock(session: Session, kernel: Kernel, *, shared: bool = False) -> None:
    """Keep a kernel from being deleted until the transaction ends; alone, or with others.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    query = sa.select(Kernel.id).where(Kernel.id == kernel.id)
    if session.scalar(query.with_for_update(read=shared, key_share=shared)) is None:
        raise NotFound(f"kernel {kernel.name} was deleted meanwhile")


def delete(session: Session, kernel: Kernel) -> list[str]:
    """Delete a kernel, its builds, and the tree and programs that nothing else has.

    Answers the digests of files that may be removed now (``placements.begin_removal`` decides),
    which are locked. Results stay with the batches that have them.

    Raises:
        NotFound: it was deleted meanwhile.
        Conflict: a batch that is not over has it.
    """
    lock(session, kernel)
    open_codes = session.scalars(
        sa.select(Batch.code)
        .join(BatchColumn, BatchColumn.batch_id == Batch.id)
        .join(PatchSet, PatchSet.id == BatchColumn.patch_set_id)
        .where(PatchSet.kernel_id == kernel.id, Batch.state.not_in(BATCH_FINAL_STATES))
        .distinct()
    ).all()
    if open_codes:
        raise Conflict(
            f"batch {', '.join(open_codes[:5])} has kernel {kernel.name} and is not over: "
            "cancel it or wait, then delete the kernel"
        )
    tree = kernel.tree
    built = {build.program.file_digest for build in kernel.builds if build.program}
    # Before the builds: a worker that records one has its file locked.
    _lock_files(session, {tree.digest, *built})
    programs = session.scalars(
        sa.delete(KernelBuild)
        .where(KernelBuild.kernel_id == kernel.id)
        .returning(KernelBuild.program_digest)
        .execution_options(synchronize_session=False)
    ).all()
    session.execute(
        sa.delete(Kernel).where(Kernel.id == kernel.id).execution_options(synchronize_session=False)
    )
    session.expunge(kernel)
    dropped = _drop_programs(session, {digest for digest in programs if digest is not None})
    # Of builds that ended since they were looked at.
    _lock_files(session, dropped)
    return [*dropped, *drop_tree(session, tree)]


def _lock_files(session: Session, digests: Iterable[str]) -> None:
    for digest in sorted(set(digests)):
        files.lock_digest(session, digest)


def drop_tree(session: Session, tree: Tree) -> list[str]:
    """Delete a tree that no kernel is made of any more; answers its file, if it was."""
    # Whoever is making a kernel of it has it locked, and is waited for.
    session.execute(sa.select(Tree.id).where(Tree.id == tree.id).with_for_update())
    if session.scalar(sa.select(Kernel.id).where(Kernel.tree_id == tree.id).limit(1)):
        return []
    digest = tree.digest
    session.delete(tree)
    session.flush()
    return [digest]


def _drop_programs(session: Session, digests: Collection[str]) -> list[str]:
    """Delete programs that no build of any project has any more; answers their files."""
    # A worker that just recorded a build of one has it locked, and is waited for.
    session.execute(
        sa.select(Program.digest)
        .where(Program.digest.in_(digests))
        .order_by(Program.digest)
        .with_for_update()
    )
    has_build = sa.exists().where(KernelBuild.program_digest == Program.digest)
    gone = session.scalars(
        sa.delete(Program)
        .where(Program.digest.in_(digests), ~has_build)
        .returning(Program.file_digest)
        .execution_options(**EVERYWHERE, synchronize_session=False)
    )
    return list(gone)
