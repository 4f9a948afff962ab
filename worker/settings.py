"""The worker's settings from the environment: ``REFAULT_`` and the name in capitals."""

import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.shared import outbound, tracing
from services.shared.limits import MEMORY_LIMIT_KIB, SHARD_SECONDS, SHARD_SECONDS_MAX


class Settings(BaseSettings):
    """The settings of a worker; the first three have no default."""

    model_config = SettingsConfigDict(env_prefix="REFAULT_", extra="ignore")

    # Both hold a password, so neither is ever printed.
    database_url: str = Field(repr=False, description="postgresql://user:password@host:port/name")
    broker_url: str = Field(repr=False, description="redis://:password@host:port/0")
    blobs: str | Path = Field(
        description="Folder of the trace files, shared with the API, or s3://bucket/prefix"
    )

    blobs_staging: Path | None = Field(
        None, description="Local folder for uploads and fetched copies where blobs are in a bucket"
    )
    lease_seconds: float = Field(
        30, gt=0, description="How long a shard stays with a worker that is not heard of"
    )
    heartbeat_seconds: float = Field(
        5, gt=0, description="How often a worker is heard of, and looks whether it should stop"
    )
    sweep_seconds: float = Field(
        5, gt=0, description="How often abandoned shards and lost messages are looked for"
    )
    resend_seconds: float = Field(
        20, gt=0, description="A queued shard's message this old may be lost and is sent again"
    )
    stop_seconds: float = Field(
        30, ge=0, description="How long a worker that is told to stop may go on with its shard"
    )
    snapshots: Path | None = Field(
        None,
        description="Folder of snapshots, shared by all; none, or blobs in a bucket: by the blobs",
    )
    snapshot_seconds: float = Field(
        60, gt=0, description="How much of its work a long shard may lose with its worker"
    )
    webhook_seconds: float = Field(
        5, gt=0, description="How often waiting webhook messages are looked for"
    )
    webhook_timeout_seconds: float = Field(
        10, gt=0, description="The longest a receiver may take for one message, from name to answer"
    )
    webhook_networks: str = Field(
        "",
        description="Private networks that webhooks may reach; comma-separated",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level logged"
    )
    otel_endpoint: str = Field(
        "",
        validate_default=True,
        description="Where spans are sent, by OTLP over HTTP: http://host:4318; empty: nowhere",
    )
    memory_limit_kib: int = Field(
        MEMORY_LIMIT_KIB,
        gt=0,
        description="What a pool process may hold, in KiB: replays are refused beyond it",
    )
    shard_seconds: float = Field(
        SHARD_SECONDS,
        gt=0,
        le=SHARD_SECONDS_MAX,
        description="How long a shard may take before its runs fail; projects may set less",
    )

    builds: bool = Field(
        default=False,
        description="Whether kernels of users' own trees are run here, and built with a compiler",
    )

    @field_validator("otel_endpoint")
    @classmethod
    def _can_be_sent(cls, endpoint: str) -> str:
        return tracing.check(endpoint)

    @field_validator("webhook_networks")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        outbound.parse_networks(text)
        return text


def load() -> Settings:
    """The settings; exits with a list of the missing or invalid ones."""
    try:
        return Settings()
    except ValidationError as error:
        lines = ["the worker cannot start; its environment is incomplete:"]
        for entry in error.errors():
            name = "_".join(str(part) for part in entry["loc"]).upper()
            lines.append(f"  REFAULT_{name}: {entry['msg']}")
        sys.stderr.write("\n".join(lines) + "\n")
        raise SystemExit(2) from None
