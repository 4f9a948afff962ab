"""News as JSON."""

from pydantic import Field

from services.api.batches.schemas import BatchListed, TraceReference
from services.api.schemas import Document, Time
from services.api.workers.schemas import StartingWorker


class News(Document):
    """What changed in the project since a time."""

    since: Time | None = Field(
        description="The end of the caller's last visit; null: no visit is known, all is new"
    )
    submitted_count: int = Field(description="Batches submitted since")
    ended_count: int = Field(description="Batches that ended since")
    ended: list[BatchListed] = Field(description="The last of them, at most `named`")
    open_count: int = Field(description="Batches that wait or run")
    worker_count: int = Field(description="Workers that are alive; without any, batches wait")
    workers_starting: list[StartingWorker] = Field(
        description="Workers that compile their simulators before they take any work"
    )
    trace_count: int = Field(description="Traces uploaded since")
    traces: list[TraceReference] = Field(description="The last of them, at most `named`")
