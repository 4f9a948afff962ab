"""What can be asked of a trace, alone or under a variant or two: plain data, with a key.

::

    Question ── to_dict() ──► plain dict (JSON) ── from_dict() ──► Question
        └── key(trace, columns) ──► the DocumentKey of its answer: equal keys, equal bytes

    audit        which invariants broke                   Level         refault.engines.audit
    divergence   where two variants differ first          Between       refault.diverge
    inspection   the MMU at one operation, and its past   Where         refault.inspect
    verification whether the trace itself is true         Itself        refault.verify
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from refault.audits import Level
from refault.documents import DocumentKey
from refault.errors import InvalidParameter

OUTCOME, PAGES = "outcome", "pages"

_COUNTER = re.compile(r"[a-z0-9_]{1,48}")
_ADDRESSES = ("until_change", "gva", "gfn")
_LARGEST = {
    "event": 1 << 62,
    "operation": 1 << 62,
    "back": 1 << 62,
    "until_change": 1 << 64,
    "gva": 1 << 64,
    "gfn": 1 << 52,
    "page": 1 << 32,
    "vcpu": 1 << 16,
}
_VIEWS = ("gva", "gfn", "page")
_HAPPENING = re.compile(r"(get|sync|unsync|zap) gfn (0x[0-9a-f]{1,13}|[0-9]{1,16})")


@dataclasses.dataclass(frozen=True, slots=True)
class Between:
    """What two variants are compared on: ``outcome``, ``pages`` or the name of a counter.

    ``wants_next`` also asks for the first later difference that is not a consequence of the first.

    Raises:
        InvalidParameter: ``on`` cannot be the name of a counter.
    """

    on: str = OUTCOME
    wants_next: bool = False

    def __post_init__(self) -> None:
        if not _COUNTER.fullmatch(self.on):
            raise InvalidParameter(
                f"on {self.on!r}: expected {OUTCOME}, {PAGES}, or the name of a counter"
            )

    @property
    def word(self) -> str:
        """It in one word, as in the key of its document."""
        return f"{self.on}{'-next' * self.wants_next}"


class Happening(NamedTuple):
    """A tracepoint of a table's pages: ``get``, ``sync``, ``unsync`` or ``zap``, and the table."""

    name: str
    gfn: int


@dataclasses.dataclass(frozen=True, slots=True)
class Where:
    """Where (the end, unless ``event`` or ``operation``, and ``back`` operations before), and what.

    ``until_change`` goes back from there to right after the latest operation that changed an entry
    of either walk of that address. ``until`` does so to the latest tracepoint of a table, as
    ``zap gfn 0x105``; with ``forward`` to the next one, from the beginning unless told otherwise.
    What is shown is an address, a table, a shadow page by its number, or all.

    Raises:
        InvalidParameter: a number is out of range, ``until`` names no tracepoint, or two places or
            two views are asked for.
    """

    event: int | None = None
    operation: int | None = None
    back: int = 0
    until_change: int | None = None
    until: str | None = None
    forward: bool = False
    gva: int | None = None
    gfn: int | None = None
    page: int | None = None
    vcpu: int | None = None

    def __post_init__(self) -> None:
        for name, end in _LARGEST.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value < end:
                raise InvalidParameter(f"{name}: expected 0 to {end - 1:#x}, got {value}")
        if self.event is not None and self.operation is not None:
            raise InvalidParameter("event and operation are two places; keep one of them")
        views = [name for name in _VIEWS if getattr(self, name) is not None]
        if len(views) > 1:
            raise InvalidParameter(f"{' and '.join(views)} are two views; keep one of them")
        if self.until is not None and self.until_change is not None:
            raise InvalidParameter("until and until_change are two places; keep one of them")
        if self.forward and self.until is None:
            raise InvalidParameter("forward: for until only")
        # Raises where it names none.
        _ = self.happening

    @property
    def happening(self) -> Happening | None:
        """What ``until`` waits for."""
        if self.until is None:
            return None
        found = _HAPPENING.fullmatch(self.until)
        if found is None:
            raise InvalidParameter(
                f"until {self.until[:60]!r}: expected get, sync, unsync or zap and a table, such "
                "as zap gfn 0x105"
            )
        gfn = int(found[2], 0 if "x" in found[2] else 10)
        if gfn >= _LARGEST["gfn"]:
            raise InvalidParameter(f"until: there is no table {found[2]}")
        return Happening(found[1], gfn)

    @property
    def word(self) -> str:
        """It in one word, as in the key of its document."""
        given = dataclasses.asdict(self)
        told = [f"{name}={value}" for name, value in given.items() if value]
        # 0 is a place, a frame and a vCPU, but no way back.
        told += [f"{name}=0" for name in _LARGEST if given[name] == 0 and name != "back"]
        return ",".join(sorted(told)).replace(" ", "-") or "end"


