"""A kernel of one's own on its way to the service: packed, pushed, awaited, told of."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from refault.cli.mail_files import as_one, contents
from refault.cli.progress import progress_bars, transfer_bars
from refault.cli.terminal import print_error
from refault.client.calls import BuildPlan
from refault.errors import InvalidRequest, KernelError, NotATree, Refused
from refault.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.client import Client, KernelBuildDocument, KernelDocument, KernelPush

PLANS = get_args(BuildPlan)
SCOPE = "build"
_NAME_MAX = 40
_DIGITS = 8
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")
_FORBIDDEN = 403
_LINES_TOLD = 12


class Pack(NamedTuple):
    """A tree as it is uploaded."""

    path: Path
    release: str


class Series(NamedTuple):
    """The mails of a series as one file, and which version of it to read."""

    mails: bytes = b""
    version: int | None = None


def build_plan(text: str) -> BuildPlan:
    """The plan of that name; raises InvalidRequest."""
    if text not in PLANS:
        raise InvalidRequest(f"--plan {text}: for a kernel one of {', '.join(PLANS)}")
    return cast("BuildPlan", text)


def series_of(paths: Sequence[Path], version: int | None) -> Series:
    """The series in these files; read here too, so that nothing is built of a bad one.

    Raises:
        SeriesError: there is no whole series in it.
    """
    from refault.linux import patches

    if not paths:
        return Series()
    files = contents(paths)
    patches.read(files, version)
    if len(files) == 1:
        return Series(files[0], version)
    # The version that was chosen is the only one in it.
    return Series(as_one(files, version))


def require_builds(client: Client) -> None:
    """Refuse before a tree is packed what the service would refuse after; raises Refused."""
    limits = client.get_limits()
    if not limits.get("builds"):
        raise Refused(
            f"the service at {client.base_url} builds no kernels: its operator has to set "
            "REFAULT_BUILDS=true; on this machine: refault kernel build",
            status=_FORBIDDEN,
            problem={},
        )
    if SCOPE not in client.get_me()["scopes"]:
        raise Refused(
            f"this token has not the scope {SCOPE!r}, by which a project lets its members build "
            "kernels: ask a maintainer",
            status=_FORBIDDEN,
            problem={},
        )
    if not limits.get("builders"):
        print_error("no worker of the service builds kernels now: builds wait for one")


@contextlib.contextmanager
def packed(tree: Path, series: Series, *, enabled: bool) -> Iterator[Pack]:
    """The tree as an archive: the file itself if it is one of ``refault kernel pack``.

    Any other is compiled once, to see what a build reads of it, and once more with a series that
    includes further files. ``enabled``: with a bar.

    Raises:
        KernelError: it cannot be packed.
    """
    from refault.linux import patches
    from refault.linux.build import pack
    from refault.linux.packed import PACKED_BYTES_MAX, examine
    from refault.linux.store import Store
    from refault.linux.tree import opened

    if tree.is_file() and tree.stat().st_size <= PACKED_BYTES_MAX:
        with contextlib.suppress(NotATree):
            yield Pack(tree, examine(tree).release)
            return
    store = Store()
    with (
        writing(store.root),
        opened(tree, store.root / "trees") as found,
        store.scratch() as folder,
    ):
        out = Path(folder) / "tree.tar.xz"
        with progress_bars(enabled=enabled) as bars:
            bar = bars.add_task("packing")
            pack(
                found,
                store,
                out,
                lambda done, total, unit: bars.update(
                    bar, completed=done, total=total, description=f"packing: {unit}"
                ),
                patches.read([series.mails], series.version) if series.mails else (),
            )
        if out.stat().st_size > PACKED_BYTES_MAX:
            size = out.stat().st_size / 1e6
            limit = PACKED_BYTES_MAX / 1e6
            raise NotATree(f"{tree}: {size:.1f} MB packed, a service takes {limit:.0f} MB")
        yield Pack(out, found.release)


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Say of a full disk, or a folder that is not ours, where it is."""
    try:
        yield
    except OSError as error:
        place = error.filename or root
        raise KernelError(
            f"{place}: {error.strerror}; kernels are kept in {root} "
            "(REFAULT_KERNELS names another folder)"
        ) from error


def push(
    client: Client,
    tree: Path,
    name: str,
    series: Series,
    *,
    sanitize: bool,
    plan: BuildPlan,
    enabled: bool,
) -> KernelPush:
    """Make the kernel on the service, its tree uploaded unless it is there.

    Without a name it is called by its release and its series.
    """
    require_builds(client)
    with packed(tree, series, enabled=enabled) as pack, transfer_bars(enabled=enabled) as bars:
        name = name or usual_name(pack, series, sanitize=sanitize)
        bar = bars.add_task(f"uploading {name}", total=None)
        return client.push_kernel(
            pack.path,
            name=name,
            mails=series.mails,
            sanitize=sanitize,
            plan=plan,
            version=series.version,
            progress=lambda sent, total: bars.update(bar, completed=sent, total=total),
        )


def usual_name(pack: Pack, series: Series, *, sanitize: bool) -> str:
    """``linux-6.12.117``; with a series also the beginning of a digest of both and of the tree."""
    ending = "-asan" if sanitize else ""
    if series.mails:
        digest = hashlib.sha256(pack.path.read_bytes())
        digest.update(series.mails)
        ending = f"-{digest.hexdigest()[:_DIGITS]}{ending}"
    release = _NOT_IN_A_NAME.sub("-", f"linux-{pack.release}".lower())
    return release[: _NAME_MAX - len(ending)].rstrip("-.") + ending


def awaited(client: Client, name: str, *, enabled: bool) -> KernelDocument:
    """The kernel once its builds are over, with a bar of the units compiled of all of them."""
    try:
        with progress_bars(enabled=enabled) as bars:
            bar = bars.add_task(f"building {name}", total=None)
            return client.wait_for_kernel(
                name, progress=lambda done, total: bars.update(bar, completed=done, total=total)
            )
    except KeyboardInterrupt:
        print_error(
            "the builds continue; the same command goes on from there, "
            f"`refault kernel show {name} --service` tells where they are"
        )
        raise


def by_reason(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Builds and why they were refused, those with one reason together: names, reason."""
    names: dict[str, list[str]] = {}
    for name, reason in found:
        names.setdefault(reason, []).append(name)
    return [(", ".join(told), reason) for reason, told in names.items()]


def reason_of(build: KernelBuildDocument) -> str:
    """Why a build was refused, or failed; a compiler's messages up to a dozen lines."""
    text = build["refusal"] or build["error"] or build["state"]
    lines = [printable(line) for line in text.strip().splitlines()]
    left = len(lines) - _LINES_TOLD
    return "\n".join([*lines[:_LINES_TOLD], *([f"and {left} lines more"] if left > 0 else [])])
