"""Timelines of runs side by side, and attributions, in the forms that are no plain documents."""

import uuid
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from db.repositories import runs
from refault.attribution import Attribution
from refault.compare.attribution_chart import attribution_chart
from refault.compare.timelines import Beside, Line, View, beside
from refault.errors import ComparisonError, InvalidParameter, InvalidRequest
from refault.timeline import Timeline
from services.api.deps import Resources
from services.api.runs.place import labels_of
from services.api.runs.schemas import TimelinesBeside
from services.api.runs.service import timeline_of


class Asked(NamedTuple):
    """Which part of timelines is asked for."""

    counters: tuple[str, ...]
    view: View
    slices: int


class Timelines(NamedTuple):
    """Timelines side by side: as a table, and as a document."""

    trace_name: str
    table: Beside
    document: TimelinesBeside


def timelines(resources: Resources, run_ids: Sequence[uuid.UUID], asked: Asked) -> Timelines:
    """The timelines of runs of one trace, the first one's first.

    Raises:
        NotFound: there is no such run, or it has no timeline.
        InvalidRequest: a counter is none of theirs, or they are of different traces.
    """
    run_ids = list(dict.fromkeys(run_ids))
    lines, name = [], ""
    with resources.transaction() as session:
        for run_id in run_ids:
            run = runs.get(session, run_id)
            name = name or run.trace.name
            found = timeline_of(session, run)
            label = ", ".join(labels_of(run))
            lines.append(Line(label, Timeline.from_dict(found.timeline)))
    try:
        table = beside(lines, counters=asked.counters, view=asked.view, slices=asked.slices)
    except (InvalidParameter, ComparisonError) as error:
        raise InvalidRequest(str(error)) from error
    document = TimelinesBeside.model_validate({"runs": run_ids} | table.to_dict())
    return Timelines(name, table, document)


def attribution_spec(
    attribution: Attribution,
    view: str,
    counters: Sequence[str],
    theme: Literal["light", "dark"],
) -> dict[str, Any]:
    """The chart of one view; raises InvalidRequest where it cannot be drawn."""
    try:
        return attribution_chart(attribution, view, counters, theme=theme)
    except (InvalidParameter, ComparisonError) as error:
        raise InvalidRequest(str(error)) from error
