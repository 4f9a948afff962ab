"""The API's settings from the environment: ``REFAULT_`` and the name in capitals."""

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
    upload_limit_bytes: int = Field(
        4 * GIB, gt=0, description="The largest trace accepted, in bytes"
    )
    body_wait_seconds: float = Field(
        20, gt=0, description="How long in all the API waits for a request's body"
    )
    body_bytes_per_second: int = Field(
        16 * 1024, gt=0, description="Bytes a body must send for each further second"
    )
    body_count: int = Field(
        256,
        gt=0,
        description="Bodies received at once; a project has a quarter, a credential an eighth",
    )
    upload_open_count: int = Field(
        100, gt=0, description="Unfinished resumable uploads of a project"
    )
    upload_parallel_count: int = Field(
        8, gt=0, description="Uploads checked at the same time; further ones wait"
    )
    upload_decode_count: int = Field(
        1, gt=0, description="Blocks of uploads decoded at the same time, up to 100 MiB each"
    )
    upload_expire_seconds: float = Field(
        24 * 3600, gt=0, description="An unfinished upload expires this long after its last part"
    )
    upload_sweep_seconds: float = Field(
        600, gt=0, description="How often the API looks for expired uploads and traces"
    )
    event_poll_seconds: float = Field(
        0.25, gt=0, description="How often a watched batch is polled for new events"
    )
    event_streams_per_caller: int = Field(
        20, gt=0, description="Event streams of one token or login at the same time"
    )
    event_streams: int = Field(
        400, gt=0, description="Event streams at the same time; one project has at most half"
    )
    event_access_seconds: float = Field(
        2, gt=0, description="How soon an event stream ends after its caller lost access"
    )
    drawing_parallel_count: int = Field(
        2, gt=0, description="Charts drawn at the same time, each in a process of its own"
    )
    drawing_waiting_count: int = Field(
        8, ge=0, description="Charts that may wait; further ones are answered 503"
    )
    drawing_seconds: float = Field(60, gt=0, description="A chart that takes longer is aborted")
    metrics_open: bool = Field(default=False, description="Whether /metrics needs no token")
    metrics_token: str = Field(
        "",
        repr=False,
        description="Bearer token for /metrics, 16 characters or more; "
        "empty: operators' own tokens only",
    )
    proxies: str = Field(
        "",
        description="Networks of our reverse proxies, whose X-Forwarded-For is trusted; comma-"
        "between",
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
    session_hours: float = Field(12, gt=0, description="How long a login lasts, in hours")
    login_tries: int = Field(
        10,
        gt=0,
        description="Failed logins within five minutes, per account and address, and per address",
    )
    # Logins by an OpenID issuer; none unless the first is set.
    oidc_issuer: str = Field("", description="Address of the OpenID issuer; empty: none")
    oidc_client_id: str = Field(
        "", validate_default=True, description="The client id of this service"
    )
    # Before the secret, which is read from it.
    oidc_client_secret_file: Path | None = Field(None, description="A file with the client secret")
    oidc_client_secret: str = Field(
        "",
        repr=False,
        validate_default=True,
        description="The client secret, instead of a file; none with PKCE alone",
    )
    oidc_redirect_url: str = Field(
        "",
        validate_default=True,
        description="The redirect address: https://…/login/oidc/callback",
    )
    oidc_name: str = Field("", description="The issuer's name on the button; default: its host")
    oidc_domains: str = Field(
        "",
        description="E-mail domains whose users get an account at their first login; "
        "comma-separated; empty: invited users only",
    )
    # Quotas of a new project; `python -m services.api.admin set-quota` changes one.
    project_bytes: int | None = Field(
        None, gt=0, description="Bytes of traces of a new project; unbounded if unset"
    )
    project_traces: int | None = Field(
        None, gt=0, description="Traces of a new project; unbounded if unset"
    )
    project_queued_runs: int | None = Field(
        None, gt=0, description="Queued runs of a new project; unbounded if unset"
    )
    project_requests_per_minute: int | None = Field(
        1200, gt=0, description="Requests per minute of each token or login of a new project"
    )
    builds: bool = Field(
        default=False,
        description="Whether projects may have kernels of their own trees compiled",
    )
    shard_seconds: float = Field(
        SHARD_SECONDS,
        gt=0,
        le=SHARD_SECONDS_MAX,
        description="Time limit of a shard, as set for the workers; projects may set less",
    )
    memory_limit_kib: int = Field(
        MEMORY_LIMIT_KIB, gt=0, description="Memory of a pool process of the workers, in KiB"
    )
    # A name, because the API must not import the pages; empty runs without them.
    pages: str = Field(
        "services.dashboard.app:create_pages",
        description="module:function, the factory of the web pages; empty serves none",
    )

    @field_validator("blobs_staging")
    @classmethod
    def _bucket_has_staging(cls, staging: Path | None, info: ValidationInfo) -> Path | None:
        if staging is None and is_bucket(info.data.get("blobs", "")):
            raise ValueError("blobs in a bucket need a local folder for uploads")
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
            raise ValueError("needed with REFAULT_OIDC_ISSUER")
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
    """Whether the way there is secure: HTTPS, or this machine."""
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
