"""A position in the pages of a batch, and the addresses of others: :class:`Place`."""

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from services.dashboard.arrangement import AS_PLANNED, Arrangement
from services.dashboard.formats import whole_number

_NAMES = ("base", "trace", "columns", "pin", "sort", "every", "over", "costs", "cursor", "on")


@dataclasses.dataclass(frozen=True)
class Place:
    """A position in the pages of a batch.

    ``address`` is the comparison's. ``base`` is the base column, ``trace``
    the digest of the one trace shown, ``cursor`` where this page of traces begins, ``costs`` the
    weights of the cost model. ``names`` are the columns of a comparison across batches.
    """

    address: str
    base: int = 0
    trace: str | None = None
    cursor: str | None = None
    costs: str | None = None
    arrangement: Arrangement = AS_PLANNED
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: QueryParams, address: str = "") -> "Place":
        """The position that an address names; a 422 where a parameter cannot be read."""
        return cls(
            address,
            whole_number(query.get("base", "0"), "base"),
            query.get("trace") or None,
            query.get("cursor") or None,
            query.get("costs") or None,
            Arrangement.of(query),
            tuple(dict.fromkeys(query.getlist("column"))),
        )

    @property
    def asked(self) -> dict[str, Any]:
        """What the API is asked for."""
        return {
            "base": self.base,
            "trace": self.trace,
            "cursor": self.cursor,
            "costs": self.costs,
            "columns": self.arrangement.chosen,
        }

    @property
    def fields(self) -> dict[str, str]:
        """All parameters of this position but the page of traces; defaults are omitted."""
        told = {"base": self.base or None, "trace": self.trace, "costs": self.costs}
        told |= self.arrangement.fields
        return {name: str(value) for name, value in told.items() if value}

    def query(self, **changed: Any) -> str:
        """The query of this position with ``changed`` applied; defaults are omitted.

        A bare ``?`` if nothing is left, which still links to the page's own address.
        """
        told = {**self.fields, "cursor": self.cursor, **changed}
        # In one order, so that one view has one address.
        shown = [(name, told[name]) for name in _NAMES if told.get(name)]
        picked = [("column", name) for name in changed.get("names", self.names)]
        return "?" + urlencode([*picked, *shown], safe=",:")

    def form_query(self, **changed: Any) -> str:
        """The query of the same comparison in another form, which knows fewer parameters."""
        unknown = dict.fromkeys(("cursor", "pin", "sort", "every", "over"))
        return self.query(**unknown, **changed)

    def of_trace(self, digest: str, anchors: Mapping[str, str]) -> str:
        """The link to a trace: its anchor on this page, or its own page."""
        if digest in anchors:
            return f"#{anchors[digest]}"
        return self.query(trace=digest, cursor=None)
