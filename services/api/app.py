"""The application: :func:`create_app` for a server, :func:`create_api` without pages.

::

    Site ──┬── /api/v1, /healthz, /readyz, /metrics ──► create_api()
           └── everything else ───────────────────────► the pages, clients of the API as any other
"""

import functools
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from refault.client.connection import SESSION_COOKIE
from services.api import errors, health, housekeeping, idempotency, metrics
from services.api.audit.endpoints import router as audit
from services.api.batches.endpoints import router as batches
from services.api.blobs.download import router as blob_downloads
from services.api.blobs.endpoints import router as blobs
from services.api.bundles.endpoints import router as bundles
from services.api.comparisons.across_endpoints import router as across
from services.api.comparisons.endpoints import router as comparisons
from services.api.deps import Resources
from services.api.door import Access
from services.api.findings.endpoints import router as findings
from services.api.glossary.endpoints import router as glossary
from services.api.kernels.endpoints import router as kernels
from services.api.limits.endpoints import router as limits
from services.api.needs import ROOT, need_of
from services.api.news.endpoints import router as news
from services.api.notes.endpoints import router as notes
from services.api.oidc.endpoints import router as oidc
from services.api.operations.endpoints import router as operations
from services.api.patch_sets.endpoints import router as patch_sets
from services.api.patches.endpoints import router as patches
from services.api.problems.endpoints import router as problem_types
from services.api.projects.endpoints import router as projects
from services.api.questions.endpoints import router as questions
from services.api.responses import problems
from services.api.retention.endpoints import router as retention
from services.api.runs.endpoints import router as runs
from services.api.schemas import Problem
from services.api.sessions.endpoints import router as sessions
from services.api.settings import Settings
from services.api.shares.endpoints import router as shares
from services.api.site import Site
from services.api.thresholds.endpoints import router as thresholds
from services.api.tokens.endpoints import router as tokens
from services.api.traces.endpoints import router as traces
from services.api.uploads.endpoints import router as uploads
from services.api.users.endpoints import router as users
from services.api.variants.endpoints import router as variants
from services.api.webhooks.endpoints import router as webhooks
from services.api.workers.endpoints import router as workers
from services.shared import tracing

_NOUNS = (
    traces,
    blobs,
    uploads,
    retention,
    blob_downloads,
    patches,
    patch_sets,
    variants,
    kernels,
    batches,
    runs,
    findings,
    questions,
    comparisons,
    across,
    bundles,
    notes,
    thresholds,
    limits,
    news,
    webhooks,
    problem_types,
    glossary,
    sessions,
    oidc,
    projects,
    users,
    tokens,
    shares,
    audit,
    operations,
    workers,
)
# POSTs without Idempotency-Key: their answers hold a secret, which is stored nowhere, not even for
# a replay; or they have no project, to which keys belong.
UNKEYED = (
    # A lost upload is started again: it has no effect before its last byte.
    f"{ROOT}/uploads",
    f"{ROOT}/uploads/{{upload}}",
    # The same file is one bundle, however often it is sent.
    f"{ROOT}/bundles",
    f"{ROOT}/sessions",
    f"{ROOT}/sessions/oidc",
    f"{ROOT}/sessions/oidc/finish",
    f"{ROOT}/tokens",
    f"{ROOT}/webhooks",
    f"{ROOT}/users",
    f"{ROOT}/projects",
    f"{ROOT}/batches/{{batch}}/shares",
)
COLLECT_AFTER = 50_000
"""Allocations minus deallocations before the collector runs on the youngest generation."""
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer"},
    "login": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
}
_DESCRIPTION = (
    "Replays captured guests on a model of KVM's shadow MMU and compares patch series.\n\n"
    "Every error is an RFC 9457 problem (`application/problem+json`); its `type` is an address "
    "that explains it. Lists are paged by `cursor`, newest first.\n\n"
    "Every request needs a token (`Authorization: Bearer rft_...`) or the cookie of a login, and "
    "sees the project it belongs to."
)


def _all_routes() -> APIRouter:
    every = APIRouter()
    for router in _NOUNS:
        every.include_router(router, prefix=ROOT)
    every.include_router(health.router)
    every.include_router(metrics.router)
    return every


