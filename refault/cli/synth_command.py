"""``refault synth``: traces of a synthetic guest, by recipe and seed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli.progress import compiling, progress_bars
from refault.cli.tables import show
from refault.cli.terminal import print_json
from refault.errors import InvalidParameter
from refault.trace import SUFFIX

if TYPE_CHECKING:
    from refault.trace import TraceSummary

LIST = "list"
DEFAULT_EVENTS = 1_000_000
_COUNT = re.compile(r"(\d{1,15})([kKmMgG]?)")
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


Recipe = Annotated[
    str,
    typer.Argument(help="What the guest does; `list` shows the recipes.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="The trace; default: RECIPE-MODE-SEED.rft.", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed, same bytes (of one version of the recipe).")]
Events = Annotated[
    str | None,
    typer.Option(
        help="Length in events; K, M and G are thousand, million and billion (default 1M)."
    ),
]
Length = Annotated[
    str | None, typer.Option(help="Length in guest instructions in place of events.")
]
Mode = Annotated[
    str, typer.Option(help="Paging mode: long (4 levels), pae or 32bit (4-byte entries).")
]
Vcpus = Annotated[
    int | None, typer.Option(help="vCPUs, 1 to 8; default: the recipe's.", show_default=False)
]
Processes = Annotated[
    int | None, typer.Option(help="Processes at a time, 16 to 8192; default: the recipe's.")
]
RamMib = Annotated[int | None, typer.Option(help="Guest memory in MiB; default: the recipe's.")]


def synth(
    recipe: Recipe,
    *,
    out: Out = None,
    seed: Seed = 1,
    events: Events = None,
    length: Length = None,
    mode: Mode = "long",
    vcpus: Vcpus = None,
    processes: Processes = None,
    ram_mib: RamMib = None,
    level: Annotated[int, typer.Option(help="zstd level.", min=1, max=22)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Make a trace of a synthetic guest: a miniature system that runs a recipe.

    Nothing real ran, but every table, fault and flush is one that a processor and a kernel could
    have had, and every access has a witness from the guest's own tables. The header says which
    recipe, version and seed it was.

    Example: refault synth fork -o fork.rft --seed 7 --events 5M

    Example: refault synth list
    """
    if recipe == LIST:
        _show_recipes(as_json=as_json)
        return
    from refault.synth import Order, make

    order = Order(
        recipe=recipe,
        seed=seed,
        mode=mode,
        events=_length(events, "--events") if events or not length else None,
        instructions=_length(length, "--length") if length else None,
        vcpus=vcpus,
        processes=processes,
        ram_mib=ram_mib,
    )
    order.checked()
    target = out or Path(f"{recipe}-{mode}-{seed}{SUFFIX}")
    with progress_bars(enabled=not as_json) as bars, compiling(bars, "the guest's kernels"):
        task = bars.add_task(target.name, total=1.0)
        summary = make(
            order, target, level=level, progress=lambda done: bars.update(task, completed=done)
        )
    if as_json:
        print_json(_told(target, summary))
        return
    print(
        f"{target}: {summary.event_count:,} events, {summary.instruction_count:,} instructions, "
        f"{summary.size_bytes:,} bytes, sha256 {summary.digest[:12]}"
    )


def _length(text: str | None, option: str) -> int:
    """A count such as 5M; without a text the default length."""
    if not text:
        return DEFAULT_EVENTS
    found = _COUNT.fullmatch(text.strip())
    if found is None:
        raise InvalidParameter(f"{option} {text}: give a whole number such as 250000, 500K or 5M")
    return int(found[1]) * _UNITS[found[2].upper()]


def _told(target: Path, summary: TraceSummary) -> dict[str, object]:
    return {
        "trace": str(target),
        "digest": summary.digest,
        "size_bytes": summary.size_bytes,
        "event_count": summary.event_count,
        "instruction_count": summary.instruction_count,
        "events_by_kind": dict(summary.events_by_kind),
        "provenance": dict(summary.header.provenance),
        "losses": list(summary.header.losses),
    }


def _show_recipes(*, as_json: bool) -> None:
    from refault.synth import RECIPES

    if as_json:
        print_json(
            [
                {
                    "recipe": each.name,
                    "version": each.version,
                    "does": each.does,
                    "modes": list(each.modes),
                    "vcpus": each.vcpus,
                    "processes": each.processes,
                    "ram_mib": each.ram_mib,
                    "marks": dict(each.marks),
                }
                for each in RECIPES.values()
            ]
        )
        return
    show(
        ("recipe", "processes", "MiB", "what it does"),
        [(each.name, each.processes, each.ram_mib, each.does) for each in RECIPES.values()],
        right="processes MiB",
    )
