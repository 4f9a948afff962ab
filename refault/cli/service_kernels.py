"""``refault kernel push``, and what ``list``, ``show`` and ``remove`` do with ``--service``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli import names, own_kernel, tables
from refault.cli.exits import ExitCode
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.client.kernel_calls import units_of
from refault.compare.layout import clean

if TYPE_CHECKING:
    from refault.client import KernelBuildDocument, KernelDocument

_DIGITS = 12

WithMails = Annotated[
    list[Path],
    typer.Option(
        "--mail",
        help="mbox, mails or patch files of a series on the tree, or folders; may be repeated.",
    ),
]
WithMailVersion = Annotated[
    int | None,
    typer.Option(
        "--mail-version",
        help="Version of the series to read if there are several; default: the newest complete.",
        show_default=False,
    ),
]
WithSanitizer = Annotated[
    bool, typer.Option("--sanitize", help="With AddressSanitizer: slower, tells of bad memory.")
]


def push(
    tree: Annotated[
        Path,
        typer.Argument(
            help="A tree, as for build; or an archive that `refault kernel pack` made.",
            show_default=False,
        ),
    ],
    *,
    name: Annotated[
        str,
        typer.Option(
            help="What to call it; default: its release, with a series some digits of a digest.",
            show_default=False,
        ),
    ] = "",
    mails: WithMails = [],  # noqa: B006 - Typer copies it
    version: WithMailVersion = None,
    plan: Annotated[
        str,
        typer.Option(
            help=f"Which patches are built together: {', '.join(own_kernel.PLANS)}.", metavar="PLAN"
        ),
    ] = "series",
    sanitize: WithSanitizer = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the builds; exit code 1 if one is refused.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Have the service build a kernel of your own, and the patches of a series on it.

    A tree is packed here (its MMU code is compiled once, to see what a build reads) and uploaded
    unless the service has it; nothing else of it leaves this machine. After Ctrl-C the same
    command goes on. A batch on it: refault submit TRACES --kernel NAME.

    Examples:
      refault kernel push ~/linux --name mine --mail my-series.mbox --wait

      refault kernel push linux-6.12.tar.xz --name asan --sanitize
    """
    from refault.linux.store import check_name

    wanted = own_kernel.build_plan(plan)
    if name:
        check_name(name)
    series = own_kernel.series_of(mails, version)
    with connect(url, token, timeout) as client:
        pushed = own_kernel.push(
            client, tree, name, series, sanitize=sanitize, plan=wanted, enabled=not as_json
        )
        kernel = pushed.kernel
        if not as_json:
            found = "already there" if pushed.was_present else "uploaded"
            print(f"{kernel['base']}: Linux {kernel['release']}, its tree {found}", flush=True)
        if wait:
            kernel = own_kernel.awaited(client, kernel["name"], enabled=not as_json)
        if as_json:
            print_json(kernel)
        else:
            _show(kernel)
            print(f"{client.base_url}/kernels/{kernel['name']}")
    if wait:
        raise typer.Exit(_code_of(kernel))


def show_list(url: str, token: str, timeout: float, *, as_json: bool) -> None:
    """The kernels of the service, newest first."""
    with connect(url, token, timeout) as client:
        found = list(names.all_of(client.list_kernels))
    if as_json:
        print_json(found)
        return
    if not found:
        print("No kernel on the service yet: refault kernel push TREE --name NAME")
        return
    tables.show(
        ("kernel", "Linux", "patches", "state", "built", "created"),
        [
            (
                kernel["base"],
                kernel["release"] + (" with AddressSanitizer" if kernel["sanitize"] else ""),
                len(kernel["patches"]),
                kernel["state"],
                _built_of(kernel),
                kernel["created_at"][:16].replace("T", " "),
            )
            for kernel in found
        ],
        right="patches",
    )


def show_one(name: str, url: str, token: str, timeout: float, *, as_json: bool) -> None:
    """A kernel of the service: its builds, why some were refused, and their logs."""
    with connect(url, token, timeout) as client:
        kernel = client.get_kernel(name)
    if as_json:
        print_json(kernel)
        return
    rows = [
        ("Linux", kernel["release"]),
        ("state", kernel["state"]),
        ("tree", kernel["tree"]),
        ("sanitizer", "AddressSanitizer" if kernel["sanitize"] else "none"),
        ("created", kernel["created_at"][:16].replace("T", " ")),
        *(
            (f"patch {patch['number']}", f"{patch['title']} ({', '.join(patch['files'])})")
            for patch in kernel["patches"]
        ),
    ]
    for label, value in rows:
        print(f"{label:<14}{clean(value)}")
    print()
    _show(kernel)
    for build in kernel["builds"]:
        log = (build.get("log") or "").strip()
        # Of a refused one that is the reason, and it stands above.
        if log and log != (build["refusal"] or "").strip():
            print(f"\n{build['name']}: log")
            for line in log.splitlines():
                print(f"  {line}")


def remove(name: str, url: str, token: str, timeout: float) -> None:
    """Delete a kernel of the service."""
    with connect(url, token, timeout) as client:
        client.delete_kernel(name)
    print(f"removed from the service: {name}")


def _show(kernel: KernelDocument) -> None:
    """The builds of a kernel as a table, then why some were refused."""
    tables.show(
        ("build", "state", "digest", "last patch, check"),
        [
            (
                f"kernel:{build['name']}",
                _state_of(build),
                (build["digest"] or "")[:_DIGITS],
                _about(kernel, build),
            )
            for build in kernel["builds"]
        ],
    )
    for state in ("refused", "failed"):
        found = [
            (build["name"], own_kernel.reason_of(build))
            for build in kernel["builds"]
            if build["state"] == state
        ]
        for builds, reason in own_kernel.by_reason(found):
            print(f"{builds}: {state}: {reason}")


def _state_of(build: KernelBuildDocument) -> str:
    if build["state"] == "running" and build["units_total"]:
        return f"running {build['units_done']}/{build['units_total']}"
    return build["state"]


def _about(kernel: KernelDocument, build: KernelBuildDocument) -> str:
    if not build["patches"]:
        return build["check"] or "as it is"
    number = build["patches"][-1]
    title = next(
        (patch["title"] for patch in kernel["patches"] if patch["number"] == number), str(number)
    )
    return f"{title} (changes nothing that is compiled)" if build["changes_nothing"] else title


def _built_of(kernel: KernelDocument) -> str:
    built = sum(build["state"] == "built" for build in kernel["builds"])
    told = f"{built} of {len(kernel['builds'])}"
    done, total = units_of(kernel)
    return f"{told}, {100 * done // total} %" if kernel["state"] == "running" else told


def _code_of(kernel: KernelDocument) -> ExitCode:
    states = {build["state"] for build in kernel["builds"]}
    if "failed" in states:
        return ExitCode.UNFINISHED
    return ExitCode.ANSWER_IS_NO if "refused" in states else ExitCode.OK
