"""What a worker is told by its environment: ``REFAULT_`` and the name in capitals."""

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of a worker; the first three have no default."""

    model_config = SettingsConfigDict(env_prefix="REFAULT_", extra="ignore")

    # Both hold a password, so neither is ever printed.
    database_url: str = Field(repr=False, description="postgresql://user:password@host:port/name")
    broker_url: str = Field(repr=False, description="redis://:password@host:port/0")
    blobs: Path = Field(description="Folder of the trace files, shared with the API")

    lease_seconds: float = Field(
        30, gt=0, description="How long a shard stays with a worker that gives no sign of life"
    )
    heartbeat_seconds: float = Field(
        5, gt=0, description="How often a worker extends its lease and says that it lives"
    )
    sweep_seconds: float = Field(
        5, gt=0, description="How often lost shards and lost messages are looked for"
    )
    resend_seconds: float = Field(
        20, gt=0, description="A queued shard whose message is older than this gets another one"
    )
    memory_limit_kib: int = Field(
        4 * 1024 * 1024, gt=0, description="A pool process larger than this is replaced, in KiB"
    )


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
