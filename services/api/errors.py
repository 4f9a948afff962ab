"""From exceptions to HTTP: one table, and the problem documents made from it.

Problems follow RFC 9457: ``application/problem+json`` with a ``type`` that
is the address of an explanation, a ``request_id`` that is in the log too, and
``errors`` with a JSON pointer for each error in the body.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from db import errors as db_errors
from refault import errors
from services.api import refusals
from services.api.texts import cleaned
from services.shared.limits import TraceTooCostly

MEDIA_TYPE = "application/problem+json"
# Key of the request id in the request's ASGI scope.
REQUEST_ID = "refault.request_id"

# Bounds on ``errors``: a body may have very many errors, each at a deep place.
_PLACES_MAX = 20
_POINTER_LENGTH_MAX = 1000

log = logging.getLogger("refault.api")


@dataclass(frozen=True)
class ProblemType:
    """A kind of problem; ``/problems/{name}`` explains it."""

    name: str
    status: int
    title: str
    remedy: str

    @property
    def uri(self) -> str:
        """The ``type`` of its problems."""
        return f"/problems/{self.name}"


_TRACE_REMEDY = (
    "The detail names the byte of the first error. Nothing was kept. Make the "
    "trace again with `refault import`, or copy it again if the original is good."
)
_CATALOGUE_REMEDY = (
    "GET /api/v1/patches and /api/v1/bases list patches, bases and which exclude each other."
)
_INVALID = ProblemType(
    "invalid-request", 422, "Invalid request",
    "Each entry of `errors` names one place and its error.",
)  # fmt: skip
_DISCONNECTED = ProblemType(
    "disconnected", 400, "The request ended early", "Send it again; nothing was kept."
)
_INTERNAL = ProblemType(
    "internal-error", 500, "The service failed",
    "This is a defect of the service. Report it with the request id; the log has the details.",
)  # fmt: skip

TABLE: Mapping[type[BaseException], ProblemType] = {
    errors.NotATrace: ProblemType("not-a-trace", 422, "Not a refault trace", _TRACE_REMEDY),
    errors.UnsupportedTraceVersion: ProblemType(
        "unsupported-trace-version", 422, "Unsupported trace version",
        "Upgrade the service, or write the trace with a version of refault that it knows.",
    ),
    errors.TraceTruncated: ProblemType(
        "trace-truncated", 422, "The trace is truncated", _TRACE_REMEDY
    ),
    errors.TraceTooLarge: ProblemType(
        "trace-out-of-bounds", 422, "The trace declares a size beyond its bound", _TRACE_REMEDY
    ),
    TraceTooCostly: ProblemType(
        "trace-too-costly", 422, "A replay of the trace exceeds a limit",
        "The detail names the limit. Capture less, or ask a maintainer or the operator "
        "to raise it.",
    ),
    errors.TraceError: ProblemType("trace-corrupt", 422, "The trace is damaged", _TRACE_REMEDY),
    errors.UnknownPatch: ProblemType("unknown-patch", 422, "No such patch", _CATALOGUE_REMEDY),
    errors.UnknownBase: ProblemType("unknown-base", 422, "No such base", _CATALOGUE_REMEDY),
    errors.ContradictingPatches: ProblemType(
        "contradicting-patches", 422, "Conflicting patches",
        "Two patches set the same knob. Keep one of them, or make two patch sets.",
    ),
    errors.MissingRequirement: ProblemType(
        "missing-requirement", 422, "A required patch is missing",
        "Add the required patch before the one that needs it.",
    ),
    errors.CatalogueError: ProblemType(
        "invalid-patch-set", 422, "The patch set resolves to no variant", _CATALOGUE_REMEDY
    ),
    errors.SeriesError: ProblemType(
        "unreadable-series", 422, "Unusable patch series",
        "The detail names each mail and why it was left out. Send an mbox, mails or patch files of "
        "one series, whole; map by hand what is not matched.",
    ),
    errors.EmptyBatch: ProblemType(
        "empty-batch", 422, "The batch is empty",
        "Name at least one trace and one patch set.",
    ),
    errors.DrawingTooLarge: ProblemType(
        "drawing-too-large", 422, "The chart would have too many cells",
        "Draw one trace (`?trace=` and its digest), or compare fewer columns. The other formats of "
        "the comparison (.json .txt .md .csv) have all cells.",
    ),
    refusals.DrawingFailed: ProblemType(
        "drawing-failed", 500, "The chart could not be drawn",
        "The other formats of the comparison (.json .txt .md .csv) have the same numbers.",
    ),
    errors.BundleError: ProblemType(
        "unusable-bundle", 422, "Unusable bundle", "The detail names the bound or the file."
    ),
    errors.ComparisonError: ProblemType(
        "not-comparable", 422, "These runs cannot be compared", "Choose another base column."
    ),
    errors.NotFound: ProblemType(
        "not-found", 404, "Not found", "Check the address or the id."
    ),
    errors.NotATree: ProblemType(
        "not-a-tree", 422, "Not a packed Linux tree",
        "Nothing was kept. Make the archive with `refault kernel pack TREE FILE.tar.xz`.",
    ),
    errors.UnknownKernel: ProblemType(
        "unknown-kernel", 422, "No such kernel",
        "GET /api/v1/kernels lists the project's; POST /api/v1/kernels makes one of a tree.",
    ),
    db_errors.KernelNotBuilt: ProblemType(
        "kernel-not-built", 409, "The kernel is not built with these patches, or not yet",
        "The detail says which. GET /api/v1/kernels/{kernel} shows how far it is; POST "
        "/api/v1/kernels/{kernel}/builds asks for what is missing.",
    ),
    db_errors.Conflict: ProblemType(
        "conflict", 409, "The request conflicts with the resource's state",
        "Get the resource again, then decide.",
    ),
    refusals.VersionMismatch: ProblemType(
        "version-mismatch", 412, "The resource has changed",
        "Get it again and send the change with the new ETag.",
    ),
    db_errors.RequestUnderWay: ProblemType(
        "request-under-way", 409, "The first request with this key is still in progress",
        "Wait, then send the same request with the same Idempotency-Key again.",
    ),
    refusals.KeyReused: ProblemType(
        "key-reused", 422, "The key belongs to another request",
        "An Idempotency-Key names one request for 24 hours. Use a new one.",
    ),
    refusals.Unauthenticated: ProblemType(
        "unauthenticated", 401, "Not authenticated",
        "Send `Authorization: Bearer rft_...` with a token that is neither expired nor revoked, "
        "or log in.",
    ),
    db_errors.Forbidden: ProblemType(
        "forbidden", 403, "Not permitted",
        "Ask a maintainer of the project for a role, or for a token with the scope it needs.",
    ),
    db_errors.QuotaExceeded: ProblemType(
        "quota-exceeded", 507, "The project’s quota is used up",
        "Delete what is no longer needed, or ask an administrator for a larger quota.",
    ),
    refusals.RateLimited: ProblemType(
        "rate-limited", 429, "Too many requests", "Wait for the seconds in Retry-After."
    ),
    db_errors.NoSimulator: ProblemType(
        "no-simulator", 503, "No worker has registered a simulator",
        "Start a worker (`python -m worker`), then send the request again.",
    ),
    refusals.Busy: ProblemType(
        "busy", 503, "Too many at once", "Wait for the seconds in Retry-After."
    ),
    errors.Unavailable: ProblemType(
        "unavailable", 503, "A part of the service is unreachable or busy",
        "Send the request again later; /readyz says which part is missing.",
    ),
    refusals.UploadTooLarge: ProblemType(
        "upload-too-large", 413, "The upload is too large",
        "Capture less, or raise REFAULT_UPLOAD_LIMIT_BYTES on the service.",
    ),
    errors.DigestMismatch: ProblemType(
        "digest-mismatch", 422, "The bytes were damaged in transit",
        "Send them again; nothing was kept. If it happens twice, the file and the digest differ.",
    ),
    refusals.ChecksumMismatch: ProblemType(
        "checksum-mismatch", 460, "A part was damaged in transit",
        "The part was dropped. Ask for the offset (HEAD) and send it again from there.",
    ),
    db_errors.UploadBusy: ProblemType(
        "upload-busy", 423, "Another request is writing to this upload",
        "Wait until that request has ended or timed out, then ask for the offset (HEAD).",
    ),
    db_errors.UploadGone: ProblemType(
        "upload-gone", 410, "The upload cannot be resumed", "The detail says why. Start a new one."
    ),
    refusals.WrongOffset: ProblemType(
        "wrong-offset", 409, "The part begins at the wrong offset",
        "Ask for the offset (HEAD) and send the bytes from there.",
    ),
    refusals.UploadHeaderInvalid: ProblemType(
        "upload-header-invalid", 400, "Invalid header of the upload protocol",
        "The detail names it. https://tus.io/protocols/resumable-upload defines each.",
    ),
    refusals.ProtocolMismatch: ProblemType(
        "protocol-mismatch", 412, "Unsupported version of the upload protocol",
        "Send `Tus-Resumable: 1.0.0`.",
    ),
    refusals.RangeNotSatisfiable: ProblemType(
        "range-not-satisfiable", 416, "The range begins behind the end of the file",
        "Content-Range says how large the file is. One that is whole already needs no more.",
    ),
    db_errors.BlobDamaged: ProblemType(
        "blob-damaged", 500, "A stored trace is damaged",
        "Upload the trace again with PUT /api/v1/blobs/{sha256}, which replaces the file.",
    ),
    errors.InvalidRequest: _INVALID,
    RequestValidationError: _INVALID,
    ClientDisconnect: _DISCONNECTED,
    errors.RefaultError: _INTERNAL,
}  # fmt: skip

# Errors raised by the framework.
_FRAMEWORK: Mapping[int, ProblemType] = {
    400: ProblemType(
        "unreadable-body",
        400,
        "The body cannot be read",
        "Send JSON that is not nested hundreds deep and has no number of thousands of digits.",
    ),
    404: TABLE[errors.NotFound],
    405: ProblemType(
        "method-not-allowed", 405, "Method not allowed", "The Allow header lists the allowed ones."
    ),
    408: ProblemType(
        "upload-stalled",
        408,
        "The body was sent too slowly",
        "Send it again, faster. A resumable upload keeps what was received: ask for the offset.",
    ),
    429: TABLE[refusals.RateLimited],
    413: ProblemType(
        "content-too-large", 413, "The body is too large", "Send less at once, in several requests."
    ),
    415: ProblemType(
        "unsupported-media-type", 415, "Unsupported media type", "Send application/json."
    ),
}

TYPES: Mapping[str, ProblemType] = {
    kind.name: kind for kind in (*TABLE.values(), *_FRAMEWORK.values(), _INTERNAL)
}


class PointedError(Exception):
    """A library error with the places of the request body it is about."""

    def __init__(self, error: errors.RefaultError, pointers: Sequence[str]) -> None:
        self.error = error
        self.pointers = tuple(pointers)
        super().__init__(str(error))


@contextmanager
def pointing_at(*pointers: str) -> Iterator[None]:
    """Errors of the block are about these places (JSON pointers) of the request body."""
    try:
        yield
    except errors.RefaultError as error:
        raise PointedError(error, pointers) from error


def type_of(error: BaseException) -> ProblemType:
    """The nearest entry of the table for an exception."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return _INTERNAL


