"""Every request of the API, described without sending it.

``Client`` and ``AsyncClient`` differ only in how they send a :class:`Call`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import quote

from refault.client import answers
from refault.client.documents import (
    BatchDocument,
    BatchSummaryDocument,
    ComparisonPageDocument,
    EstimateDocument,
    HealthDocument,
    MeDocument,
    Page,
    ProblemTypeDocument,
    ReadinessDocument,
    RunDocument,
    SessionDocument,
    ShareDocument,
    TraceDocument,
)
from refault.client.run_documents import RunDetailDocument
from refault.errors import InvalidRequest
from refault.printable import first_unprintable, name_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

AnswerT = TypeVar("AnswerT")

ROOT = "/api/v1"
Plan = Literal["each", "series", "ablation", "matrix"]
#: Which patches of a kernel are built together.
BuildPlan = Literal["series", "ablation", "each"]
ComparisonFormat = Literal["json", "txt", "md", "csv", "svg"]
TableForm = Literal["json", "csv"]


@dataclass(frozen=True)
class Call(Generic[AnswerT]):
    """One request; ``read`` turns its answer into what the caller wants or raises.

    ``shape`` is what that must look like, where a caller far from the service relies on it.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], AnswerT]
    query: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    shape: Any = None


def has_blob(digest: str) -> Call[bool]:
    """Whether the service holds the bytes of that digest."""
    return Call("HEAD", _path("blobs", digest), answers.is_present)


def get_blob(digest: str) -> Call[str]:
    """The bytes of a trace file."""
    return Call("GET", _path("blobs", digest), answers.text)


def trace_course(trace: str, form: TableForm = "csv") -> Call[str]:
    """Make-up and working set of a trace over its guest's time."""
    return Call("GET", f"{_path('traces', trace)}/course.{form}", answers.text)


def get_trace(trace: str) -> Call[TraceDocument]:
    """One trace by id or digest."""
    return Call("GET", _path("traces", trace), answers.document, shape=TraceDocument)


def submit_batch(
    traces: Sequence[str],
    patch_sets: Sequence[str],
    *,
    plan: Plan = "each",
    axes: Mapping[str, Sequence[Any]] | None = None,
    trace_query: Mapping[str, Any] | None = None,
    priority: int | None = None,
    recompute: bool = False,
    audit: str | None = None,
    title: str | None = None,
) -> Call[BatchDocument]:
    """A new batch. Traces by id or digest, or by a query; patch sets by id."""
    body: dict[str, Any] = {
        "traces": list(traces),
        "patch_sets": list(patch_sets),
        "plan": plan,
        "recompute": recompute,
    }
    # Left out where nothing was said: the service has its own defaults.
    told = {
        "axes": axes,
        "trace_query": trace_query,
        "priority": priority,
        "audit": audit,
        "title": title,
    }
    body |= {name: value for name, value in told.items() if value is not None}
    return Call("POST", _path("batches"), answers.document, shape=BatchSummaryDocument, body=body)


def estimate_batch(submission: Call[BatchDocument]) -> Call[EstimateDocument]:
    """The dry run of a submission: what it would come to, and nothing is written."""
    return Call(
        "POST",
        submission.path,
        answers.document,
        shape=EstimateDocument,
        query={"dry_run": "true"},
        body=submission.body,
    )


def get_batch(batch: str) -> Call[BatchDocument]:
    """One batch, by id or code."""
    return Call("GET", _path("batches", batch), answers.document, shape=BatchDocument)


def list_runs(
    batch: str,
    *,
    state: Sequence[str] = (),
    trace: str | None = None,
    variant: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page[RunDocument]]:
    """One page of a batch's runs, by trace and column; trace and variant by digest."""
    query: dict[str, str | int | list[str]] = {
        **_query(trace=trace, variant=variant, limit=limit, cursor=cursor)
    }
    if state:
        query["state"] = list(state)
    return Call(
        "GET",
        _path("batches", batch, "runs"),
        answers.document,
        shape=Page[RunDocument],
        query=query,
    )


def cancel_batch(batch: str) -> Call[BatchDocument]:
    """Ask what has not finished to stop."""
    return Call(
        "POST", _path("batches", batch, "cancel"), answers.document, shape=BatchSummaryDocument
    )


def watch_batch(batch: str, *, last_event_id: str) -> Call[str]:
    """The events of a batch after ``last_event_id`` ("" for all of them)."""
    headers = {"accept": "text/event-stream"}
    if last_event_id:
        headers["last-event-id"] = last_event_id
    return Call("GET", _path("batches", batch, "events"), answers.text, headers=headers)


def get_run(run: str) -> Call[RunDetailDocument]:
    """One run with its result, by id."""
    return Call("GET", _path("runs", run), answers.document, shape=RunDetailDocument)


def list_problems() -> Call[Page[ProblemTypeDocument]]:
    """Every kind of problem."""
    return Call("GET", _path("problems"), answers.document, shape=Page[ProblemTypeDocument])


def get_problem(name: str) -> Call[ProblemTypeDocument]:
    """One kind of problem, by the last part of its ``type``."""
    return Call("GET", _path("problems", name), answers.document, shape=ProblemTypeDocument)


def get_me() -> Call[MeDocument]:
    """Who the caller is to the service."""
    return Call("GET", _path("me"), answers.document, shape=MeDocument)


