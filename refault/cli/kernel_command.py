"""``refault kernel``: build the MMU code of a Linux tree of your own, here or on the service."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.cli import service_kernels
from refault.cli.mail_files import contents
from refault.cli.own_kernel import writing
from refault.cli.progress import progress_bars
from refault.cli.service import WithTimeout, WithToken, WithUrl
from refault.cli.tables import show
from refault.cli.terminal import print_error, print_json
from refault.client.connection import TIMEOUT_S
from refault.errors import InvalidParameter, NotFound

if TYPE_CHECKING:
    from refault.linux.store import Build

app = typer.Typer(name="kernel", no_args_is_help=True, help="Kernels of your own, as variants.")

app.command("push")(service_kernels.push)

_DIGITS = 12

OnService = Annotated[
    bool,
    typer.Option("--service", help="Of the service, not of this machine; --url means it too."),
]


@app.command("build")
def build(
    tree: Annotated[
        Path,
        typer.Argument(
            help="The top directory of a tree, a tarball of it, or a linux-source package.",
            show_default=False,
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="What to call it; default: linux-RELEASE.")
    ] = None,
    patch: Annotated[
        list[Path],
        typer.Option(
            "--patch",
            help="mbox, mails or patch files: every prefix of the series is built too.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    sanitize: Annotated[
        bool, typer.Option("--sanitize", help="With AddressSanitizer: slower, tells of bad memory.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Units at a time; 0: one per CPU.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Compile the MMU code of a tree into a program that replays traces.

    Only the sources are read; the tree is not changed and need not be configured. The kernel
    without patches is then checked: it must let the guests of the demo captures see what they saw.

    Examples:
      refault kernel build ~/linux --name mine

      refault kernel build ~/linux --name mine --patch my-series.mbox

      refault replay guest.rft -v kernel:mine -v kernel:mine+1 -v kernel:mine+1..2
    """
    from refault.golden.faithful import checked
    from refault.linux import patches as patch_files
    from refault.linux.build import Options, build_series
    from refault.linux.store import Store, check_name
    from refault.linux.tree import opened

    if name is not None:
        check_name(name)
    series = patch_files.read(contents(patch)) if patch else []
    store = Store()
    with (
        writing(store.root),
        opened(tree, store.root / "trees") as found,
        progress_bars(enabled=not as_json) as bars,
    ):
        bar = bars.add_task("compiling")

        def tell(done: int, total: int, unit: str) -> None:
            bars.update(bar, completed=done, total=total, description=unit)

        builds = build_series(found, series, store, Options(sanitize, jobs), tell)
        name = name or f"linux-{found.release}".lower()
        bars.update(bar, description="checking", completed=0, total=1)
        builds[0] = checked(builds[0], store)
    names = store.set_names(name, builds)
    if as_json:
        print_json(
            [_document(each, made, builds[0]) for each, made in zip(names, builds, strict=True)]
        )
        return
    _tell_built(names, builds)


