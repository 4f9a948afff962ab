"""What an audit found: the specification's invariants, checked while a variant ran.

::

    AuditReport ── to_dict() ──► plain dict (JSON) ── from_dict() ──► AuditReport
        └── to_bytes() ──► canonical msgpack ── sha256 ──► digest

A document beside a result, never part of its bytes: its key (:func:`audit_key`) names trace,
variant, engine and level. Plain data: no numpy, no compiler, no I/O.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from refault.documents import DocumentKey, Packed
from refault.errors import InvalidParameter, ResultError
from refault.results import SHADOW

REPORT_VERSION = 1

#: How closely an audit looks, least first.
LEVELS = ("off", "sampled", "flush", "every")
#: Operations between two samples, unless asked otherwise.
SAMPLE_EVERY = 65_536
SAMPLE_EVERY_MAX = 1 << 40

#: Every check by name: what must hold, as a sentence without its full stop.
CHECKS: dict[str, str] = {
    "F-S1": "the active list, the hash and the links hold the same live shadow pages",
    "F-S2": "one table has at most one valid shadow page in each role",
    "F-S3": "n_alloc - n_free is the number of shadow pages in use",
    "F-S4": "a page's root_count is the number of vCPU roots that name it",
    "F-S5": "a loaded root has the role of its vCPU's registers",
    "F-S6": "a page's back references are exactly the links to it",
    "F-S7": "a link leads to a page one level below, and leaves stand where a leaf may",
    "F-S8": "a link never loses W",
    "F-R1": "a present leaf is listed once in its frame's reverse map, and nothing else is listed",
    "F-R2": "a leaf maps the frame under which it is listed",
    "F-R3": "a page's slot bitmap names every slot it maps",
    "F-R4": "write_count is the number of tables shadowed in a large region, and its cut edges",
    "F-R5": "no writable large leaf covers a shadowed table",
    "F-W1": "nothing can write to a table whose shadow counts as in sync: no leaf, no TLB entry",
    "F-W2": "an out-of-sync page has level 1 and is its table's only shadow",
    "F-W3": "the gauge mmu_unsync is the number of out-of-sync pages",
    "F-W4": "no entry hides from the host what the guest has, and none at all out of sync",
    "F-U1": "every link on the way to an out-of-sync page is marked",
    "F-U2": "unsync_children is the number of marks",
    "F-U3": "a page with marks below it is marked in all its parents",
    "F-U4": "no out-of-sync page is reachable after a root was synced",
    "F-U5": "what a new link makes reachable is what the guest's tables say",
    "F-T1": "a leaf grants no more than the guest's tables",
    "F-T2": "a leaf grants no more than the guest's tables right after a flush",
    "F-T3": "a translation through an out-of-sync page is one the tables gave since the last flush",
    "F-T4": "after INVLPG the leaf of the address is absent or correct",
    "F-T5": "an access comes out as the guest's tables allow since the vCPU's last flush",
    "F-T6": "a TLB entry is one the tables gave since the last flush",
    "F-T6b": "a TLB holds one page size for an address",
    "F-T7": "an access is done after a bounded number of faults",
    "F-T8": "a write to a page of a logged slot is seen by the log",
    "F-H1": "after the host took a frame away no leaf and no live TLB entry reaches it, "
    "nor writes it once the host's page is read-only",
    "F-H2": "a frame the guest touched since it was last asked about is young",
    "F-H3": "the shrinker answers how many objects there are",
    "F-D1": "a dirty log that is read holds every frame written since it was read before",
    "F-D2": "a frame that can be written without an exit stands in its dirty log",
    "F-D3": "a dirty log answers what it holds",
    "F-C1": "lpages is the number of large leaves",
    "F-P1": "a register write is refused exactly where the architecture refuses it",
    "F-P2": "a register write that is accepted takes effect",
    "F-P3": "the entry INVLPG re-reads is the one its address walks to",
    "F-P4": "a store that stays inside one entry drops no table",
}

#: Checks that tell of lost work, and not of a wrong answer or a broken structure.
COST_CHECKS = frozenset({"F-P4"})

#: What is checked of an engine whose host keeps its state to itself.
OUTCOME_CHECKS = frozenset({"F-T5", "F-T7", "F-P1"})
#: Findings that such a run makes itself, and goes on after them.
REPORTED = ("missed-flush", "kernel-warning")

#: What the real kernel of that time did wrong too: by the specification's name, or by the section
#: of it that describes the defect.
EXCEPTIONS: dict[str, str] = {
    "F-X1": "with CR0.WP=0 a supervisor's write opens a read-only user page to user mode, and its "
    "leaf stays writable once WP is set; no dirty log sees that write",
    "F-X2": "a large guest page reached through two entries has one direct page, with the "
    "permissions of whichever came first",
    "F-X3": "a page above the leaves has the permissions of the whole walk, so a read-only path "
    "can use what a writable one built below a table they share",
    "F-X4": "no other vCPU is flushed where a table takes the place of a large leaf, a leaf gets "
    "another frame, or a sync drops leaves",
    "F-X5": "only the vCPU that faulted syncs what was linked again; another one of that root may "
    "use it before",
    "F-X6": "lpages drifts; a 4-byte store to an entry's upper half drops the table; INVLPG, the "
    "dirty log and notifiers have small defects",
    "B1": "the guest's entries are judged level by level as they are read, and not all reserved "
    "bits are known, so a fault may come with another error code, or not at all",
    "B4": "the direct page below a large guest page may be one made for other frames",
    "B8": "a sync rewrites leaves: it keeps some whose guest entry has reserved bits, and forgets "
    "that a frame was accessed",
    "B15": "a register write is checked in another way than by the processor",
    "B16": "a notifier looks for large leaves by the place in the slot, which is wrong where the "
    "slot's first frame is not aligned",
    "D2": "a zap that takes more pages along leaves wrong the budget of pages and what the "
    "shrinker answers",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """How closely an audit looks.

    ``sampled`` checks the state of the host after about every ``every`` operations, at places drawn
    by ``seed``, and at the end. ``flush`` checks it after flush points, root loads and what the
    host does, and every access. ``every`` checks all of it after every operation that left the
    guest, and walks the tables for every access, the witnessed ones too.

    Raises:
        InvalidParameter: there is no such level, or a number is out of range.
    """

    name: str = "flush"
    every: int = SAMPLE_EVERY
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in LEVELS:
            raise InvalidParameter(f"level {self.name!r}: choose one of {', '.join(LEVELS)}")
        if not 1 <= self.every <= SAMPLE_EVERY_MAX:
            raise InvalidParameter(f"every: expected 1 to {SAMPLE_EVERY_MAX}, got {self.every}")
        if not 0 <= self.seed < 1 << 32:
            raise InvalidParameter(f"seed: expected 0 to 4294967295, got {self.seed}")

    @property
    def word(self) -> str:
        """The level in one word, as in the key of its document."""
        return f"sampled-{self.every}-{self.seed}" if self.name == "sampled" else self.name


_WORD_LIMIT = 1 << 64


def _counts(body: object, *names: str, is_optional: bool = False) -> None:
    """Whole numbers of 64 bits, or null where that is allowed; raises ResultError."""
    for name in names:
        value = getattr(body, name)
        if is_optional and value is None:
            continue
        is_int = isinstance(value, int) and not isinstance(value, bool)
        if not (is_int and 0 <= value < _WORD_LIMIT):
            raise ResultError(f"audit.{name}: expected a whole number of 64 bits")


def _texts(body: object, *names: str, is_optional: bool = False) -> None:
    """Texts, or null where that is allowed; raises ResultError."""
    for name in names:
        value = getattr(body, name)
        if not isinstance(value, str) and not (is_optional and value is None):
            raise ResultError(f"audit.{name}: expected a text")


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One operation that led to a finding: which, its event, and what it did, in words."""

    operation_index: int
    event_index: int
    text: str

    def __post_init__(self) -> None:
        _counts(self, "operation_index", "event_index")
        _texts(self, "text")


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """One check that failed, at the first place where it did.

    ``count`` is the number of different places (leaves, pages, addresses) at which it failed.
    ``address`` is what ``address_kind`` says (``gva``, ``gfn``, or nothing). ``got`` and ``want``
    say what is and what should be. ``cause`` are the operations that led to it, oldest first.
    ``exception`` is the name of the specification's known exception (``F-X2``), or None.
    """

    check: str
    event_index: int
    operation_index: int
    operation: str
    vcpu: int | None
    address: int | None
    address_kind: str
    got: str
    want: str
    count: int
    cause: tuple[Step, ...] = ()
    exception: str | None = None

    def __post_init__(self) -> None:
        _counts(self, "event_index", "operation_index", "count")
        _counts(self, "vcpu", "address", is_optional=True)
        _texts(self, "check", "operation", "address_kind", "got", "want")
        _texts(self, "exception", is_optional=True)

    @property
    def title(self) -> str:
        """What should hold."""
        return CHECKS[self.check]

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON; the address in hexadecimal."""
        body = dataclasses.asdict(self)
        body["address"] = None if self.address is None else f"{self.address:#x}"
        body["cause"] = [dataclasses.asdict(step) for step in self.cause]
        return {"title": self.title} | body

    @classmethod
    def from_dict(cls, body: object) -> Self:
        """The finding ``to_dict()`` made; raises ResultError."""
        try:
            fields = dict(body)  # type: ignore[call-overload]
            fields.pop("title", None)
            if not isinstance(fields["check"], str) or fields["check"] not in CHECKS:
                raise ResultError(f"audit: there is no check {fields['check']!r:.40}")
            if fields["address"] is not None:
                fields["address"] = int(fields["address"], 16)
            fields["cause"] = tuple(Step(**step) for step in fields["cause"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise ResultError(f"audit: not a finding of one: {error!r:.200}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class AuditReport(Packed):
    """The audit of one run.

    ``level`` is a word that says how closely it looked: ``flush``, ``sampled-EVERY-SEED``,
    ``every``. ``sweeps`` is how often the whole host was checked, ``accesses`` how many outcomes
    were. ``stopped`` is why the simulated kernel broke before the end, or None. ``unfinished``
    counts sweeps that ended at their bound of steps. ``reported`` is what the program of a kernel
    of the user's own found itself: of each kind the first, in words.
    """

    NOUN: ClassVar[str] = "audit"

    trace_digest: str
    variant_digest: str
    variant_name: str
    simulator_digest: str
    engine: str
    level: str
    operation_count: int
    sweeps: int
    accesses: int
    broken: tuple[Broken, ...]
    stopped: str | None = None
    unfinished: int = 0
    reported: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in self.reported):
            raise ResultError("audit.reported: expected texts")
        names = ("trace_digest", "variant_digest", "variant_name", "simulator_digest")
        _texts(self, *names, "engine", "level")
        _texts(self, "stopped", is_optional=True)
        _counts(self, "operation_count", "sweeps", "accesses", "unfinished")

    @property
    def failed(self) -> dict[str, int]:
        """The checks that failed, each with the number of places, in the order of CHECKS."""
        counts = {each.check: 0 for each in self.broken}
        for each in self.broken:
            counts[each.check] += each.count
        return {name: counts[name] for name in CHECKS if name in counts}

    def has_checked(self, name: str) -> bool:
        """Whether it looked at that check: of another engine than the model at outcomes only."""
        return self.engine == SHADOW or name in OUTCOME_CHECKS

    @property
    def is_sound(self) -> bool:
        """Whether it ran to its end and every failure is a known exception, or costs only time."""
        is_whole = self.stopped is None and not self.reported
        return is_whole and all(
            each.exception is not None or each.check in COST_CHECKS for each in self.broken
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        body = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("broken", "reported")
        }
        # Where there is nothing, a document has the bytes it had before there was anything.
        body |= {"reported": list(self.reported)} if self.reported else {}
        broken = [each.to_dict() for each in self.broken]
        return {"version": REPORT_VERSION} | body | {"broken": broken}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The report ``to_dict()`` made; raises ResultError naming what is wrong."""
        fields = dict(body)
        if fields.pop("version", None) != REPORT_VERSION:
            raise ResultError(f"audit: version {body.get('version')!r} is not {REPORT_VERSION}")
        try:
            fields["broken"] = tuple(Broken.from_dict(each) for each in fields["broken"])
            fields["reported"] = tuple(fields.get("reported", ()))
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ResultError(f"audit: not a report: {error}") from error


def audit_key(report: AuditReport) -> DocumentKey:
    """The key of the document: equal keys name equal bytes."""
    return DocumentKey(
        "audit",
        report.level,
        report.trace_digest,
        report.variant_digest,
        report.simulator_digest,
    )
