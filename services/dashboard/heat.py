"""The matrix of verdicts, traces × columns: each cell a link with a sign and one number."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from services.dashboard.arrangement import Arrangement
from services.dashboard.cells import Heat, MatrixRow, Noted, heat_row
from services.dashboard.formats import counted, grouped, signed
from services.dashboard.notes import NO_PINS, Pins, cell_query
from services.dashboard.place import Place
from services.dashboard.verdicts import Shown, shown

WORDS_UP_TO = 6
"""Columns beside the base up to which each cell spells out its verdict."""

# From which change on, in percent, a colour gets stronger.
_STEPS = (2, 10)


def heat_of(
    overview: Mapping[str, Any],
    digests: Sequence[str],
    indexes: Mapping[str, int],
    place: Place,
    anchors: Mapping[str, str],
    pins: Pins = NO_PINS,
) -> dict[str, Any]:
    """The matrix with the columns of ``digests``, which ``indexes`` gives their batch's index.

    A cell with notes has a mark that leads to them.
    """
    places = {group["variant_digest"]: n for n, group in enumerate(overview["columns"])}
    order = [places[digest] for digest in digests]
    columns = [
        {
            "label": overview["columns"][number]["label"],
            "href": None if n == 0 else place.query(base=indexes[digest] or None, cursor=None),
        }
        for n, (number, digest) in enumerate(zip(order, digests, strict=True))
    ]
    ends = [str(indexes[digest]) for digest in digests]
    is_dense = len(columns) > WORDS_UP_TO + 1
    seen: dict[Shown, None] = {}
    rows: list[MatrixRow] = []
    for trace in overview["traces"]:
        anchor = anchors.get(trace["digest"])
        # Off this page there is one address a trace; its table has all columns.
        href = place.of_trace(trace["digest"], anchors)
        verdicts = [shown(trace["verdicts"][number]) for number in order]
        seen.update(dict.fromkeys(verdicts))
        cells = [
            _heat(
                trace,
                number,
                verdict,
                # A red cell leads to what is wrong, any other to its column.
                f"{href}-{'w' if verdict.tone == 'alarm' else 'c'}{end}" if anchor else href,
                place.arrangement,
            )._replace(note=noted(pins, place, trace["digest"], digest, indexes[digest]))
            for number, verdict, end, digest in zip(order, verdicts, ends, digests, strict=True)
        ]
        rows.append(heat_row(trace["name"], href, cells, is_dense=is_dense))
    return {
        "columns": columns,
        "rows": rows,
        "body": Markup("\n".join([row.html for row in rows])),  # noqa: S704  # escaped in parts
        "legend": list(seen),
        "is_dense": is_dense,
        "is_shown": len(rows) > 1 or len(columns) > WORDS_UP_TO + 1,
    }


def noted(pins: Pins, place: Place, trace: str, variant: str, index: int) -> Noted | None:
    """The mark of a cell's notes; None where it has none."""
    count = pins.cells.get((trace, variant), 0)
    if not count:
        return None
    return Noted(counted(count, "note"), f"{place.query(on=cell_query(trace, index))}#notes")


def _heat(
    trace: Mapping[str, Any], number: int, verdict: Shown, href: str, arrangement: Arrangement
) -> Heat:
    exits, change, wrong = trace["exits"][number], trace["changes"][number], trace["wrong"][number]
    if verdict.tone == "alarm":
        return Heat(verdict, grouped(wrong) if wrong else "", verdict.tone, href)
    if number == 0:
        return Heat(verdict, grouped(exits), verdict.tone, href)
    if change is None or trace["exits"][0] is None or exits is None:
        return Heat(verdict, "", verdict.tone, href)
    base = trace["exits"][0]
    tone = verdict.tone
    if tone in {"more", "less"}:
        is_small = not arrangement.is_notable(exits - base, base) and arrangement.over
        # A verdict may rest on other costs than exits, which then do not deepen its colour.
        is_why = (exits > base) == (tone == "more")
        strength = is_why and sum(abs(exits - base) * 100 >= step * abs(base) for step in _STEPS)
        tone = "same" if is_small else f"{tone} {tone}-{strength:d}"
    return Heat(verdict, signed(change), tone, href)
