"""The course of a trace over its guest's time: make-up and working set, as one table."""

import csv
import io
from typing import Any

from pydantic import Field

from services.api.schemas import Digest, Document
from services.api.traces.schemas import MakeUp, Statistics, WorkingSet

FRAMES = "working_set_frames"


class Course(Document):
    """What a trace consists of in each slice of its guest's time."""

    digest: Digest
    makeup: MakeUp | None = Field(description="null for a trace that is older than this")
    working_set: WorkingSet | None = Field(description="null until a worker has verified the trace")


def to_csv(statistics: Statistics) -> str:
    """A line for each slice: where it begins, events of each kind, frames (RFC 4180).

    Empty where a number is not known.
    """
    makeup, touched = statistics.makeup, statistics.working_set
    kinds = makeup.kinds if makeup else {}
    known = makeup or touched
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["from", "unit", *kinds, FRAMES])
    if known is None:
        return text.getvalue()
    # Both have slices of one width, by one rule.
    frames = touched.frames if touched and touched.width == known.width else []
    for place in range(known.slices):
        row: list[Any] = [place * known.width, known.unit]
        row += [of_kind[place] for of_kind in kinds.values()]
        writer.writerow([*row, frames[place] if place < len(frames) else None])
    return text.getvalue()
