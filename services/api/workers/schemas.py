"""Workers as JSON."""

from pydantic import Field

from services.api.schemas import Document, Time


class StartingWorker(Document):
    """A worker that compiles its simulators before it takes any work."""

    step: str = Field(description="What it compiles")
    step_number: int
    step_count: int
    kernels_done: int = Field(description="Kernels of all steps that are compiled")
    kernels_total: int = Field(
        description="How many there are at most; 0: they come from the cache"
    )
    started_at: Time


class Workers(Document):
    """The workers of the whole service."""

    alive_count: int = Field(description="That take work; without any, batches wait")
    starting: list[StartingWorker] = Field(description="The earliest first, at most 20")
