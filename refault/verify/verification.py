"""``verify``: one pass over a trace, and what it says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from refault.documents import Packed
from refault.errors import ReplayCancelled, ReplayRefused, ResultError
from refault.questions import VERIFIER_VERSION
from refault.replay.budget import Budget, machine_bytes
from refault.replay.compile.jit import INTERPRETED
from refault.replay.lowering import known_memory as known
from refault.trace import TraceReader
from refault.trace.format import MAX_VCPUS
from refault.verify import walking
from refault.verify.working_set import Counting, WorkingSet

if TYPE_CHECKING:
    from refault.trace import Block, TraceHeader

#: The share of witnesses that must agree before a trace is called good.
BAR: Final = 0.9999
#: Of a capture's own counts (``recorded``): values of stores that were not those in memory.
UNEXPLAINED: Final = "unexplained_stores"

_ENDS: Final = {
    walking.ABSENT: "an entry is absent",
    walking.RESERVED: "an entry has bit 63 set without EFER.NXE",
    walking.UNKNOWN_TABLE: "a table is not in the trace",
    walking.NONCANONICAL: "the address is not canonical",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Witnesses:
    """Of one class (``read``, ``write``, ``fetch``, ``fault``): how many were asked, and agreed."""

    name: str
    asked: int
    agreed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Disagreement:
    """A witness that the tables of the trace contradict.

    ``seen`` is what the real guest reached, a guest-physical address, or the error code of its
    #PF; ``told`` says what the tables give.
    """

    event_index: int
    vcpu: int
    name: str
    is_user: bool
    gva: int
    seen: int
    told: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON, addresses in hex."""
        return dataclasses.asdict(self) | {"gva": f"{self.gva:#x}", "seen": f"{self.seen:#x}"}

    def to_line(self) -> str:
        """It in one line: ``event 17: read, user 0x401000: the guest reached 0x5000, …``."""
        who = "user" if self.is_user else "kernel"
        saw = "the guest took a #PF of code" if self.name == "fault" else "the guest reached"
        return (
            f"event {self.event_index}: vCPU {self.vcpu}, {self.name}, {who} {self.gva:#x}: "
            f"{saw} {self.seen:#x}; {self.told}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Verification(Packed):
    """What the witnesses of a trace say of its tables.

    ``without_witness`` are accesses whose guest-physical address the capture could not have;
    ``unjudged`` faults that only SMAP, protection keys or reserved bits explain, which no walk of
    tables tells; ``stores_outside`` stores to pages that the trace does not hold.
    ``unexplained_stores`` is the capture's own count of values that differed from memory right
    after the store, None where it did not count. ``first`` are the first disagreements, at most 20.
    ``working_set`` says how much memory the guest touches; None in documents that are older.
    """

    NOUN: ClassVar[str] = "verification"

    trace_digest: str
    event_count: int
    is_truncated: bool
    witnesses: tuple[Witnesses, ...]
    without_witness: int
    unjudged: int
    stores: int
    stores_outside: int
    unexplained_stores: int | None
    first: tuple[Disagreement, ...]
    working_set: WorkingSet | None = None

    @property
    def asked(self) -> int:
        """How many witnesses there were."""
        return sum(each.asked for each in self.witnesses)

    @property
    def agreed(self) -> int:
        """How many of them agree."""
        return sum(each.agreed for each in self.witnesses)

    @property
    def share(self) -> float | None:
        """The share that agrees; None without any witness."""
        return self.agreed / self.asked if self.asked else None

    @property
    def complaint(self) -> str:
        """Why it is not called good, in a sentence without a stop; empty if it is."""
        if self.share is None:
            return "it holds no witness: nothing says what a real guest saw"
        if self.share < BAR:
            return f"{self.share:.4%} of its witnesses agree, under the bar of {BAR:.2%}"
        if self.unexplained_stores:
            return (
                f"{self.unexplained_stores} stores left another value in memory than the capture "
                "recorded"
            )
        return ""

    @property
    def is_good(self) -> bool:
        """Whether its numbers may be trusted."""
        return not self.complaint

    def to_dict(self) -> dict[str, Any]:
        """The document as JSON."""
        return {
            "version": VERIFIER_VERSION,
            "trace_digest": self.trace_digest,
            "event_count": self.event_count,
            "is_truncated": self.is_truncated,
            "is_good": self.is_good,
            "complaint": self.complaint,
            "share": self.share,
            "asked": self.asked,
            "agreed": self.agreed,
            "witnesses": {
                each.name: {"asked": each.asked, "agreed": each.agreed} for each in self.witnesses
            },
            "without_witness": self.without_witness,
            "unjudged": self.unjudged,
            "stores": self.stores,
            "stores_outside": self.stores_outside,
            "unexplained_stores": self.unexplained_stores,
            "first": [each.to_dict() for each in self.first],
            "working_set": self.working_set.to_dict() if self.working_set else None,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The document ``to_dict()`` made; raises ResultError."""
        try:
            return cls(
                **{name: body[name] for name in _PLAIN},
                witnesses=tuple(
                    Witnesses(name, each["asked"], each["agreed"])
                    for name, each in body["witnesses"].items()
                ),
                first=tuple(
                    Disagreement(
                        **{**each, "gva": int(each["gva"], 16), "seen": int(each["seen"], 16)}
                    )
                    for each in body["first"]
                ),
                # Not in documents of version 1.
                working_set=WorkingSet.from_dict(told)
                if (told := body.get("working_set"))
                else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultError(f"{cls.NOUN}: not what it should be: {error!r:.80}") from error


_PLAIN: Final = (
    "trace_digest",
    "event_count",
    "is_truncated",
    "without_witness",
    "unjudged",
    "stores",
    "stores_outside",
    "unexplained_stores",
)


def verify(
    trace: Path | TraceReader,
    *,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    memory_bytes: int | None = None,
) -> Verification:
    """Rebuild the guest's tables from the trace alone, and ask every witness.

    A path is read up to its last whole block. ``progress`` is called with (bytes read, bytes in
    all). Memory is that of the frames' table and of the page tables, at most ``memory_bytes``.

    Raises:
        ReplayRefused: a trace of operations, in which nothing is of a guest.
        ReplayCancelled: ``is_cancelled`` said so.
        TraceError: the trace is damaged.
    """
    if isinstance(trace, Path):
        with TraceReader(trace, allow_truncated=True) as reader:
            return verify(
                reader,
                progress=progress,
                is_cancelled=is_cancelled,
                memory_bytes=memory_bytes,
            )
    checker = _Checker(trace.header, Budget(memory_bytes or machine_bytes()))
    for block in trace.blocks():
        if is_cancelled is not None and is_cancelled():
            raise ReplayCancelled("verification was cancelled")
        checker.take(block)
        if progress is not None:
            progress(trace.read_bytes, trace.size_bytes)
    return checker.verification(trace)


def contradicted(header: TraceHeader, block: Block) -> list[int]:
    """The first events, at most 20, whose witnesses the tables of a capture contradict.

    ``block`` has all of its events.
    """
    checker = _Checker(header, Budget())
    checker.take(block)
    return checker.first_events()


def _words(count: int) -> Any:
    return [0] * count if INTERPRETED else np.zeros(count, np.int64)


class _Checker:
    """The state between two blocks."""

    def __init__(self, header: TraceHeader, budget: Budget) -> None:
        if header.content != "capture":
            raise ReplayRefused(
                f"{header.name}: these are operations as given; nothing in them says what a real "
                "guest saw, so there is nothing to verify"
            )
        self._share = budget.share()
        # No vCPU of it is known: the latest store to each frame is of no interest here.
        self._tables = known.create(header.slots, 0, interpreted=INTERPRETED, ask=self._share.ask)
        self._checked = walking.Checked(
            registers=_words(MAX_VCPUS * walking.REGISTER_WORDS),
            counts=_words(walking.COUNT_WORDS),
            first=_words(walking.FIRST_ROWS * walking.FIRST_WORDS),
            walk=_words(walking.WALK_WORDS),
            page=_words(1),
        )
        self._checked.page[0] = -1
        frames = sum(slot.page_count for slot in header.slots)
        self._touched = Counting(frames, self._share.ask)

    def take(self, block: Block) -> None:
        """The next block of the trace."""
        columns: list[Any] = [block.kind, block.vcpu, block.flags, block.aux, block.a, block.b]
        if INTERPRETED:
            columns = [column.tolist() for column in columns]
        kind, vcpu, flags, aux, a, b = columns
        first, at = block.first_event_index, 0
        while at < block.event_count:
            self._tables = known.reserve(self._tables, self._share.ask)
            self._share.settle((*self._tables, *self._touched.state))
            at = walking.check_events(
                self._tables, self._checked, kind, vcpu, flags, aux, a, b, first, at
            )
        self._touched.take(self._tables, block)

    def first_events(self) -> list[int]:
        """The events of the first disagreements."""
        kept = int(self._checked.counts[walking.KEPT])
        at = (row * walking.FIRST_WORDS + walking.FIRST_EVENT for row in range(kept))
        return [int(self._checked.first[place]) for place in at]

    def verification(self, trace: TraceReader) -> Verification:
        """What was found, once all blocks were taken."""
        counts = [int(word) for word in self._checked.counts]
        recorded = trace.summary.recorded.get(UNEXPLAINED)
        return Verification(
            trace_digest=trace.summary.digest,
            event_count=trace.summary.event_count,
            is_truncated=trace.truncated,
            witnesses=tuple(
                Witnesses(name, counts[of], counts[walking.AGREED + of])
                for of, name in enumerate(walking.CLASSES)
            ),
            without_witness=counts[walking.NO_WITNESS],
            unjudged=counts[walking.UNJUDGED],
            stores=counts[walking.STORES],
            stores_outside=counts[walking.STORES_ASTRAY],
            unexplained_stores=recorded,
            first=tuple(self._disagreement(row) for row in range(counts[walking.KEPT])),
            working_set=self._touched.working_set(),
        )

    def _disagreement(self, row: int) -> Disagreement:
        at = row * walking.FIRST_WORDS
        event, vcpu, of, flags, gva, seen, end, address = (
            int(word) for word in self._checked.first[at : at + walking.FIRST_WORDS]
        )
        mask = (1 << 64) - 1
        told = _ENDS.get(end)
        if told is None:
            told = f"its tables give {address & mask:#x}"
            if of != walking.FAULT and address == seen:
                told += ", which they do not allow"
            elif of == walking.FAULT:
                told += ", and allow it" if seen & 1 else ""
        return Disagreement(
            event_index=event,
            vcpu=vcpu,
            name=walking.CLASSES[of],
            is_user=bool(flags & walking.FLAG_USER),
            gva=gva & mask,
            seen=seen & mask,
            told=told,
        )
