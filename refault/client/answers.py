"""What an HTTP answer means: a document, or an exception of ``refault.errors``."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from refault.errors import Refused, Unavailable

if TYPE_CHECKING:
    import httpx

_PROBLEM = "application/problem+json"
_GATEWAY_STATUSES = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


def raise_for_problem(response: httpx.Response) -> None:
    """Raise what a refusal says; ``response`` has been read whole.

    ``Refused`` carries the problem; a gateway's own 502, 503 or 504 (no
    problem document: nothing of ours answered) is ``Unavailable``.
    """
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    problem = _problem(response)
    if problem is None:
        url = response.request.url
        said = f"{response.status_code} {response.reason_phrase}".strip()
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
        return response.json()
    except ValueError as error:
        message = f"{response.request.url} did not answer with JSON; is a refault service there?"
        raise Refused(message, status=response.status_code, problem={}) from error


def readiness(response: httpx.Response) -> Any:
    """What ``/readyz`` says: its 503 is an answer as good as its 200, unless it is a gateway's."""
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE and _json(response) is not None:
        return response.json()
    return document(response)


def text(response: httpx.Response) -> str:
    """The body of a good answer, as text."""
    raise_for_problem(response)
    return response.text


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
        "is it running there? (`make serve` starts one)"
    )


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
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _sentence(problem: dict[str, object]) -> str:
    """The detail of a problem, then one line for each of its errors that says more."""
    detail = str(problem.get("detail") or problem.get("title") or "refused without a reason")
    lines = [detail]
    errors = problem.get("errors")
    entries = (
        [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    )
    lines.extend(
        f"  {entry.get('pointer', '')}: {entry.get('detail', '')}"
        for entry in entries
        if str(entry.get("detail", "")) not in detail
    )
    return "\n".join(lines)
