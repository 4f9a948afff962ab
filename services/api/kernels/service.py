"""Kernels from mails and trees, their builds, their documents, and their end."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.models import Kernel as KernelRow
from db.models import KernelBuild as BuildRow
from db.repositories import accounts, kernels, programs, projects
from db.repositories.kernels import NewPatch
from db.shards.messages import BuildMessage
from refault import catalogue
from refault.errors import SeriesError
from refault.linux import patches as mailed
from refault.linux.variants import variant_of_build
from refault.printable import printable
from services.api.callers import Caller
from services.api.deps import Resources
from services.api.kernels import trees
from services.api.kernels.schemas import FILES_LISTED_MAX, Kernel, KernelBuild, KernelPatch

_DEFAULTS = catalogue.Parameters()


def read_patches(data: bytes, version: int | None) -> list[NewPatch]:
    """The patches of a file of mails; none of an empty one.

    Raises:
        SeriesError: it holds no whole series.
    """
    if not data:
        return []
    found = mailed.read([data], version)
    for number, patch in enumerate(found, 1):
        # No text of the database may have one.
        if "\0" in patch.diff:
            raise SeriesError(f"patch {number} ({patch.title}) has a zero byte in its diff")
    return [
        NewPatch(patch.title, patch.author, tuple(map(printable, patch.files)), patch.diff)
        for patch in found
    ]


def make(
    resources: Resources,
    name: str,
    tree: str,
    patches: Sequence[NewPatch],
    *,
    sanitize: bool,
    plan: str,
) -> tuple[Kernel, bool]:
    """Make a kernel and have it built; its document, and whether it is new."""
    with resources.transaction() as session:
        row, is_new = kernels.add(
            session, name, kernels.get_tree(session, tree), patches, sanitize=sanitize, plan=plan
        )
        _check_room(session, row)
        found = document_of(session, row)
    _wake(resources, row)
    return found, is_new


def request(
    resources: Resources, name: str, wanted: Sequence[catalogue.Numbers] | None, plan: str | None
) -> Kernel:
    """Have more of a kernel built, and once more what failed."""
    with resources.transaction() as session:
        row = kernels.get(session, name)
        if plan is not None:
            wanted = catalogue.builds_of(plan, len(row.patches))
        kernels.request(session, row, wanted or ())
        _check_room(session, row)
        found = document_of(session, row)
    _wake(resources, row)
    return found


def _check_room(session: Session, row: KernelRow) -> None:
    """Refuse builds that were just queued if the project's quota is used up."""
    if any(build.state == "queued" for build in row.builds):
        projects.check_room_for_builds(session)


def _wake(resources: Resources, row: KernelRow) -> None:
    if any(build.state == "queued" for build in row.builds):
        resources.sender.publish([BuildMessage(row.id)])


def delete(resources: Resources, caller: Caller, name: str) -> None:
    """Delete a kernel, and the files of it that nothing else needs.

    Raises:
        Forbidden: another caller made it, and this one is no maintainer.
        Conflict: a batch that is not over has it.
    """
    with resources.transaction() as session:
        row = kernels.get(session, name)
        caller.check_own(row, f"kernel {row.name}")
        removals = trees.begin_removals(session, kernels.delete(session, row))
    trees.remove_files(resources, removals)


def document_of(session: Session, row: KernelRow, *, whole: bool = False) -> Kernel:
    """A row as JSON; ``whole``: with the logs of its builds, and the names that each lacks."""
    return documents_of(session, [row], whole=whole)[0]


def documents_of(
    session: Session, rows: Sequence[KernelRow], *, whole: bool = False
) -> list[Kernel]:
    """Rows as JSON; the number of queries does not depend on theirs."""
    is_any_open = any(_is_open(build) for row in rows for build in row.builds)
    build_seconds = programs.mean_build_seconds(session) if is_any_open else None
    made_by = accounts.makers(session, rows)
    return [_document(row, build_seconds, made_by.get(row.id), whole=whole) for row in rows]


def _document(
    row: KernelRow, build_seconds: float | None, made_by: str | None, *, whole: bool
) -> Kernel:
    open_count = sum(_is_open(build) for build in row.builds)
    seconds = build_seconds * open_count if build_seconds is not None and open_count else None
    without_effect = programs.without_effect(row.builds)
    return Kernel(
        id=row.id,
        name=row.name,
        base=row.base,
        release=row.tree.release,
        tree=row.tree.digest,
        tree_bytes=row.tree.size_bytes,
        sanitize=row.sanitize,
        state=_state_of(row.builds),
        seconds=None if seconds is None else float(f"{seconds:.3g}"),
        patches=[
            KernelPatch(
                number=patch.number,
                title=patch.title,
                author=patch.author,
                files=patch.files[:FILES_LISTED_MAX],
            )
            for patch in row.patches
        ],
        builds=[
            _build(row, build, without_effect.get(build.id), whole=whole) for build in row.builds
        ],
        made_by=made_by,
        created_at=row.created_at,
    )


def _build(
    row: KernelRow, build: BuildRow, changes_nothing: bool | None, *, whole: bool
) -> KernelBuild:
    program = build.program
    variant = program and variant_of_build(program.digest, row.tree.release, _DEFAULTS)
    state = build.state
    if state == "done":
        state = "built" if program is not None else "refused"
    return KernelBuild(
        id=build.id,
        patches=build.patches,
        name=catalogue.kernel_label(row.name, build.patches),
        state=state,
        digest=program and program.digest,
        variant=variant and variant.digest,
        text=program and f"{catalogue.KERNEL}{program.digest}",
        compiler=program and program.compiler,
        changes_nothing=changes_nothing,
        check=build.check_text,
        missing=program.body["missing"] if whole and program is not None else None,
        program_bytes=program and program.size_bytes,
        refusal=build.refusal,
        error=build.error,
        units_done=build.units_done,
        units_total=build.units_total,
        attempt=build.attempt,
        worker=build.worker,
        log=build.log if whole else None,
        created_at=build.created_at,
        started_at=build.started_at,
        finished_at=build.finished_at,
    )


def _state_of(builds: Sequence[BuildRow]) -> str:
    bare = next((build for build in builds if not build.patches), None)
    if bare is not None and (bare.state == "failed" or bare.refusal is not None):
        return "failed"
    states = {build.state for build in builds}
    return next((state for state in ("running", "queued") if state in states), "done")


def _is_open(build: BuildRow) -> bool:
    return build.state in {"queued", "running"}
