"""Programs compiled of kernels, and the variants that patch sets on kernels make of them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.errors import KernelNotBuilt
from db.models import Kernel, KernelBuild, Program
from db.repositories.kernels import check_numbers, get
from db.scope import EVERYWHERE
from refault import catalogue
from refault.errors import NotFound, WrongBase
from refault.linux.store import Build
from refault.linux.variants import variant_of_build

BUILDS_LOOKED_AT = 50
"""The last builds tell how long one takes."""

_DIGITS = 6


def add(session: Session, build: Build, *, file_digest: str, size_bytes: int) -> str:
    """Register a program whose file is in place; answers the digest of the file that is kept.

    That is another one if the same was built elsewhere before, and came out in other bytes.
    """
    body = {**build.to_dict(), "source": "", "patches": [], "check": ""}
    session.execute(
        insert(Program)
        .values(
            digest=build.digest,
            file_digest=file_digest,
            size_bytes=size_bytes,
            objects_digest=objects_digest(build),
            body=body,
        )
        .on_conflict_do_nothing(index_elements=[Program.digest])
    )
    return session.get_one(Program, build.digest).file_digest


def named(session: Session, digest: str) -> Program:
    """The program of a build's digest; raises :class:`~refault.errors.NotFound`."""
    found = session.get(Program, digest)
    if found is None:
        raise NotFound(f"the program {digest[:12]} is gone: its kernel was deleted")
    return found


def objects_digest(build: Build) -> str:
    """A digest of what was compiled, and of nothing else: not of sources, nor of who built it."""
    packed = msgpack.packb(sorted(build.objects.items()), use_bin_type=True)
    return hashlib.sha256(packed).hexdigest()


Resolve = Callable[[catalogue.PatchSet], catalogue.Variant]


def resolver(session: Session) -> Resolve:
    """What makes a patch set a variant here: the catalogue, or a kernel of the project."""

    def resolve(wanted: catalogue.PatchSet) -> catalogue.Variant:
        if not catalogue.is_kernel(wanted.base):
            return catalogue.resolve(wanted)
        return variant_of(session, wanted)

    return resolve


def variant_of(session: Session, wanted: catalogue.PatchSet) -> catalogue.Variant:
    """The variant of a patch set on a kernel of the project.

    Raises:
        NotFound: there is no such kernel.
        InvalidRequest: it has no such patches.
        KernelNotBuilt: it is not built with them, or not yet.
        WrongBase: these patches make no kernel, with the reason.
        InvalidParameter: one that these kernels have no use for.
    """
    kernel, numbers = named_by(session, wanted)
    query = sa.select(KernelBuild).where(
        KernelBuild.kernel_id == kernel.id, KernelBuild.patches == list(numbers)
    )
    build = session.scalar(query)
    what = f"kernel {kernel.name}" + (f" with {listed(numbers)}" if numbers else "")
    if build is None:
        raise KernelNotBuilt(
            f"{what} is not built: POST /api/v1/kernels/{kernel.name}/builds with "
            f'{{"patches": {list(numbers)}}}'
        )
    if build.state in ("queued", "running"):
        told = f"{build.units_done} of {build.units_total} files" if build.units_total else "queued"
        raise KernelNotBuilt(f"{what} is being built ({told}): wait for it")
    if build.refusal is not None:
        raise WrongBase(f"{what} cannot be built: {build.refusal}")
    if build.program is None:
        raise KernelNotBuilt(
            f"{what} could not be built: {build.error}; "
            f"POST /api/v1/kernels/{kernel.name}/builds tries again"
        )
    return variant_of_build(build.program.digest, build.program.release, wanted.parameters)


def named_by(session: Session, wanted: catalogue.PatchSet) -> tuple[Kernel, catalogue.Numbers]:
    """The kernel and the numbers of its patches that a patch set names."""
    kernel = get(session, wanted.base.removeprefix(catalogue.KERNEL))
    numbers = []
    for word in wanted.patches:
        if not (word.isascii() and word.isdecimal() and len(word) <= _DIGITS):
            raise WrongBase(
                f"patch {word!r} of the catalogue does not go on kernel {kernel.name}: name its "
                f"own patches by number, 1 to {len(kernel.patches)}"
            )
        numbers.append(int(word))
    check_numbers(kernel, tuple(numbers))
    return kernel, tuple(numbers)


def listed(numbers: Sequence[int]) -> str:
    """``patch 2``, ``patches 1 and 3``."""
    words = [str(number) for number in numbers]
    if len(words) == 1:
        return f"patch {words[0]}"
    return f"patches {', '.join(words[:-1])} and {words[-1]}"


def without_effect(builds: Sequence[KernelBuild]) -> dict[uuid.UUID, bool]:
    """Of each build with patches that is done: whether its last patch changed no compiled byte."""
    by_patches: dict[Any, KernelBuild] = {tuple(build.patches): build for build in builds}
    found = {}
    for build in builds:
        before = by_patches.get(tuple(build.patches[:-1]))
        if build.patches and build.program and before is not None and before.program:
            found[build.id] = build.program.objects_digest == before.program.objects_digest
    return found


def mean_build_seconds(session: Session) -> float | None:
    """What one of the last builds took a worker; None if none has been made.

    Of all projects, as a worker's speed is nobody's secret. A worker claims the builds of a kernel
    together and makes one after the other, so each begins where the one before it ended.
    """
    before = sa.func.lag(KernelBuild.finished_at).over(
        partition_by=KernelBuild.kernel_id, order_by=KernelBuild.finished_at
    )
    began_at = sa.func.greatest(KernelBuild.started_at, before)
    made = (
        sa.select(
            KernelBuild.finished_at.label("finished_at"),
            sa.extract("epoch", KernelBuild.finished_at - began_at).label("seconds"),
        )
        .where(KernelBuild.state == "done", KernelBuild.started_at.is_not(None))
        .subquery()
    )
    last = (
        sa.select(made.c.seconds)
        .order_by(made.c.finished_at.desc())
        .limit(BUILDS_LOOKED_AT)
        .subquery()
    )
    found = session.scalar(sa.select(sa.func.avg(last.c.seconds)).execution_options(**EVERYWHERE))
    return None if found is None else max(0.0, float(found))
