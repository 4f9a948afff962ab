"""OpenTelemetry traces of API and workers: off, and not imported, by default.

::

    POST /api/v1/batches ─────────────────────┐  one trace
      └── the batch's row: trace_context      │
            └── shard (a worker, later) ──────┤
                  ├── fetch   the trace file  │
                  ├── replay                  │
                  └── record                  ┘

The context goes from a request to its shards through the batch's row, not through messages: a
worker that gets a message may compute another batch's shard, or one whose message was lost. So a
shard that is computed again is in the trace of its request, too.

Attributes hold ids and sizes; no address with a secret in it (a share link's), no header, no body.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# OpenTelemetry's own environment variables for the endpoint.
_STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PATH = "/v1/traces"
_HEADER = "traceparent"
_EXPORT_SECONDS = 5

_started: list[TracerProvider] = []


def check(endpoint: str) -> str:
    """The endpoint of a setting; a ValueError if tracing is on but impossible."""
    is_wanted = bool(endpoint) or any(os.environ.get(name) for name in _STANDARD)
    if is_wanted and not _is_installed():
        raise ValueError(
            "tracing is on (REFAULT_OTEL_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT), but "
            "OpenTelemetry is not installed: pip install opentelemetry-sdk "
            "opentelemetry-exporter-otlp-proto-http, or refault[otel]"
        )
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ValueError("expected http://host:4318 or https://host:4318")
    return endpoint


def start(room: str, endpoint: str) -> None:
    """Turns on the export of :func:`span`, if configured; once per process.

    Call it after a fork, which the sending thread does not survive.
    """
    if _started or not (endpoint or any(os.environ.get(name) for name in _STANDARD)):
        return
    # Imported late: without an endpoint it is not loaded.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME") or f"refault-{room}"
    # Not the global provider, so that libraries cannot send spans of their own.
    provider = TracerProvider(
        resource=Resource.create({"service.name": name}), shutdown_on_exit=False
    )
    place = endpoint.rstrip("/") + _PATH if endpoint else None
    exporter = OTLPSpanExporter(endpoint=place, timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _started.append(provider)


def stop() -> None:
    """Flushes the queue and stops."""
    while _started:
        _started.pop().shutdown()


@contextlib.contextmanager
def span(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    parent: str | None = None,
    is_request: bool = False,
) -> Iterator[Span]:
    """A span around the block; ``parent`` is a context from :func:`context`.

    Without it the parent is the current span, if any. An exception marks it as failed.
    """
    if not _started:
        yield Span()
        return
    from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    above = TraceContextTextMapPropagator().extract({_HEADER: parent}) if parent else None
    tracer = _started[-1].get_tracer("refault")
    with tracer.start_as_current_span(
        name,
        context=above,
        kind=SpanKind.SERVER if is_request else SpanKind.INTERNAL,
        attributes=_known(attributes or {}),
        # The type only: the message of an exception may hold secrets.
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield Span(opened)
        except BaseException as error:
            opened.set_attribute("error.type", type(error).__name__)
            opened.set_status(StatusCode.ERROR)
            raise


class Span:
    """An open span; a no-op if tracing is off."""

    def __init__(self, opened: Any = None) -> None:
        self._opened = opened

    def tell(
        self, attributes: Mapping[str, Any], *, name: str | None = None, is_error: bool = False
    ) -> None:
        """Adds attributes; ``name`` replaces the span's name."""
        if self._opened is None:
            return
        if name is not None:
            self._opened.update_name(name)
        self._opened.set_attributes(_known(attributes))
        if is_error:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415

            self._opened.set_status(StatusCode.ERROR)


def context() -> str | None:
    """The context of the current span, to continue elsewhere; None outside of one."""
    if not _started:
        return None
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_HEADER)


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _is_installed() -> bool:
    try:
        return all(
            importlib.util.find_spec(name) is not None
            for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
        )
    except ModuleNotFoundError:
        return False