def log_in(name: str, password: str, *, device: str | None = None) -> Call[SessionDocument]:
    """A login of a person; programs use tokens."""
    body = {"name": name, "password": password} | ({"device": device} if device else {})
    return Call("POST", _path("sessions"), answers.document, shape=SessionDocument, body=body)


def get_oidc() -> Call[dict[str, Any]]:
    """By which issuer people may log in, if by any."""
    return Call("GET", _path("sessions", "oidc"), answers.document)


def begin_oidc(target: str) -> Call[dict[str, Any]]:
    """Begin a login by the issuer."""
    return Call("POST", _path("sessions", "oidc"), answers.document, body={"target": target})


def finish_oidc(secret: str, **answer: str) -> Call[dict[str, Any]]:
    """Finish a login with what the issuer sent a browser back with."""
    body = {"secret": secret, **answer}
    return Call("POST", _path("sessions", "oidc", "finish"), answers.document, body=body)


def log_out() -> Call[None]:
    """Ends the login whose cookie is shown."""
    return Call("DELETE", _path("sessions", "current"), answers.raise_for_problem)


def choose_project(project: str) -> Call[MeDocument]:
    """Looks at another project with the login whose cookie is shown."""
    body = {"project": project}
    return Call("PUT", _path("sessions", "current"), answers.document, shape=MeDocument, body=body)


def share_batch(batch: str, *, lifetime_days: int = 90) -> Call[ShareDocument]:
    """A link by which anybody may read a batch."""
    body = {"lifetime_days": lifetime_days}
    return Call(
        "POST", _path("batches", batch, "shares"), answers.document, shape=ShareDocument, body=body
    )


def comparison_page(
    batch: str,
    *,
    base: int | None = None,
    trace: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    costs: str | None = None,
    columns: str | None = None,
) -> Call[dict[str, Any]]:
    """The verdicts on a batch, and the comparisons of some of its traces, or of one.

    ``base`` is the column the others are held against, ``costs`` the weights of a cost model,
    ``columns`` the indexes of the columns beside the base, such as ``2,5,3``.
    """
    query = _query(base=base, trace=trace, limit=limit, cursor=cursor, costs=costs, columns=columns)
    return Call(
        "GET",
        _path("comparisons", f"{batch}.json"),
        answers.document,
        shape=ComparisonPageDocument,
        query=query,
    )


def compare_columns(
    columns: Sequence[str],
    *,
    base: int | None = None,
    trace: str | None = None,
    cursor: str | None = None,
    costs: str | None = None,
) -> Call[dict[str, Any]]:
    """Columns of any batches (``b-7k3f:2``) against the one at index ``base``."""
    query = _query(base=base, trace=trace, cursor=cursor, costs=costs)
    return ask(
        "GET",
        ("comparisons",),
        query={"column": list(columns), **query},
        shape=ComparisonPageDocument,
    )


def compared_text(
    columns: Sequence[str],
    *,
    base: int | None = None,
    form: ComparisonFormat = "txt",
    trace: str | None = None,
    costs: str | None = None,
) -> Call[str]:
    """The same as text in one of its forms."""
    query = {"column": list(columns), **_query(base=base, trace=trace, costs=costs)}
    return Call("GET", _path(f"comparisons.{form}"), answers.text, query=query)


def comparison_text(
    batch: str,
    *,
    base: int | None = None,
    form: ComparisonFormat = "txt",
    trace: str | None = None,
    theme: str | None = None,
    cursor: str | None = None,
    columns: str | None = None,
    costs: str | None = None,
) -> Call[str]:
    """The comparison of a batch as text in one of its forms; only JSON has pages."""
    return Call(
        "GET",
        _path("comparisons", f"{batch}.{form}"),
        answers.text,
        query=_query(
            base=base, trace=trace, theme=theme, cursor=cursor, columns=columns, costs=costs
        ),
    )


def ask(
    method: str,
    path: tuple[str, ...],
    *,
    query: Mapping[str, str | int | list[str] | None] | None = None,
    body: Mapping[str, Any] | None = None,
    content: bytes | None = None,
    shape: Any = None,
) -> Call[Any]:
    """A request answered by a document; a None of the query is left out."""
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    return Call(method, _path(*path), answers.document, asked, body, content, shape=shape)


def done(
    method: str,
    path: tuple[str, ...],
    *,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Call[None]:
    """A request answered by nothing but that it was done."""
    return Call(method, _path(*path), answers.raise_for_problem, body=body, headers=headers or {})


def metrics() -> Call[str]:
    """The figures of the service in Prometheus' text form."""
    return Call("GET", "/metrics", answers.text)


def is_alive() -> Call[HealthDocument]:
    """Whether the process answers at all."""
    return Call("GET", "/healthz", answers.document, shape=HealthDocument)


def is_ready() -> Call[ReadinessDocument]:
    """Which parts of the service can be reached; a missing one is in the document, no refusal."""
    return Call("GET", "/readyz", answers.readiness)


def _path(*segments: str) -> str:
    # A caller's word may hold "/" or "..": quoted, it stays one segment.
    return "/".join((ROOT, *(quote(_sendable(segment), safe="") for segment in segments)))


def _sendable(word: str) -> str:
    """The word, ``InvalidRequest`` if it is nothing's name: it holds what no name holds."""
    place = first_unprintable(word)
    if place is not None:
        message = f"{printable(word)}: nothing has a name with {name_of(word[place])} in it"
        raise InvalidRequest(message)
    return word


def _query(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}