def problem(
    request: Request,
    kind: ProblemType,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """The answer for one problem; ``members`` are its further fields, None leaves one out."""
    body = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request.scope.get(REQUEST_ID),
        **{name: value for name, value in members.items() if value is not None},
    }
    return JSONResponse(cleaned(body), kind.status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every exception of ``app`` with a problem."""
    app.add_exception_handler(errors.RefaultError, library_error)
    app.add_exception_handler(PointedError, _pointed_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(ClientDisconnect, library_error)
    app.add_exception_handler(Exception, _unforeseen_error)


async def library_error(request: Request, error: Exception) -> Response:
    """The answer to an exception of the library."""
    kind = type_of(error)
    if kind is _INTERNAL:
        return await _unforeseen_error(request, error)
    offset = getattr(error, "offset", None)
    detail = str(error) or kind.title
    return problem(request, kind, detail, headers=_headers(error), offset=offset)


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, refusals.Unauthenticated):
        return {"www-authenticate": 'Bearer realm="refault"'}
    if isinstance(error, refusals.RateLimited | refusals.Busy):
        return {"retry-after": str(error.retry_after_seconds)}
    if isinstance(error, refusals.RangeNotSatisfiable):
        return {"content-range": f"bytes */{error.size_bytes}"}
    return {}


def unprintable(request: Request, parameter: str, wrong: str) -> Response:
    """The answer to unprintable text outside of the body."""
    places = [{"parameter": parameter, "detail": wrong}]
    return problem(request, _INVALID, f"{parameter}: {wrong}", errors=places)


async def _pointed_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PointedError)  # noqa: S101  the type Starlette calls us with
    detail = str(error)
    places = [{"pointer": pointer, "detail": detail} for pointer in error.pointers]
    return problem(request, type_of(error.error), detail, errors=places)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as above
    found = error.errors()
    places = [_place(entry) for entry in found[:_PLACES_MAX]]
    first = places[0]
    where = first.get("pointer") or first.get("parameter") or "the body"
    detail = f"{where}: {first['detail']}"
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    return problem(request, _INVALID, detail, errors=places)


def _place(entry: Mapping[str, Any]) -> dict[str, str]:
    """The place of a validation error: a JSON pointer into the body, or a parameter's name."""
    part, *path = entry["loc"]
    if part != "body":
        return {"parameter": str(path[0]) if path else str(part), "detail": entry["msg"]}
    if entry["type"] == "json_invalid":
        return {
            "pointer": "",
            "detail": f"not JSON at character {path[0]}: {entry['ctx']['error']}",
        }
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    pointer = "".join(f"/{step}" for step in escaped)
    if len(pointer) > _POINTER_LENGTH_MAX:
        pointer = pointer[:_POINTER_LENGTH_MAX] + "…"
    return {"pointer": pointer, "detail": entry["msg"]}


async def _framework_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    status = HTTPStatus(error.status_code)
    fallback = ProblemType(f"http-{status.value}", status.value, status.phrase, status.description)
    kind = _FRAMEWORK.get(error.status_code, fallback)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return problem(request, kind, detail, headers=error.headers)


async def _unforeseen_error(request: Request, error: Exception) -> Response:
    request_id = request.scope.get(REQUEST_ID)
    log.error("request %s failed", request_id, exc_info=error)
    return problem(
        request, _INTERNAL, f"the service failed; its log has the reason under {request_id}"
    )
