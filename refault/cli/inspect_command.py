"""``refault inspect``: one variant's MMU at any operation of a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.cli import asking
from refault.cli.asking import AtService
from refault.cli.service import WithTimeout, WithToken, WithUrl
from refault.cli.terminal import print_json
from refault.cli.trace_files import as_trace, naming
from refault.cli.variants import labelled_variants
from refault.errors import InvalidParameter
from refault.questions import Question, Where

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.inspect.inspecting import View

_UNTIL = ("gva",)


_Trace = Annotated[
    Path,
    typer.Argument(
        help="A trace (.rft), or an operation vector (.ops.jsonl, also compressed by zstd, "
        "gzip, xz or bzip2), which is imported on the way.",
        show_default=False,
    ),
]
_Variant = Annotated[
    str,
    typer.Option(
        "--variant",
        "-v",
        help="A golden name, patch ids joined by +, or walk (the guest's own walk and "
        "registers only).",
    ),
]
_At = Annotated[
    int | None,
    typer.Option(min=0, metavar="EVENT", help="Before that event's operations; default: the end."),
]
_AtOperation = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Where operation N comes next, as findings count them."),
]
_Back = Annotated[int, typer.Option(min=0, metavar="N", help="N operations earlier.")]
_UntilChange = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="gva A",
        help="Go back to right after the latest operation that changed an entry of address A, "
        "in the guest's tables or the shadow's, at any level (A and D bits aside).",
    ),
]
_Gva = Annotated[
    str | None,
    typer.Option(metavar="A", help="Both walks of that guest address, and their history."),
]
_Gfn = Annotated[
    str | None,
    typer.Option(
        metavar="G", help="The shadow pages of that guest table, the leaves that map the frame."
    ),
]
_Page = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="That shadow page, in use or not, and its history: by the numbers shown."
    ),
]
_Until = Annotated[
    str | None,
    typer.Option(
        metavar="'zap gfn G'",
        help="Go back to right after the latest zap of a page of table G; also get, sync, unsync.",
    ),
]
_Forward = Annotated[
    bool, typer.Option("--forward", help="With --until: go to the next one, from the beginning.")
]
_Vcpu = Annotated[
    int | None, typer.Option(min=0, metavar="C", help="That vCPU; for --gva, as it walks.")
]


_Shell = Annotated[
    bool,
    typer.Option(
        "--shell",
        help="Keep it open and take commands: at, back, forward, gva, gfn, page, until; help lists "
        "them.",
    ),
]


def inspect(
    trace: _Trace,
    *,
    variant: _Variant,
    at: _At = None,
    at_operation: _AtOperation = None,
    back: _Back = 0,
    until_change: _UntilChange = None,
    until: _Until = None,
    forward: _Forward = False,
    gva: _Gva = None,
    gfn: _Gfn = None,
    page: _Page = None,
    vcpu: _Vcpu = None,
    shell: _Shell = False,
    at_service: AtService = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show one variant's MMU at any operation of a trace, and how it came to be so.

    Snapshots are kept in the cache (REFAULT_CACHE): going back takes no longer than forth. Numbers
    are decimal, or hexadecimal with 0x; a finding of `refault audit` at operation N shows at N + 1.

    Example: refault inspect s29_lost_mark.ops.jsonl.zst -v p3 --at-operation 1045 --gfn 0x105

    Example: refault inspect boot.rft -v base --at 900000 --back 1 --gva 0xffffffff81000000

    Example: refault inspect boot.rft -v series --until-change gva 0x400000

    Example: refault inspect boot.rft -v p3 --until 'zap gfn 0x3dab' --shell

    Example: refault inspect linux61-boot-1cpu -v p3 --service --at-operation 671115
    """
    if at is not None and at_operation is not None:
        raise InvalidParameter("--at and --at-operation are two places; keep one of them")
    if gva is not None and gfn is not None:
        raise InvalidParameter("--gva and --gfn are two views; keep one of them")
    where = Where(
        event=at,
        operation=at_operation,
        back=back,
        until_change=_until(until_change),
        gva=_number("--gva", gva),
        until=until,
        forward=forward,
        gfn=_number("--gfn", gfn),
        page=page,
        vcpu=vcpu,
    )
    if shell:
        _open_shell(
            trace, variant, where, refuses="--service" if at_service else as_json and "--json"
        )
        return
    if at_service:
        service, question = asking.Connection(url, token, timeout), Question(where)
        told = asking.ask(
            service, lambda _: question, [str(trace)], [(variant,)], has_bar=not as_json
        )
        asking.show(told, as_json=as_json)
        return
    [(label, resolved)] = labelled_variants([variant])
    view = _seen(trace, resolved, where)
    if as_json:
        print_json(_to_dict(view, trace, label, resolved))
    else:
        _show(view, trace, label, where)


def _number(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        found = int(text, 0)
    except ValueError:
        found = -1
    if found < 0:
        raise InvalidParameter(f"{option} {text!r}: expected a number, such as 0x400000 or 1024")
    return found


def _until(given: tuple[str, str] | None) -> int | None:
    if given is None:
        return None
    if given[0] not in _UNTIL:
        raise InvalidParameter(f"--until-change {given[0]!r}: expected gva and an address")
    return _number("--until-change gva", given[1])


def _open_shell(path: Path, text: str, where: Where, *, refuses: str | bool) -> None:
    from refault.cli.inspect_shell import Shell
    from refault.inspect.inspecting import timeline_of

    if refuses:
        raise InvalidParameter(f"--shell and {refuses} do not go together")
    [(label, variant)] = labelled_variants([text])
    _check_file(path)
    with naming(path), as_trace(path) as trace:
        Shell(path, label, timeline_of(trace, variant), where).run()


def _check_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InvalidParameter(f"{path}: it is read more than once, and must be a file")


def _seen(path: Path, variant: Variant, where: Where) -> View:
    from refault.inspect.inspecting import look, timeline_of

    _check_file(path)
    with naming(path), as_trace(path) as trace:
        return look(timeline_of(trace, variant), where)


def _show(view: View, path: Path, label: str, where: Where) -> None:
    from refault.inspect.text import Told, options_of, view_text

    command = ["refault", "inspect", str(path), "-v", label, *options_of(view, where)]
    print(view_text(view, Told(path.name, label, command)), end="")


def _to_dict(view: View, path: Path, label: str, variant: Variant) -> dict[str, Any]:
    from refault.diverge.around import plain

    named = {
        "label": label,
        "name": variant.name,
        "digest": variant.digest,
        "engine": variant.engine,
    }
    told: dict[str, Any] = plain(view)
    return {"trace": path.name, "variant": named, **told}
