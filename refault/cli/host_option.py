"""The option ``--host`` of what shows comparisons: a host's own counters as one more column."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.errors import InvalidRequest
from refault.printable import printable

if TYPE_CHECKING:
    from refault.compare import Comparison
    from refault.compare.host import HostCounters

WithHost = Annotated[
    Path | None,
    typer.Option(
        "--host",
        metavar="FILE",
        help="Counters that a host with shadow paging kept of the same guest (kvm_stat, debugfs, "
        "perf stat), as one more column: shown, not judged.",
        show_default=False,
    ),
]


def host_of(path: Path | None) -> HostCounters | None:
    """The counters of the file that was named, if one was."""
    from refault.compare.host import HostCounters
    from refault.trace.hostlog.counters import read_counters

    if path is None:
        return None
    found = read_counters(path)
    return HostCounters(printable(path.name), found.form, found.values)


def with_host(comparisons: Sequence[Comparison], host: HostCounters | None) -> list[Comparison]:
    """The comparisons with the host's column; its numbers are of one guest, so of one trace.

    Raises:
        InvalidRequest: there are several traces.
    """
    if host is None:
        return list(comparisons)
    if len(comparisons) > 1:
        raise InvalidRequest(
            f"--host {host.name} is of one guest, and there are {len(comparisons)} traces; compare "
            "one trace"
        )
    return [dataclasses.replace(each, host=host) for each in comparisons]
