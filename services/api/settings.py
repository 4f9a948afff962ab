"""What the API is told by its environment: ``REFAULT_`` and the name in capitals."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 1024**3


class Settings(BaseSettings):
    """The settings of the API; the first three have no default."""

    model_config = SettingsConfigDict(env_prefix="REFAULT_", extra="ignore")

    # Both hold a password, so neither is ever printed.
    database_url: str = Field(repr=False, description="postgresql://user:password@host:port/name")
    broker_url: str = Field(repr=False, description="redis://:password@host:port/0")
    blobs: str | Path = Field(
        description="Folder of the trace files, shared with the workers, or s3://bucket/prefix"
    )

    blobs_staging: Path | None = Field(
        None, description="Local folder for uploads and fetched copies where blobs are in a bucket"
    )
    host: str = Field("127.0.0.1", description="Address the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on")
    upload_limit_bytes: int = Field(4 * GIB, gt=0, description="The largest trace taken, in bytes")
    upload_idle_seconds: float = Field(
        60, gt=0, description="An upload that sends nothing for so long is refused"
    )
    upload_parallel_count: int = Field(
        8, gt=0, description="Uploads checked at the same time; further ones wait their turn"
    )
    event_poll_seconds: float = Field(
        0.5, gt=0, description="How often a watched batch is looked at for new events"
    )
    # By name, as tasks are: the API imports no pages, and runs without them if this is empty.
    pages: str = Field(
        "services.dashboard.app:create_pages",
        description="module:function that makes the web pages of an API; empty serves none",
    )