@app.command("pack")
def pack_tree(
    tree: Annotated[Path, typer.Argument(help="A tree, as for build.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(help="The archive to write: FILE.tar.xz.", show_default=False)
    ],
    *,
    patch: Annotated[
        list[Path],
        typer.Option("--patch", help="A series: files that only its patches include go in too."),
    ] = [],  # noqa: B006 - Typer copies it
) -> None:
    """Write what a build reads of a tree to a small archive, to be built elsewhere.

    It holds some 900 of a tree's files, as they are without the patches; `refault kernel build`
    takes it for a tree.

    Example: refault kernel pack ~/linux mine.tar.xz
    """
    from refault.linux import patches as patch_files
    from refault.linux.build import pack
    from refault.linux.store import Store
    from refault.linux.tree import opened

    if not out.name.endswith(".tar.xz"):
        raise InvalidParameter(f"{out}: an archive's name ends with .tar.xz")
    series = patch_files.read(contents(patch)) if patch else []
    store = Store()
    with (
        writing(store.root),
        opened(tree, store.root / "trees") as found,
        progress_bars(enabled=True) as bars,
    ):
        bar = bars.add_task("compiling")

        def tell(done: int, total: int, unit: str) -> None:
            bars.update(bar, completed=done, total=total, description=unit)

        count = pack(found, store, out, tell, series)
    print(f"{out}: {count:,} files of Linux {found.release}, {out.stat().st_size / 1e6:.1f} MB")


@app.command("list")
def list_kernels(
    *,
    on_service: OnService = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List the kernels that are built on this machine, or those of the service.

    Examples:
      refault kernel list --json

      refault kernel list --service
    """
    from refault.linux.store import Store

    if on_service or url:
        service_kernels.show_list(url, token, timeout, as_json=as_json)
        return
    store = Store()
    found = [(name, store.named(name)) for name in store.names()]
    if as_json:
        print_json([_document(name, each) for name, each in found])
        return
    if not found:
        print("No kernel is built here yet: refault kernel build TREE --name NAME")
        return
    rows = [
        (
            f"kernel:{name}",
            each.release,
            each.digest[:_DIGITS],
            each.patches[-1] if each.patches else "",
        )
        for name, each in found
    ]
    show(("variant", "Linux", "digest", "last patch"), rows)


@app.command("show")
def show_kernel(
    name: Annotated[str, typer.Argument(help="The name of a build, or its digest.")],
    *,
    on_service: OnService = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Show what a kernel was built of; of one of the service its builds, with their logs.

    Examples:
      refault kernel show mine+1..2

      refault kernel show mine --service
    """
    from refault.linux.confine import protections
    from refault.linux.store import Store

    if on_service or url:
        service_kernels.show_one(name, url, token, timeout, as_json=as_json)
        return
    store = Store()
    found = store.named(name)
    if as_json:
        print_json(_document(name, found))
        return
    patches = found.patches or ("none",)
    rows = [
        ("Linux", found.release),
        ("digest", found.digest),
        ("source", found.source),
        ("compiler", found.compiler),
        ("sanitizer", "AddressSanitizer" if found.is_sanitized else "none"),
        ("files read", str(found.files)),
        ("patches", patches[0]),
        *(("", title) for title in patches[1:]),
        ("check", found.check or "not run: it has patches" if found.patches else found.check),
        ("not defined", f"{len(found.missing)} names: a function stops the run, a variable is 0"),
        ("program", str(store.program(found.digest))),
    ]
    for label, value in (*rows, *protections().items()):
        print(f"{label:<14}{value}")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The name of a build; its prefixes go too.")],
    *,
    on_service: OnService = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Forget a kernel and the prefixes of its series; on the service, results of batches stay.

    Examples:
      refault kernel remove mine

      refault kernel remove mine --service
    """
    from refault.linux.store import Store

    if on_service or url:
        service_kernels.remove(name, url, token, timeout)
        return
    gone = Store().remove(name)
    if not gone:
        raise NotFound(f"{name!r} is a digest: name what it is called (refault kernel list)")
    print(f"removed: {', '.join(gone)}")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="The name of a build, or its digest.")],
    traces: Annotated[
        list[Path] | None, typer.Argument(help="Captures; default: those of the demo.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Replay captures under a kernel and count what their guests saw as they saw it.

    Exit code 1 unless all of it.

    Example: refault kernel check mine
    """
    from refault.catalogue import KERNEL, PatchSet
    from refault.golden.faithful import agreement_of, captures
    from refault.linux.variants import resolve_kernel

    variant = resolve_kernel(PatchSet(f"{KERNEL}{name}"))
    with progress_bars(enabled=not as_json) as bars:
        bar = bars.add_task("checking")
        found = agreement_of(
            variant,
            traces or captures(),
            lambda done, total: bars.update(bar, completed=done, total=total),
        )
    if as_json:
        print_json({**dataclasses.asdict(found), "agrees": found.is_whole})
    else:
        print(f"kernel:{name}: {found}")
    if not found.is_whole:
        raise typer.Exit(1)


def _document(name: str, made: Build, base: Build | None = None) -> dict[str, Any]:
    document = {"name": name, "variant": f"kernel:{name}", **made.to_dict()}
    if base is not None and made is not base:
        document["changes_nothing"] = made.objects == base.objects
    return document


def _tell_built(names: list[str], builds: list[Build]) -> None:
    from refault.linux.launcher import landlock_version

    if not landlock_version():
        print_error("this kernel has no Landlock: the compiler could read any file of yours")
    base = builds[0]
    print(f"Linux {base.release}, {base.files} files read; check: {base.check or 'not run'}")
    before = None
    for name, made in zip(names, builds, strict=True):
        title = made.patches[-1] if made.patches else "as it is"
        print(f"  kernel:{name:<20} {made.digest[:_DIGITS]}  {title}")
        if before is not None and made.objects == before.objects:
            print("    changes nothing that is compiled here: every object is the same")
        before = made
