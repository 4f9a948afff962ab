"""The JSON documents of the API, as the client hands them out.

Digests are sha256 in lower-case hex, times RFC 3339 in UTC, sizes bytes. A
server may add keys; a reader must not mind.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

from refault.client.question_documents import AuditsDocument

ItemT = TypeVar("ItemT")


class Page(TypedDict, Generic[ItemT]):
    """One page of a list; ``next_cursor`` is None on the last one."""

    items: list[ItemT]
    next_cursor: str | None


class TraceDocument(TypedDict):
    """One stored trace."""

    id: str
    digest: str
    name: str
    content: str
    guest_mode: str
    vcpu_count: int
    size_bytes: int
    event_count: int
    instruction_count: int
    events_by_kind: dict[str, int]
    truncated: bool
    tags: list[str]
    note: str
    guest: dict[str, str]
    statistics: dict[str, Any]
    created_at: str
    updated_at: str
    estimated_variant_seconds: NotRequired[float | None]
    header: NotRequired[dict[str, Any]]


class ParametersDocument(TypedDict, total=False):
    """What belongs to the variant besides its patches."""

    page_limit: Any
    bypass: int | None
    host_page_level: int
    tlb: int
    tdp: int


class VariantDocument(TypedDict):
    """What a patch set resolves to; ``golden_name`` None means no real-code result exists.

    ``text`` is what ``refault.catalogue.patch_set_from_text`` reads as this machine.
    """

    digest: str
    name: str
    engine: str
    golden_name: str | None
    text: str


class PatchSetDocument(TypedDict):
    """An ordered list of patches on a base."""

    id: str
    name: str
    base: str
    patches: list[str]
    parameters: ParametersDocument
    variant: VariantDocument
    series: NotRequired[str | None]
    version: NotRequired[int | None]
    siblings: NotRequired[list[dict[str, Any]]]
    created_at: str


class ProgressDocument(TypedDict):
    """How many runs of a batch have come to what; ``finished`` ones will not change.

    ``cached`` are those of the done ones whose result was known already. The
    event counts cover what had to be replayed and stand in single batches only.
    """

    total: int
    done: int
    cached: int
    failed: int
    cancelled: int
    finished: int
    events_done: NotRequired[int | None]
    events_total: NotRequired[int | None]


class TraceReferenceDocument(TypedDict):
    """A trace as a batch names it."""

    id: str
    digest: str
    name: str


class PatchSetReferenceDocument(TypedDict):
    """A patch set as a batch names it."""

    id: str
    name: str
    base: str
    patches: list[str]


class ColumnDocument(TypedDict):
    """One column of a batch: a patch set, or the first ``prefix_length`` patches of one."""

    label: str
    patch_set_id: str
    prefix_length: int | None
    variant: VariantDocument


class RunDocument(TypedDict):
    """One trace under one variant; ``result`` only when fetched by itself."""

    id: str
    batch_id: str
    trace_id: str
    trace_digest: str
    variant: VariantDocument
    state: str
    error: str | None
    created_at: str
    finished_at: str | None
    result: NotRequired[dict[str, Any] | None]
    result_digest: NotRequired[str | None]
    integrity_alarm: NotRequired[dict[str, Any] | None]


class BatchSummaryDocument(TypedDict):
    """A batch as lists have it: the first five traces and patch sets, and no columns."""

    id: str
    code: str
    title: NotRequired[str]
    state: str
    plan: str
    recompute: bool
    priority: int
    created_at: str
    finished_at: str | None
    simulator_digest: str
    simulators: dict[str, str]
    is_stale: bool
    integrity_alarms: int
    trace_count: int
    column_count: int
    patch_set_count: int
    traces: list[TraceReferenceDocument]
    patch_sets: list[PatchSetReferenceDocument]
    progress: ProgressDocument
    links: dict[str, str]
    notice: NotRequired[str | None]
    submitted_by: NotRequired[str | None]
    verdict: NotRequired[dict[str, Any] | None]
    pace: NotRequired[dict[str, float | None] | None]


class BatchDocument(BatchSummaryDocument):
    """Traces × patch sets, all of them; ``notice`` says what is odd."""

    columns: list[ColumnDocument]
    refused: list[dict[str, str]]
    retryable_count: int
    audits: NotRequired[AuditsDocument | None]


class ComparisonPageDocument(TypedDict):
    """What is relied on in a page of a comparison."""

    comparisons: list[dict[str, Any]]
    next_cursor: str | None


class EstimateDocument(TypedDict):
    """What a batch would come to; ``seconds`` None where nothing is known or nobody works."""

    dry_run: bool
    traces: int
    columns: list[str]
    refused: list[dict[str, Any]]
    cells: int
    cached: int
    to_run: int
    shards: int
    events_to_replay: int
    work: int
    memory_bytes: int
    bytes_to_read: int
    workers: int
    queued_ahead: int
    seconds: float | None
    basis: str
    simulator_digest: str
    simulators: dict[str, str]


class ProblemTypeDocument(TypedDict):
    """A kind of problem, and what to do about it."""

    name: str
    uri: str
    status: int
    title: str
    remedy: str


class HealthDocument(TypedDict):
    """The process answers."""

    status: str


class ReadinessDocument(TypedDict):
    """Each part the service needs: its ``state``, and if that is not ``ok`` detail and remedy."""

    status: str
    parts: dict[str, dict[str, str | None]]
    worker_count: int


class ProjectChoiceDocument(TypedDict):
    """A project somebody may look at, and their role in it."""

    name: str
    role: str


class MeDocument(TypedDict):
    """What the caller is to the service; ``kind`` is ``token``, ``session`` or ``link``."""

    id: str
    kind: str
    name: str
    user: str | None
    is_admin: bool
    project: str | None
    role: str | None
    scopes: list[str]
    projects: list[ProjectChoiceDocument]
    batch: str | None
    form_key: str | None


class SessionDocument(TypedDict):
    """A login; ``secret`` is the value of its cookie, ``device`` is for the next login."""

    secret: str
    device: str | None
    user: str
    expires_at: str


class ShareDocument(TypedDict):
    """A link to one batch; ``path`` is its address on the service, answered this once."""

    id: str
    batch: str
    made_by: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    is_open: bool
    path: str


class KernelPatchDocument(TypedDict):
    """One patch of a kernel; patch sets on it name it by its number, counted from 1."""

    number: int
    title: str
    author: str
    files: list[str]


class KernelBuildDocument(TypedDict):
    """A kernel with some of its patches; ``log`` only when the kernel is fetched by itself.

    ``state`` is ``queued``, ``running``, ``built``, ``refused`` (these patches make no kernel:
    ``refusal`` says why) or ``failed`` (``error`` says how). ``text`` is what
    ``refault replay -v`` takes where the same was built.
    """

    id: str
    patches: list[int]
    name: str
    state: str
    digest: str | None
    variant: str | None
    text: str | None
    compiler: str | None
    changes_nothing: bool | None
    check: str | None
    missing: list[str] | None
    program_bytes: int | None
    refusal: str | None
    error: str | None
    units_done: int
    units_total: int
    attempt: int
    worker: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    log: NotRequired[str | None]


class KernelDocument(TypedDict):
    """A tree of somebody's own and the patches of one series on it; ``base`` names it.

    ``seconds`` is a worker's time for the builds that are open; None where that is not known.
    """

    id: str
    name: str
    base: str
    release: str
    tree: str
    tree_bytes: int
    sanitize: bool
    state: str
    patches: list[KernelPatchDocument]
    builds: list[KernelBuildDocument]
    made_by: str | None
    created_at: str
    seconds: NotRequired[float | None]


class BatchEvent(NamedTuple):
    """One server-sent event of a batch: ``step``, ``progress``, and ``finished`` as the last.

    ``id`` is where to resume: that of the last step seen.
    """

    id: str
    event: str
    data: dict[str, Any]


class Upload(NamedTuple):
    """What became of an upload; ``was_present`` when the service had the trace already."""

    trace: TraceDocument
    was_present: bool


class KernelPush(NamedTuple):
    """What became of a kernel that was pushed; ``was_present``: the service had its tree."""

    kernel: KernelDocument
    was_present: bool
