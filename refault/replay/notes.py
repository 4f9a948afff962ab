"""What a run has shown so far: outcomes, findings, tallies. Every engine's host keeps one.

The loop fills ``log``, and :meth:`Notes.take` empties it after each call of the loop.
"""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.errors import ResultError, SimulatorCrashed, SnapshotRefused
from refault.replay import operations as op
from refault.replay import records as rec
from refault.replay.compile.jit import INTERPRETED
from refault.replay.findings import FindingLog
from refault.replay.lowering.rows import ROWS
from refault.replay.outcomes import DigestState, OutcomeDigest
from refault.results import ANSWERS, LOGS, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: What a defect in pure computation raises. Running out of memory, threads, files or stack is the
#: machine's fault, and is raised as it is.
DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
CRASH_LINES = 12


class Notes:
    """The notes of one run. ``counter_count`` numbers are kept after operations, if not 0.

    With ``record_all`` every outcome is kept, and with ``keep_raw`` the records themselves.
    ``tell_livelock`` as in :class:`FindingLog`.
    """

    def __init__(
        self,
        tell_livelock: Callable[[int], str],
        *,
        record_all: bool = False,
        counter_count: int = 0,
    ) -> None:
        self.log = rec.new_log(ROWS, interpreted=INTERPRETED, counter_count=counter_count)
        self.log.state[rec.RECORD_ALL] = int(record_all)
        self.findings = FindingLog(tell_livelock)
        if record_all:
            self.findings.keep_raw()
        self.outcomes = OutcomeDigest()

    def take(self, ops: op.Operations) -> None:
        """Process the records of the rows just executed."""
        self.findings.take(self.log, ops, self.outcomes)

    def tally(self, cls: int) -> list[int]:
        """The eight numbers of a witness class: as witnessed, then each kind of deviation."""
        place = rec.TALLY + cls * rec.TALLY_WORDS
        return [int(word) for word in self.log.state[place : place + rec.TALLY_WORDS]]

    def semantics(self) -> dict[str, int]:
        """How often the guest saw what the real one saw (:data:`refault.results.SEMANTICS`)."""
        witnessed = np.sum([self.tally(cls) for cls in range(op.WITNESS_UNSEEN)], axis=0)
        unseen = self.tally(op.WITNESS_UNSEEN)
        columns = int(rec.STALE)
        return {
            "accesses": int(witnessed[:columns].sum()) + sum(unseen[:columns]),
            "witnessed": int(witnessed[:columns].sum()),
            "wrong_address": int(witnessed[rec.WRONG_ADDRESS]),
            "missed_fault": int(witnessed[rec.MISSED_FAULT]),
            "spurious_fault": int(witnessed[rec.SPURIOUS_FAULT]),
            "wrong_error_code": int(witnessed[rec.WRONG_CODE]),
            "other": int(witnessed[rec.OTHER]),
            "stale": int(witnessed[rec.STALE]),
        }

    def answers(self) -> dict[str, int]:
        """What operations other than accesses answered (:data:`refault.results.ANSWERS`)."""
        words = self.log.state[rec.ANSWERS : rec.ANSWERS + rec.ANSWER_COUNT]
        return {name: int(word) for name, word in zip(ANSWERS, words, strict=True)}

    def logs(self) -> dict[str, int]:
        """What dirty logs held that were read (:data:`refault.results.LOGS`); empty if none was."""
        places = (rec.LOG_READS, rec.LOG_PAGES, rec.LOG_WRITTEN, rec.LOG_LOST)
        numbers = [int(self.log.state[place]) for place in places]
        return dict(zip(LOGS, numbers, strict=True)) if numbers[0] else {}

    def lawful_digest(self) -> str | None:
        """The digest of outcomes but for what a log may hold beyond what was written, or None."""
        return None if self.outcomes.lawful is None else self.outcomes.lawful.hexdigest()

    def skipped(self) -> dict[str, int]:
        """Operations that could not be executed, by reason."""
        words = self.log.state[rec.SKIPPED : rec.SKIPPED + len(rec.SKIP_REASONS)]
        return {
            reason: int(word) for reason, word in zip(rec.SKIP_REASONS, words, strict=True) if word
        }

    def pack(self) -> dict[str, Any]:
        """All of it, for the head of a snapshot."""
        stopped = self.findings.stopped
        return {
            "tally": [int(word) for word in self.log.state[rec.TALLY : rec.SHIFT]],
            "findings": [finding.to_dict() for finding in self.findings.kept],
            "finding_count": self.findings.count,
            "stopped": None if stopped is None else stopped.to_dict(),
            "outcomes": list(self.outcomes.state),
            "lawful": None if self.outcomes.lawful is None else list(self.outcomes.lawful.state),
        }

    def restore(self, head: Mapping[str, Any]) -> None:
        """Restore what ``pack`` gave; raises SnapshotRefused if no run leads there."""
        self.log.state[rec.TALLY : rec.SHIFT] = head["tally"]
        self.outcomes = OutcomeDigest.from_state(DigestState(*head["outcomes"]))
        if head["lawful"] is not None:
            self.outcomes.lawful = OutcomeDigest.from_state(DigestState(*head["lawful"]))
        try:
            kept = [Finding.from_dict(finding) for finding in head["findings"]]
            stopped = None if head["stopped"] is None else Finding.from_dict(head["stopped"])
        except ResultError as error:
            raise SnapshotRefused(f"the snapshot cannot be used: {error}") from error
        self.findings.kept, self.findings.count = kept, head["finding_count"]
        self.findings.stopped = stopped


@contextlib.contextmanager
def simulating() -> Iterator[None]:
    """Turns defects into SimulatorCrashed, here only; no callback of the caller runs inside."""
    try:
        yield
    except DEFECTS as error:
        lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
        raise SimulatorCrashed("\n".join(lines[-CRASH_LINES:])) from error
