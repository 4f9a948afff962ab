"""The endpoints under ``/api/v1/kernels``."""

from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from db.repositories import kernels
from db.repositories.kernels import PATCHES_MAX
from services.api.deps import WithCaller, WithPage, WithResources
from services.api.idempotency import OnceRoute
from services.api.kernels import service
from services.api.kernels.rights import check_on
from services.api.kernels.schemas import BuildPlan, BuildsBody, Kernel, KernelName
from services.api.patch_sets.mails import bounded
from services.api.responses import problems
from services.api.schemas import Digest, Page

router = APIRouter(tags=["kernels"], route_class=OnceRoute)

WhichKernel = Annotated[str, Path(max_length=40, description="Its name or id")]


@router.post(
    "/kernels",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "description": "The mails of a series on the tree, or nothing",
            "content": {
                "application/mbox": {"schema": {"type": "string", "format": "binary"}},
                "text/x-patch": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
    responses={
        200: {"model": Kernel, "description": "This kernel already existed"},
        **problems(403, 404, 409, 413, 422, 507),
    },
)
async def create_kernel(
    request: Request,
    response: Response,
    resources: WithResources,
    *,
    name: Annotated[KernelName, Query(description="Patch sets name it `kernel:NAME`")],
    tree: Annotated[Digest, Query(description="Of a packed tree that was uploaded")],
    sanitize: Annotated[bool, Query(description="Build with AddressSanitizer")] = False,
    plan: Annotated[
        BuildPlan,
        Query(
            description="Which builds: every prefix of the series, all but one of its patches, or "
            "each by itself; always the tree as it is too"
        ),
    ] = "series",
    version: Annotated[
        int | None,
        Query(ge=1, description="Version to read if there are several; default: the newest"),
    ] = None,
) -> Kernel:
    """Make a kernel of an uploaded tree, and of a series on it; workers build it.

    The series is an mbox, mails or patch files, also gzipped. A kernel never changes: the same
    once more is answered with the one that is there, another of the same name is refused.
    """
    check_on(resources)
    data = await bounded(aiter(request.stream()))
    in_mail_slot = partial(anyio.to_thread.run_sync, limiter=resources.mail_slots)
    found = await in_mail_slot(service.read_patches, data, version)
    make = partial(service.make, resources, name, tree, found, sanitize=sanitize, plan=plan)
    kernel, is_new = await anyio.to_thread.run_sync(make)
    response.headers["location"] = f"/api/v1/kernels/{kernel.name}"
    response.status_code = 201 if is_new else 200
    return kernel


@router.get("/kernels", responses=problems(422))
def list_kernels(resources: WithResources, page: WithPage) -> Page[Kernel]:
    """List kernels, newest first; without the logs of their builds."""
    with resources.transaction() as session:
        found = kernels.list_page(session, after=page.cursor, limit=page.limit)
        items = service.documents_of(session, found.rows)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/kernels/{kernel}", responses=problems(404, 422))
def get_kernel(resources: WithResources, response: Response, kernel: WhichKernel) -> Kernel:
    """Get one kernel, with the logs of its builds."""
    response.headers["cache-control"] = "no-store"
    with resources.transaction() as session:
        return service.document_of(session, kernels.get(session, kernel), whole=True)


@router.delete(
    "/kernels/{kernel}",
    status_code=204,
    response_class=Response,
    responses=problems(403, 404, 409, 422),
)
def delete_kernel(resources: WithResources, caller: WithCaller, kernel: WhichKernel) -> Response:
    """Delete a kernel with its builds, and its tree and programs if nothing else has them.

    Whoever made it may, or a maintainer. Results stay with the batches that have them, and so do
    patch sets on it, which nothing resolves any more.
    """
    check_on(resources)
    service.delete(resources, caller, kernel)
    return Response(status_code=204)


@router.get(
    "/kernels/{kernel}/patches/{number}",
    response_class=Response,
    responses={
        200: {"description": "The diff", "content": {"text/plain": {}}},
        **problems(404, 422),
    },
)
def get_kernel_patch(
    resources: WithResources,
    kernel: WhichKernel,
    number: Annotated[int, Path(ge=1, le=PATCHES_MAX, description="From 1")],
) -> Response:
    """Get one patch of a kernel, as a diff."""
    with resources.transaction() as session:
        diff = kernels.diff_of(session, kernels.get(session, kernel), number)
    return Response(diff, media_type="text/plain; charset=utf-8")


@router.post("/kernels/{kernel}/builds", status_code=202, responses=problems(403, 404, 422))
def request_builds(resources: WithResources, kernel: WhichKernel, body: BuildsBody) -> Kernel:
    """Have a kernel built with more choices of its patches, and once more where that failed."""
    check_on(resources)
    wanted = None if body.patches is None else [tuple(numbers) for numbers in body.patches]
    return service.request(resources, kernel, wanted, body.plan)
