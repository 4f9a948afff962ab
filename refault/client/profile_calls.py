"""What a client asks of the documents beside a run's result."""

from __future__ import annotations

from typing import Any, TypedDict

from refault.client import calls
from refault.client.calls import Call


class TimelineDocument(TypedDict):
    """How a run's counters went over the guest's time (:mod:`refault.timeline`)."""

    key: str
    digest: str
    timeline: dict[str, Any]


class AttributionDocument(TypedDict):
    """What a run's counters came from (:mod:`refault.attribution`)."""

    key: str
    digest: str
    attribution: dict[str, Any]


def get_timeline(run: str) -> Call[TimelineDocument]:
    """The timeline of a run, by its id."""
    return calls.ask("GET", ("runs", run, "timeline"), shape=TimelineDocument)


def get_attribution(run: str) -> Call[AttributionDocument]:
    """The attribution of a run, by its id."""
    return calls.ask("GET", ("runs", run, "attribution"), shape=AttributionDocument)
