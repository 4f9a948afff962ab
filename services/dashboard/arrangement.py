"""Which columns a page of a batch shows, in which order, and which rows: all of it in the address.

::

    ?base=2&columns=0,2,5&pin=5&sort=worst&every=1&over=5

Columns are named by their index in the batch, as the API names them.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from refault.compare import Verdict

SORTS = {
    "": "as planned",
    "worst": "worst verdict first",
    "exits": "fewest exits first",
    "name": "by name",
}
PINS_MAX = 2
"""Beside the base; more would leave no room for the others."""

# The lists of a comparison that follow its columns.
_OF_A_ROW = ("values", "changes", "percents", "notable")
_OF_A_MODEL = ("columns", "totals", "percents")
_INDEXES = re.compile(r"[0-9]{1,5}(,[0-9]{1,5})*")
_INDEXES_MAX = 1_000
_PERCENT = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,2}))?")
_HUNDREDTHS = 100


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """The choice of a reader; the default shows all columns as planned, and what differs.

    ``columns`` are those shown beside the base, None for all; ``pins`` stand beside the base.
    ``every`` shows counters that no column changes too. Changes below ``over``, in
    hundredths of a percent, are not shown as changes.
    """

    columns: tuple[int, ...] | None = None
    pins: tuple[int, ...] = ()
    sort: str = ""
    every: bool = False
    over: int = 0

    @classmethod
    def of(cls, query: QueryParams) -> Arrangement:
        """The arrangement of an address; a 422 that names the parameter that cannot be read."""
        sort = query.get("sort", "")
        if sort not in SORTS:
            known = ", ".join(filter(None, SORTS))
            raise HTTPException(422, f"sort must be one of {known}, or empty")
        pins = _indexes(query.getlist("pin"), "pin") or ()
        if len(pins) > PINS_MAX:
            raise HTTPException(422, f"pin: at most {PINS_MAX} columns stand beside the base")
        return cls(
            columns=_indexes(query.getlist("columns"), "columns"),
            pins=pins,
            sort=sort,
            every=query.get("every") == "1",
            over=_hundredths(query.get("over", "")),
        )

    @property
    def fields(self) -> dict[str, str | None]:
        """The parameters of an address that give this arrangement again."""
        return {
            "columns": self.chosen,
            "pin": ",".join(map(str, self.pins)) or None,
            "sort": self.sort or None,
            "every": "1" if self.every else None,
            "over": self.over_text or None,
        }

    @property
    def chosen(self) -> str | None:
        """The chosen columns as the API takes them; None for all."""
        return None if self.columns is None else ",".join(map(str, self.columns))

    @property
    def over_text(self) -> str:
        """The threshold in percent; empty for none."""
        whole, part = divmod(self.over, _HUNDREDTHS)
        return "" if not self.over else f"{whole}.{part:02d}".rstrip("0").rstrip(".")

    def is_notable(self, delta: int | None, base_value: int | None) -> bool:
        """Whether a change is one that this reader wants to see; any change from zero is."""
        if not delta:
            return False
        return abs(delta) * 100 * _HUNDREDTHS >= self.over * abs(base_value or 0)


AS_PLANNED = Arrangement()
"""All columns in the order of the plan, and what differs."""


def indexed(
    batch_columns: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """For each column of a comparison, by variant digest, its first index in the batch."""
    found: dict[str, int] = {}
    for index, column in enumerate(batch_columns):
        found.setdefault(column["variant"]["digest"], index)
    return {group["variant_digest"]: found[group["variant_digest"]] for group in groups}


def ordered(
    arrangement: Arrangement,
    overview: Mapping[str, Any],
    batch_columns: Sequence[Mapping[str, Any]],
) -> list[str]:
    """The variant digests of the columns to show: the base, the pinned ones, then the others."""
    groups = overview["columns"]
    digest_of = [column["variant"]["digest"] for column in batch_columns]
    base, *others = [group["variant_digest"] for group in groups]
    if arrangement.columns is not None:
        chosen = {digest_of[index] for index in arrangement.columns if index < len(digest_of)}
        others = [digest for digest in others if digest in chosen]
    places = {group["variant_digest"]: place for place, group in enumerate(groups)}
    others.sort(key=lambda digest: _key(arrangement.sort, overview, places[digest]))
    wanted = [digest_of[index] for index in arrangement.pins if index < len(digest_of)]
    pinned = [digest for digest in dict.fromkeys(wanted) if digest in others]
    return [base, *pinned, *(digest for digest in others if digest not in pinned)]


def rearranged(comparison: Mapping[str, Any], digests: Sequence[str]) -> dict[str, Any]:
    """A comparison with its columns in this order; columns it does not have are left out."""
    places = {column["variant_digest"]: n for n, column in enumerate(comparison["columns"])}
    order = [places[digest] for digest in digests if digest in places]
    if order == list(range(len(places))):
        return dict(comparison)
    found = _permuted(comparison, order, "columns")
    for rows in ("semantics", "counters"):
        found[rows] = [_permuted(row, order, *_OF_A_ROW) for row in comparison[rows]]
    if "audit" in found:
        found["audit"] = _permuted(found["audit"], order, "reports")
    if "cost_model" in found:
        model = _permuted(found["cost_model"], order, *_OF_A_MODEL)
        model["terms"] = [_permuted(term, order, "cycles") for term in model["terms"]]
        found["cost_model"] = model
    return found


def _permuted(document: Mapping[str, Any], order: Sequence[int], *names: str) -> dict[str, Any]:
    """A document whose lists of these names follow the columns in another order."""
    return {**document, **{name: [document[name][place] for place in order] for name in names}}


def _key(sort: str, overview: Mapping[str, Any], place: int) -> tuple[Any, ...]:
    traces = overview["traces"]
    match sort:
        case "worst":
            ranks = (Verdict(trace["verdicts"][place]).rank for trace in traces)
            return (min(ranks, default=len(Verdict)), place)
        case "exits":
            return (*_exits(traces, place), place)
        case "name":
            return (overview["columns"][place]["label"], place)
        case _:
            return (place,)


def _exits(traces: Sequence[Mapping[str, Any]], place: int) -> tuple[bool, float]:
    """Columns that may not be compared come last; then by the mean ratio of their exits."""
    is_wrong = any(Verdict(trace["verdicts"][place]).is_alarming for trace in traces)
    ratios = [
        trace["exits"][place] / trace["exits"][0]
        for trace in traces
        if trace["exits"][place] and trace["exits"][0] and trace["changes"][place] is not None
    ]
    return is_wrong or not ratios, statistics.geometric_mean(ratios) if ratios else 1.0


def _indexes(texts: Sequence[str], name: str) -> tuple[int, ...] | None:
    """The indexes of a parameter that may be repeated; None where it is not given."""
    told = ",".join(filter(None, texts))
    if not told:
        return None
    if _INDEXES.fullmatch(told) is None:
        raise HTTPException(422, f"{name} must be indexes of columns from 0, such as 0,2,5")
    found = tuple(dict.fromkeys(map(int, told.split(","))))
    if len(found) > _INDEXES_MAX:
        raise HTTPException(422, f"{name}: at most {_INDEXES_MAX} columns can be chosen")
    return found


def _hundredths(text: str) -> int:
    if not text.strip():
        return 0
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise HTTPException(422, "over must be a percentage such as 5 or 0.5")
    return int(found[1]) * _HUNDREDTHS + int((found[2] or "0").ljust(2, "0"))
