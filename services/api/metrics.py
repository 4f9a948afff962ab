"""``/metrics``: the service in numbers, in Prometheus text format.

Events of workers and of all API processes are read from the database, so that
every process answers the same; requests are counted by the process that
answers them, as Prometheus expects of an instance.
"""

import hmac
import time
from collections.abc import Iterator
from typing import cast

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session
from starlette.types import Scope

from db.errors import Forbidden
from db.models import KernelBuild, Question, Shard
from db.repositories import operations, simulators
from db.session import transaction
from services.api.deps import Resources, WithResources
from services.api.door import is_operator
from services.api.responses import problems

router = APIRouter(tags=["health"])

API_ROOT = "/api/v1"
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# The _created series double the lines, and nothing reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RequestMetrics:
    """Requests this process has answered, by route and status."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count = Counter(
            "refault_requests",
            "Requests answered by this process",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "refault_request_seconds",
            "Time from a request's first byte to its answer's last",
            ("method", "route"),
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.3, 1, 3, 10, 60),
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer; ``route`` is the template, so that ids create no new series.

        HTTP allows arbitrary methods: those that no route has are counted as one.
        """
        method = method if method in _METHODS else "other"
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def route_of(scope: Scope) -> str:
    """The template of a request's route, or one word for all requests without a route."""
    route = scope.get("route")
    if not isinstance(route, APIRoute):
        return "other"
    # The route of an included router has only its own part of the address.
    is_inner = scope["path"].startswith(API_ROOT) and not route.path.startswith(API_ROOT)
    return API_ROOT + route.path if is_inner else route.path


_OPEN: tuple[tuple[str, str, type[Shard | KernelBuild | Question]], ...] = (
    ("refault_shards", "Shards queued (the queue's depth) or running", Shard),
    ("refault_builds", "Builds of kernels queued or running", KernelBuild),
    ("refault_questions", "Questions of runs queued or running", Question),
)


class _FromRows(Collector):
    """The metrics from the database, queried once per scrape."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def collect(self) -> Iterator[Metric]:
        """The metric families."""
        session = self._session
        for name, text, kind in _OPEN:
            found = GaugeMetricFamily(name, text, labels=["state"])
            for state, number in operations.open_by_state(session, kind).items():
                found.add_metric([state], number)
            yield found
        speed = GaugeMetricFamily(
            "refault_replayed_events_per_second",
            "Events replayed per second over the results of the last hour",
            labels=["variant", "variant_digest"],
        )
        for (digest, name), per_second in operations.events_per_second(session).items():
            speed.add_metric([name, digest[:12]], per_second)
        yield speed
        yield GaugeMetricFamily(
            "refault_workers", "Live workers", len(simulators.alive_workers(session))
        )
        deliveries = GaugeMetricFamily(
            "refault_webhook_deliveries", "Messages to webhooks", labels=["state"]
        )
        for state, number in operations.deliveries_by_state(session).items():
            deliveries.add_metric([state], number)
        yield deliveries
        for name, value in operations.tallies(session).items():
            yield CounterMetricFamily(f"refault_{name}", operations.TALLIES[name], value)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text", "content": {"text/plain": {}}},
        **problems(403),
    },
)
def metrics(request: Request, resources: WithResources) -> Response:
    """Get the metrics of the service, as Prometheus text.

    Needs REFAULT_METRICS_TOKEN or an operator's token, and none if
    REFAULT_METRICS_OPEN is set.
    """
    # The peer's address proves nothing: behind a proxy all requests come from this machine.
    is_open = resources.settings.metrics_open or _has_token(request, resources)
    if not (is_open or is_operator(resources.engine, request)):
        raise Forbidden(
            "metrics are for operators: send REFAULT_METRICS_TOKEN as a bearer "
            "token, or set REFAULT_METRICS_OPEN=true where no stranger reaches this address"
        )
    return Response(_text(request, resources), headers={"content-type": CONTENT_TYPE_LATEST})


def _text(request: Request, resources: Resources) -> bytes:
    counted = cast("RequestMetrics", request.app.state.request_metrics)
    registry = CollectorRegistry(auto_describe=False)
    # Totals over all projects: they name no trace and no batch.
    with transaction(resources.engine) as session:
        registry.register(_FromRows(session))
        from_rows = generate_latest(registry)
    return from_rows + generate_latest(counted.registry)


def _has_token(request: Request, resources: Resources) -> bool:
    wanted = resources.settings.metrics_token
    shown = request.headers.get("authorization", "").encode(errors="replace")
    return bool(wanted) and hmac.compare_digest(shown, f"Bearer {wanted}".encode())


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start
