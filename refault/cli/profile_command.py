"""``refault profile``: how a run's counters went over the guest's time, and who is to blame."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.cli.progress import Bars, simulator_bars
from refault.cli.tables import reading_width
from refault.cli.terminal import print_json
from refault.cli.trace_files import as_trace, naming
from refault.cli.variants import VARIANT_HELP, labelled_variants
from refault.errors import InvalidParameter, TraceTruncated

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.profile.gathering import Gathered
    from refault.timeline import Timeline


def profile(
    trace: Annotated[
        Path,
        typer.Argument(
            help="A trace (.rft), or an operation vector (.ops.jsonl, also compressed by zstd, "
            "gzip, xz or bzip2), which is imported on the way.",
            show_default=False,
        ),
    ],
    *,
    variant: Annotated[list[str], typer.Option("--variant", "-v", help=VARIANT_HELP)] = [],  # noqa: B006 - Typer copies it
    as_json: Annotated[
        bool, typer.Option("--json", help="Both documents, whole, with their keys.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="The timeline of one variant: a line a sample.")
    ] = False,
) -> None:
    """Show how a run's counters went over the guest's time, and what each of them came from.

    The timeline has at most 1,000 samples. The attribution splits exits, faults, zaps, flushes and
    syncs by cause, region of the guest, address space and mark, and lists the busiest guest tables
    and the memory that KVM's structures took. Counters are exact; each split sums to the total.

    Example: refault profile demo/traces/linux61-boot-1cpu.rft -v base

    Example: refault profile demo/traces/linux61-workload-1cpu.rft -v p3 --csv > timeline.csv
    """
    labelled = labelled_variants(variant)
    variants = list({each.digest: each for _, each in labelled}.values())
    if as_csv and (as_json or len(variants) > 1):
        raise InvalidParameter("--csv is one timeline: give one --variant, and no --json")
    with simulator_bars(enabled=not (as_json or as_csv)) as bars:
        gathered = _gathered(trace, variants, bars)
    by_digest = dict(zip((each.digest for each in variants), gathered, strict=True))
    if as_csv:
        _write_csv(gathered[0].timeline)
    elif as_json:
        print_json([_to_dict(trace, label, by_digest[each.digest]) for label, each in labelled])
    else:
        for label, each in labelled:
            _show(trace, label, each, by_digest[each.digest])


def _gathered(path: Path, variants: list[Variant], bars: Bars) -> list[Gathered]:
    from refault.profile import gathering

    task = bars.add_task(path.name, total=None)
    with naming(path), as_trace(path) as trace:
        gathered = gathering.replay(
            trace,
            variants,
            threads=min(len(variants), len(os.sched_getaffinity(0))),
            progress=lambda done, total: bars.update(task, completed=done, total=total or None),
        )
        if gathered[0].result.truncated and not gathered[0].result.event_count:
            raise TraceTruncated(
                "the file ends inside its first block, so there is nothing to replay; copy it again"
            )
    return gathered


def _to_dict(path: Path, label: str, each: Gathered) -> dict[str, Any]:
    documents = (("timeline", each.timeline), ("attribution", each.attribution))
    return {
        "trace": path.name,
        "label": label,
        "result": each.result.digest,
    } | {
        name: {"key": document.key.digest, "digest": document.digest, "body": document.to_dict()}
        for name, document in documents
    }


def _write_csv(timeline: Timeline) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(timeline.series)
    writer.writerows(zip(*timeline.series.values(), strict=True))


def _show(path: Path, label: str, variant: Variant, each: Gathered) -> None:
    from refault.compare import layout
    from refault.profile.text import WIDTH, attribution_lines, timeline_lines

    width = reading_width(WIDTH)
    title = layout.wrap(f"{path.name} under {label} ({variant.name})", width)
    lines = [*title, "-" * max(map(layout.display_width, title))]
    if each.result.truncated:
        lines += layout.wrap("the file is truncated: replayed up to its last whole block", width)
    if each.result.stopped is not None:
        told = f"stopped at event {each.result.stopped.event_index}: {each.result.stopped.message}"
        lines += layout.wrap(told, width)
    lines += [*timeline_lines(each.timeline, width), ""]
    lines += [*attribution_lines(each.attribution, width=width), ""]
    print("\n".join(lines))
