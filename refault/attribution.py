"""Who is to blame for each counter: one run's counts by address space, region, cause and mark.

::

    Attribution ── to_dict() ──► plain dict (JSON) ── from_dict() ──► Attribution
        └── to_bytes() ──► canonical msgpack ── sha256 ──► digest

A document beside a result, never part of its bytes. In each of the four views every counter sums to
the result's total: what found no room in a view is in its row ``others``. Equal keys
(:func:`attribution_key`) name equal bytes. Plain data: no numpy, no compiler, no I/O.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from refault.documents import DocumentKey, Packed
from refault.errors import ResultError

ATTRIBUTION_VERSION = 1
#: How the counts are split, each a view of all of them.
VIEWS = ("cause", "region", "address_space", "mark")
#: Guest tables that are listed.
TABLES_SHOWN = 20
OTHERS = "others"


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One row of a view: its name, and each counter it changed by how much."""

    name: str
    counters: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class TableLife:
    """What became of the shadow pages of one guest table, or of several (``gfn`` is None).

    ``level`` is that of the latest one. ``created`` shadow pages were made, ``refaulted`` of them
    after an earlier one was zapped. ``marked``: let out of sync; ``synced``: brought back (or found
    zapped); ``zapped``; ``written``: emulated writes to the table.
    """

    gfn: int | None
    level: int
    created: int
    marked: int
    synced: int
    zapped: int
    refaulted: int
    written: int

    @property
    def activity(self) -> int:
        """By this tables are ranked."""
        return self.created + self.marked + self.synced + self.zapped + self.written


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What the host's structures took at most.

    ``pages``, ``unsync_pages`` and ``list_nodes`` (reverse maps and chains of parents) are the most
    in use between two operations, each by itself; ``pages_event`` is where the pages were. The rest
    is one moment, the sample of the timeline with the most bytes: ``structures`` are counts by
    structure, ``bytes`` what they take on x86-64, without the headers of shadow pages, whose size
    depends on the form of the struct: ``header_bytes`` has it for each form and ABI.
    """

    pages: int
    pages_event: int
    unsync_pages: int
    list_nodes: int
    structures: dict[str, int]
    bytes: dict[str, int]
    header_bytes: dict[str, dict[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class Attribution(Packed):
    """The attribution of one run.

    ``totals`` are the counters that are split, as in the result, in its order. ``tables`` are the
    busiest, ``table_count`` how many guest tables there were; ``direct`` is the life of pages that
    shadow no table, ``other_tables`` of tables that found no room, or None. ``missing`` says what
    this engine does not yield, and why.
    """

    NOUN: ClassVar[str] = "attribution"

    trace_digest: str
    variant_digest: str
    simulator_digest: str
    engine: str
    totals: dict[str, int]
    views: dict[str, tuple[Part, ...]]
    tables: tuple[TableLife, ...]
    table_count: int
    direct: TableLife | None
    other_tables: TableLife | None
    memory: Memory | None
    missing: dict[str, str]

    def __post_init__(self) -> None:
        for view, parts in self.views.items():
            for name, total in self.totals.items():
                found = sum(part.counters.get(name, 0) for part in parts)
                if found != total:
                    raise ResultError(
                        f"attribution: by {view} there are {found} {name}, in all {total}"
                    )

    def to_dict(self) -> dict[str, Any]:
        """The attribution as JSON."""
        body = dataclasses.asdict(self)
        body["views"] = {
            view: [dataclasses.asdict(part) for part in parts] for view, parts in self.views.items()
        }
        body["tables"] = [dataclasses.asdict(table) for table in self.tables]
        return {"version": ATTRIBUTION_VERSION} | body

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The attribution ``to_dict()`` made; raises ResultError naming what is wrong."""
        fields = dict(body)
        if fields.pop("version", None) != ATTRIBUTION_VERSION:
            found = body.get("version")
            raise ResultError(f"attribution: version {found!r} is not {ATTRIBUTION_VERSION}")
        try:
            fields["views"] = {
                view: tuple(Part(**part) for part in parts)
                for view, parts in fields["views"].items()
            }
            fields["tables"] = tuple(TableLife(**table) for table in fields["tables"])
            for name in ("direct", "other_tables"):
                if fields[name] is not None:
                    fields[name] = TableLife(**fields[name])
            if fields["memory"] is not None:
                fields["memory"] = Memory(**fields["memory"])
            return cls(**fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise ResultError(f"attribution: not one: {error}") from error

    @property
    def key(self) -> DocumentKey:
        """The key of the document: equal keys name equal bytes."""
        return attribution_key(self.trace_digest, self.variant_digest, self.simulator_digest)


def attribution_key(trace_digest: str, variant_digest: str, simulator_digest: str) -> DocumentKey:
    """The key of the attribution of a run; its level says how many tables it lists."""
    return DocumentKey(
        "attribution",
        f"tables-{TABLES_SHOWN}-v{ATTRIBUTION_VERSION}",
        trace_digest,
        variant_digest,
        simulator_digest,
    )
