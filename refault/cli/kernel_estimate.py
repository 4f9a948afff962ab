"""``refault submit --kernel TREE --dry-run``: what would be compiled and replayed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from refault.catalogue import builds_of, kernel_label
from refault.cli import kernel_columns, own_kernel
from refault.cli.progress import progress_bars
from refault.cli.terminal import print_json
from refault.compare.layout import clean, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from refault.cli.kernel_columns import Wish
    from refault.client import Client, TraceDocument
    from refault.linux.estimate import Estimate


def show_estimate(
    client: Client,
    wish: Wish,
    traces: Mapping[str, TraceDocument],
    set_ids: Sequence[str],
    told: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """Print what builds and replays would take, and what the service says of the sets beside them.

    The patches are applied here, so one that does not apply is named before anything is uploaded.
    """
    if (tree := wish.tree) is None:
        return
    plan, axes = told["plan"], told["axes"]
    beside = client.estimate_batch(list(traces), set_ids, **told) if set_ids else None
    release, titles, found = _estimated(tree, wish, plan, enabled=not as_json)
    name = wish.name or f"linux-{release}".lower()
    columns = _columns(plan, len(titles), found, axes)
    events = sum(trace["event_count"] for trace in traces.values()) * columns
    refused = {kernel_label(name, numbers): why for numbers, why in found.refused.items()}
    if as_json:
        print_json(
            {
                "release": release,
                "builds": found.builds,
                "units": found.units,
                "compiled": found.compiled,
                "shared": found.shared,
                "compile_seconds": found.seconds,
                "refused": refused,
                "cells": len(traces) * columns,
                "events_to_replay": events,
                "beside": beside,
            }
        )
        return
    print(
        f"Linux {release}: {counted(found.builds, 'build')}, {counted(found.compiled, 'file')} to "
        f"compile; {found.shared} more are shared between builds"
    )
    if found.seconds is not None:
        print(f"  about {math.ceil(found.seconds)} s of a processor, as measured on this machine")
    for labels, why in own_kernel.by_reason(refused.items()):
        print(f"left out: {clean(labels)}: {clean(why)}")
    print(
        f"{counted(len(traces) * columns, 'cell')}: {counted(len(traces), 'trace')} x "
        f"{counted(columns, 'column')}, {counted(events, 'event')} to replay, less "
        "what is known of the same kernels"
    )
    if beside is not None:
        print(f"beside them {counted(beside['cells'], 'cell')}, {beside['to_run']} to run")


def _estimated(
    tree: Path, wish: Wish, plan: str, *, enabled: bool
) -> tuple[str, list[str], Estimate]:
    from refault.linux import patches
    from refault.linux.build import Options
    from refault.linux.estimate import estimate
    from refault.linux.store import Store
    from refault.linux.tree import opened

    series = own_kernel.series_of(wish.mails, wish.mail_version)
    read = patches.read([series.mails], series.version) if series.mails else []
    store = Store()
    with (
        own_kernel.writing(store.root),
        opened(tree, store.root / "trees") as found_tree,
        progress_bars(enabled=enabled) as bars,
    ):
        bar = bars.add_task("compiling")
        found = estimate(
            found_tree,
            read,
            builds_of(kernel_columns.build_plan(plan), len(read)),
            store,
            Options(sanitize=wish.sanitize),
            lambda done, total, unit: bars.update(
                bar, completed=done, total=total, description=f"compiling: {unit}"
            ),
        )
        return found_tree.release, [patch.title for patch in read], found


def _columns(
    plan: str,
    count: int,
    found: Estimate,
    axes: Mapping[str, Sequence[Any]] | None,
) -> int:
    """How many columns a batch would have of what can be built."""
    if plan == "series":
        # Behind one that is refused there is no series.
        prefixes = builds_of("series", count)
        ends = [len(numbers) for numbers in prefixes if numbers in found.refused]
        return min([count + 1, *ends])
    return found.builds * math.prod(len(values) for values in (axes or {}).values())
