"""What the API is told by its environment: ``REFAULT_`` and the name in capitals."""

import ipaddress
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.blobs import is_bucket
from services.shared import outbound, tracing
from services.shared.limits import MEMORY_LIMIT_KIB, SHARD_SECONDS, SHARD_SECONDS_MAX

GIB = 1024**3
_LONG_TOKEN = re.compile(r"[!-~]{16,}")


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
        None,
        validate_default=True,
        description="Local folder for uploads and fetched copies where blobs are in a bucket",
    )
    snapshots: Path | None = Field(
        None,
        description="Folder of snapshots, shared by all; none, or blobs in a bucket: by the blobs",
    )
    host: str = Field("127.0.0.1", description="Address the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on")
    upload_limit_bytes: int = Field(4 * GIB, gt=0, description="The largest trace taken, in bytes")
    body_wait_seconds: float = Field(
        20, gt=0, description="How long a request's body may keep the API waiting in all"
    )
    body_bytes_per_second: int = Field(
        16 * 1024, gt=0, description="What a body must send for each further second"
    )
    body_count: int = Field(
        256,
        gt=0,
        description="Bodies on their way at once; a project has a quarter, a credential an eighth",
    )
    upload_open_count: int = Field(
        100, gt=0, description="Resumable uploads a project may have begun and not finished"
    )
    upload_parallel_count: int = Field(
        8, gt=0, description="Uploads checked at the same time; further ones wait their turn"
    )
    upload_decode_count: int = Field(
        1, gt=0, description="Blocks of uploads decoded at the same time, up to 100 MiB each"
    )
    upload_expire_seconds: float = Field(
        24 * 3600, gt=0, description="An unfinished upload is forgotten so long after its last part"
    )
    upload_sweep_seconds: float = Field(
        600, gt=0, description="How often the API looks for uploads and traces that may go"
    )
    event_poll_seconds: float = Field(
        0.25, gt=0, description="How often a watched batch is looked at for new events"
    )
    event_streams_per_caller: int = Field(
        20, gt=0, description="Event streams of one token or login at the same time"
    )
    event_streams: int = Field(
        400, gt=0, description="Event streams at the same time; one project has at most half"
    )
    event_access_seconds: float = Field(
        2, gt=0, description="How soon watching a batch ends for whoever may not any more"
    )
    drawing_parallel_count: int = Field(
        2, gt=0, description="Charts drawn at the same time, each in a process of its own"
    )
    drawing_waiting_count: int = Field(
        8, ge=0, description="Charts that may wait for their turn; further ones are a 503"
    )
    drawing_seconds: float = Field(60, gt=0, description="A chart that takes longer is given up")
    metrics_open: bool = Field(
        default=False, description="Whether /metrics answers whoever can reach it"
    )
    metrics_token: str = Field(
        "",
        repr=False,
        description="What /metrics answers to as `Authorization: Bearer`, 16 characters or more; "
        "empty: to operators' own tokens only",
    )
    proxies: str = Field(
        "",
        description="Networks of our reverse proxies, whose X-Forwarded-For is believed; commas "
        "between",
    )
    webhook_networks: str = Field(
        "",
        description="Networks, not public, that webhooks may reach all the same; commas between",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important log lines that are written"
    )
    otel_endpoint: str = Field(
        "",
        validate_default=True,
        description="Where traces go, by OTLP over HTTP: http://host:4318; empty: nowhere",
    )
    session_hours: float = Field(12, gt=0, description="How long a login lasts, in hours")
    login_tries: int = Field(
        10,
        gt=0,
        description="Logins that may fail within five minutes, for an account from an address, and "
        "from an address",
    )
    # Logins by an OpenID issuer; none unless the first is set.
    oidc_issuer: str = Field(
        "", description="Address of the OpenID issuer people may log in by; empty: by none"
    )
    oidc_client_id: str = Field(
        "", validate_default=True, description="The id this service has at the issuer"
    )
    # Before the secret, which is read from it.
    oidc_client_secret_file: Path | None = Field(
        None, description="A file with the secret it has there"
    )
    oidc_client_secret: str = Field(
        "",
        repr=False,
        validate_default=True,
        description="That secret itself, instead of a file; none where PKCE alone is agreed",
    )
    oidc_redirect_url: str = Field(
        "",
        validate_default=True,
        description="Where the issuer sends browsers back: https://…/login/oidc/callback",
    )
    oidc_name: str = Field("", description="What the button calls the issuer; its host unless set")
    oidc_domains: str = Field(
        "",
        description="Domains of e-mail addresses whose people get an account at their first login; "
        "commas between; empty: only who was invited logs in",
    )
    # What a new project gets; `python -m services.api.admin set-quota` changes one.
    project_bytes: int | None = Field(
        None, gt=0, description="Bytes of traces a new project may have; unbounded if unset"
    )
    project_traces: int | None = Field(
        None, gt=0, description="Traces a new project may have; unbounded if unset"
    )
    project_queued_runs: int | None = Field(
        None, gt=0, description="Runs of a new project that may wait at once; unbounded if unset"
    )
    project_requests_per_minute: int | None = Field(
        1200, gt=0, description="Requests a minute of each token or login of a new project"
    )
    shard_seconds: float = Field(
        SHARD_SECONDS,
        gt=0,
        le=SHARD_SECONDS_MAX,
        description="How long a shard may take, as the workers have it; projects may set less",
    )
    memory_limit_kib: int = Field(
        MEMORY_LIMIT_KIB, gt=0, description="What a pool process of the workers may hold, in KiB"
    )
    # By name, as tasks are: the API imports no pages, and runs without them if this is empty.
    pages: str = Field(
        "services.dashboard.app:create_pages",
        description="module:function that makes the web pages of an API; empty serves none",
    )

    @field_validator("blobs_staging")
    @classmethod
    def _bucket_has_staging(cls, staging: Path | None, info: ValidationInfo) -> Path | None:
        if staging is None and is_bucket(info.data.get("blobs", "")):
            raise ValueError("where blobs are in a bucket, uploads need a local folder to stand in")
        return staging

    @field_validator("metrics_token")
    @classmethod
    def _is_no_guess(cls, token: str) -> str:
        if token and not _LONG_TOKEN.fullmatch(token):
            raise ValueError("expected 16 or more visible ASCII characters without blanks")
        return token

    @field_validator("webhook_networks", "proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        outbound.parse_networks(text)
        return text

    @field_validator("otel_endpoint")
    @classmethod
    def _can_be_sent(cls, endpoint: str) -> str:
        return tracing.check(endpoint)

    @field_validator("oidc_issuer", "oidc_redirect_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        if url and not is_safe_url(url):
            raise ValueError("expected an address with https, or with http on this machine")
        return url

    @field_validator("oidc_client_id", "oidc_redirect_url")
    @classmethod
    def _issuer_is_complete(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("oidc_issuer") and not value:
            raise ValueError("needed where there is REFAULT_OIDC_ISSUER")
        return value

    @field_validator("oidc_client_secret")
    @classmethod
    def _read_secret(cls, secret: str, info: ValidationInfo) -> str:
        path = info.data.get("oidc_client_secret_file")
        if path is None:
            return secret
        if secret:
            raise ValueError("given twice: keep REFAULT_OIDC_CLIENT_SECRET_FILE")
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"its file cannot be read: {error}") from error
        if not found:
            raise ValueError(f"its file {path} is empty")
        return str(found)


def is_safe_url(url: str) -> bool:
    """Whether nobody on the way can read or change what goes there: HTTPS, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.username is not None or parts.fragment or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