# Included once for all applications of a process: what each route takes and gives is worked out at
# the first request, and takes half a second.
_ROUTES = _all_routes()


def create_app(settings: Settings | None = None) -> Site:
    """The whole site; ``settings`` from the environment if left out."""
    settings = settings or Settings()
    api = create_api(settings)
    pages = _load(settings.pages)(api) if settings.pages else None
    # Start-up objects live until the process ends. Scanning them each time, the collector would
    # delay every seventh comparison by a tenth of a second.
    gc.collect()
    gc.freeze()
    # A comparison allocates tens of thousands of objects and no cycle; at the default of 700 the
    # collector takes an eighth of its time.
    gc.set_threshold(COLLECT_AFTER)
    return Site(api, pages)


def create_api(settings: Settings) -> FastAPI:
    """The API alone."""
    api = FastAPI(
        title="refault",
        version=_version(),
        summary="From a captured guest to a verdict on a patch series",
        description=_DESCRIPTION,
        # Served below, from one rendering of it.
        openapi_url=None,
        # Both load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
        routes=_ROUTES.routes,
    )
    api.state.settings = settings
    api.state.resources = Resources.open(settings)
    api.state.request_metrics = metrics.RequestMetrics()
    api.add_middleware(Access, resources=api.state.resources)
    errors.install(api)
    _describe_problems(api)
    _serve_description(api)
    return api


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    resources = cast("Resources", api.state.resources)
    # In each serving process: the sending thread does not survive a fork.
    tracing.start("api", resources.settings.otel_endpoint)
    await anyio.to_thread.run_sync(resources.blobs.sweep_incoming)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(housekeeping.tidy_up_for_ever, resources)
            tasks.start_soon(housekeeping.judge_for_ever, resources)
            yield
            tasks.cancel_scope.cancel()
    finally:
        resources.close()
        await anyio.to_thread.run_sync(tracing.stop)


def _describe_problems(api: FastAPI) -> None:
    """Add the shape of every problem, and the headers of every POST, to the OpenAPI document."""
    made_by_framework = api.openapi
    problems_of_keys = {str(status): entry for status, entry in problems(409, 422).items()}

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is not None:
            return api.openapi_schema
        document = made_by_framework()
        schemas = document["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs", {})
        schemas["Problem"] = problem
        # Validation errors are RFC 9457 problems here, not the framework's own documents.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        document["components"]["securitySchemes"] = _SECURITY
        for path_name, path in document["paths"].items():
            for method, operation in path.items():
                if need_of(method.upper(), path_name) != "nothing":
                    operation["security"] = [{name: []} for name in _SECURITY]
                if method == "post" and path_name not in UNKEYED:
                    operation.setdefault("parameters", []).append(idempotency.PARAMETER)
                    operation["responses"] = problems_of_keys | operation["responses"]
                _answer_with_problem(operation["responses"])
        return document

    api.openapi = openapi  # type: ignore[method-assign]


def _serve_description(api: FastAPI) -> None:
    """Add the address of the OpenAPI document, which is half a megabyte and rendered once."""

    @functools.cache
    def rendered() -> bytes:
        return bytes(JSONResponse(api.openapi()).body)

    async def answer(_request: Request) -> Response:
        body = await anyio.to_thread.run_sync(rendered)
        return Response(body, media_type="application/json")

    api.add_route(f"{ROOT}/openapi.json", answer, include_in_schema=False)


def _answer_with_problem(responses: dict[str, Any]) -> None:
    body = responses.get("422", {}).get("content", {})
    if "HTTPValidationError" in str(body.get("application/json", "")):
        responses["422"] = {
            "description": "Unprocessable Content",
            "content": {errors.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    responses.setdefault(
        "default",
        {
            "description": "Any other error",
            "content": {errors.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    )


def _load(name: str) -> Callable[[ASGIApp], ASGIApp]:
    module, _, function = name.partition(":")
    return cast("Callable[[ASGIApp], ASGIApp]", getattr(import_module(module), function))


def _version() -> str:
    try:
        return version("refault")
    except PackageNotFoundError:
        return "0"
