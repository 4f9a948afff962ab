"""What a client asks of the documents beside a run's result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from refault.client import answers, calls
from refault.client.calls import Call

if TYPE_CHECKING:
    from collections.abc import Sequence


RunForm = Literal["json", "csv", "svg"]


class TimelineDocument(TypedDict):
    """How a run's counters went over the guest's time (:mod:`refault.timeline`)."""

    key: str
    digest: str
    timeline: dict[str, Any]


class TimelinesDocument(TypedDict):
    """Runs of one trace over the same slices of the guest's time."""

    runs: list[str]
    labels: list[str]
    view: str
    unit: str
    ends: list[int]
    counters: list[str]
    available: list[str]
    values: dict[str, list[list[int | None]]]
    marks: list[dict[str, Any]]
    mark_count: int
    missing: dict[str, str]


class AttributionDocument(TypedDict):
    """What a run's counters came from (:mod:`refault.attribution`)."""

    key: str
    digest: str
    attribution: dict[str, Any]


def get_timeline(run: str) -> Call[TimelineDocument]:
    """The timeline of a run, by its id."""
    return calls.ask("GET", ("runs", run, "timeline"), shape=TimelineDocument)


def get_timelines(
    run: str,
    beside: Sequence[str] = (),
    *,
    counters: Sequence[str] = (),
    view: str | None = None,
    slices: int | None = None,
) -> Call[TimelinesDocument]:
    """The timelines of a run and of others of its trace, over the same slices."""
    query = {"beside": list(beside), "counter": list(counters), "view": view, "slices": slices}
    return calls.ask("GET", ("runs", run, "timeline.json"), query=query, shape=TimelinesDocument)


def get_attribution(run: str) -> Call[AttributionDocument]:
    """The attribution of a run, by its id."""
    return calls.ask("GET", ("runs", run, "attribution"), shape=AttributionDocument)


def attribution_text(run: str, form: RunForm = "csv") -> Call[str]:
    """The attribution of a run in one of its forms."""
    path = calls.ask("GET", ("runs", run, f"attribution.{form}")).path
    return calls.Call("GET", path, answers.text)