#: Of a verification: raised when the same trace may be told something else.
VERIFIER_VERSION = 2
_NO_VARIANT = "0" * 64


@dataclasses.dataclass(frozen=True, slots=True)
class Itself:
    """The trace is asked about itself: no variant, and nothing to choose."""

    @property
    def word(self) -> str:
        """It in one word, as in the key of its document."""
        return "witnesses"


class Column(NamedTuple):
    """One variant, and the engine's version that runs it."""

    variant_digest: str
    simulator_digest: str


Options = Level | Between | Where | Itself
_KINDS: dict[str, tuple[type[Any], int]] = {
    "audit": (Level, 1),
    "divergence": (Between, 2),
    "inspection": (Where, 1),
    "verification": (Itself, 0),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question, whatever it is asked of; its kind is that of its options."""

    options: Options

    @property
    def kind(self) -> str:
        """``audit``, ``divergence``, ``inspection`` or ``verification``."""
        return next(name for name, (kind, _) in _KINDS.items() if isinstance(self.options, kind))

    @property
    def variant_count(self) -> int:
        """Of how many variants it is asked."""
        return _KINDS[self.kind][1]

    def key(self, trace_digest: str, columns: Sequence[Column]) -> DocumentKey:
        """The key of the answer.

        Raises:
            InvalidParameter: it is asked of another number of variants.
        """
        if len(columns) != self.variant_count:
            raise InvalidParameter(
                f"{self.kind}: expected {self.variant_count} variants, got {len(columns)}"
            )
        if not columns:
            verifier = hashlib.sha256(f"verifier {VERIFIER_VERSION}\n".encode()).hexdigest()
            columns = [Column(_NO_VARIANT, verifier)]
        first, *others = columns
        more = (f"{other.variant_digest}-{other.simulator_digest}" for other in others)
        level = "-".join((self.options.word, *more))
        return DocumentKey(self.kind, level, trace_digest, *first)

    def to_dict(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"kind": self.kind, "options": dataclasses.asdict(self.options)}

    def to_request(self) -> dict[str, Any]:
        """Its options as a request of the API has them: addresses are text, nothing is empty."""
        options = self.options
        if isinstance(options, Level):
            drawn = {"every": options.every, "seed": options.seed}
            return {"level": options.name} | (drawn if options.name == "sampled" else {})
        if isinstance(options, Between):
            return {"on": options.on, "next": options.wants_next}
        if isinstance(options, Itself):
            return {}
        given = {
            name: value for name, value in dataclasses.asdict(options).items() if value is not None
        }
        if not given["forward"]:
            del given["forward"]
        return given | {name: f"{given[name]:#x}" for name in _ADDRESSES if name in given}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The question ``to_dict()`` made; raises InvalidParameter."""
        kind = body.get("kind")
        if kind not in _KINDS:
            raise InvalidParameter(f"kind {kind!r}: expected one of {', '.join(_KINDS)}")
        try:
            return cls(_KINDS[kind][0](**body["options"]))
        except (KeyError, TypeError) as error:
            raise InvalidParameter(f"{kind}: not its options: {error}") from error
