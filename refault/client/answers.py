"""What an HTTP answer means: a document, or an exception of ``refault.errors``."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from refault.client import shapes
from refault.errors import InvalidRequest, Refused, Unavailable
from refault.printable import printable

if TYPE_CHECKING:
    from typing import NoReturn

# The longest answer that is held in memory: far more than any document of the service has.
MAX_ANSWER_BYTES = 128 << 20
_PROBLEM = "application/problem+json"
_LOCATION_LENGTH = 200
_GATEWAY_STATUSES = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


def raise_for_problem(response: httpx.Response) -> None:
    """Raise what a refusal says; ``response`` has been read whole.

    ``Refused`` carries the problem; a gateway's own 502, 503 or 504 (no
    problem document: nothing of ours answered) is ``Unavailable``. A redirect
    is refused: the token is not for whoever is named there.
    """
    if response.status_code < HTTPStatus.MULTIPLE_CHOICES:
        return
    if response.status_code < HTTPStatus.BAD_REQUEST:
        target = printable(response.headers.get("location", "nowhere"))[:_LOCATION_LENGTH]
        message = (
            f"{response.request.url} answered {response.status_code} and sends on to {target}; "
            "redirects are not followed: give the address of the service itself"
        )
        raise Refused(message, status=response.status_code, problem={})
    problem = _problem(response)
    if problem is None:
        url = response.request.url
        said = f"{response.status_code} {printable(response.reason_phrase)}".strip()
        if response.status_code in _GATEWAY_STATUSES:
            message = f"{url} answered {said}: the service behind it is down; try again later"
            raise Unavailable(message)
        message = f"{url} answered {said}, but not as a refault service does; check the address"
        raise Refused(message, status=response.status_code, problem={})
    raise Refused(_sentence(problem), status=response.status_code, problem=problem)


def document(response: httpx.Response) -> Any:
    """The JSON body of a good answer."""
    raise_for_problem(response)
    try:
        return response.json(parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise not_ours(response, "did not answer with JSON") from error


def shaped(response: httpx.Response, shape: Any) -> Any:
    """The JSON body of a good answer, ``Refused`` if it has another shape."""
    return fitting(response, document(response), shape)


def fitting(response: httpx.Response, body: Any, shape: Any) -> Any:
    """The body of an answer, ``Refused`` if it has another shape than this one."""
    wrong = None if shape is None else shapes.misfit(body, shape)
    if wrong is not None:
        raise not_ours(response, f"answered what cannot be used: {printable(wrong)}")
    return body


def not_ours(response: httpx.Response, what: str) -> Refused:
    """The exception for an answer that no refault service gives."""
    message = f"{response.request.url} {what}; is a refault service of this version there?"
    return Refused(message, status=response.status_code, problem={})


def check_length(response: httpx.Response, body: bytearray) -> None:
    """``Refused`` for an answer longer than may be held in memory."""
    if len(body) > MAX_ANSWER_BYTES:
        raise not_ours(response, f"answered more than {MAX_ANSWER_BYTES >> 20} MiB")


def with_body(response: httpx.Response, body: bytearray) -> httpx.Response:
    """The answer with its whole body; ``Refused`` if that is compressed, which nobody asked for."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise not_ours(response, "answered in an encoding that was not asked for")
    kept = {"content-length", "transfer-encoding"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in kept]
    return httpx.Response(
        response.status_code,
        headers=headers,
        content=bytes(body),
        request=response.request,
        extensions=response.extensions,
    )


def _not_json(word: str) -> NoReturn:
    raise ValueError(word)


def readiness(response: httpx.Response) -> Any:
    """What ``/readyz`` says: its 503 is an answer as good as its 200, unless it is a gateway's."""
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        body = _json(response)
        if body is not None:
            return body
    return document(response)


def text(response: httpx.Response) -> str:
    """The body of a good answer, as text."""
    raise_for_problem(response)
    # Not by the charset of its header, which may name any codec there is.
    return response.content.decode("utf-8", "replace")


def is_present(response: httpx.Response) -> bool:
    """Whether a HEAD found its resource. Any refusal other than 404 is raised."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        return False
    raise_for_problem(response)
    return True


def unreachable(error: httpx.TransportError, base_url: object) -> Unavailable:
    """The exception for a request that got no answer."""
    reason = str(error) or type(error).__name__
    return Unavailable(
        f"cannot reach the service at {base_url}: {reason}; "
        "is it running there? (`make serve` starts one, which commands find in its own folder)"
    )


def unsendable(error: UnicodeEncodeError) -> InvalidRequest:
    """The exception for a text that no request can carry."""
    text = printable(str(error.object[error.start : error.end]))
    return InvalidRequest(f"what is to be sent holds {text}, half a character: no request has that")


def unaddressable(error: httpx.InvalidURL) -> InvalidRequest:
    """The exception for a request whose address would be too long, as one with a long note."""
    return InvalidRequest(f"no address holds what is to be sent ({error}): shorten the note")


def _problem(response: httpx.Response) -> dict[str, object] | None:
    return _json(response, _PROBLEM)


def _json(
    response: httpx.Response, media_type: str = "application/json"
) -> dict[str, object] | None:
    """The JSON object of an answer of that type, None if it is anything else."""
    if response.headers.get("content-type", "").partition(";")[0].strip() != media_type:
        return None
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _sentence(problem: dict[str, object]) -> str:
    """The detail of a problem, then one line for each of its errors that says more."""
    told = problem.get("detail") or problem.get("title") or "refused without a reason"
    detail = printable(str(told))
    lines = [detail]
    errors = problem.get("errors")
    entries = (
        [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    )
    lines.extend(
        printable(f"  {entry.get('pointer', '')}: {entry.get('detail', '')}")
        for entry in entries
        if str(entry.get("detail", "")) not in detail
    )
    return "\n".join(lines)
