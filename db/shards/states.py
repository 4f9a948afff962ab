"""The states of a shard, and every step from one to the next.

::

             plan
               │
               ▼        CLAIM                    RECORD
            queued ────────────────────────► running ───────► done
               │ ▲  ▲                         │  │  │          ▲
               │ │  └──────── REQUEUE ────────┘  │  └─ FAIL ─► failed
               │ │                               │             │
               │ └─ REOPEN, of done, failed or cancelled       │
               │                                 │             │
               ├──────────── FIND ───────────────┼─────────► done
               └──────────── CANCEL ─────────────┴─────────► cancelled

A step says which columns the new state leaves empty, so that nobody has to remember them, and
whether it is a new attempt: whoever held the one before then finds its fence closed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from db.models import Shard

QUEUED: Final = "queued"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

OPEN: Final = (QUEUED, RUNNING)
ENDED: Final = (DONE, FAILED, CANCELLED)

_EMPTY: Final[dict[str, dict[str, Any]]] = {
    "lease": {"lease_until": None},
    # It holds contents of the guest's page tables, and may never be needed again.
    "snapshot": {"snapshot_digest": None, "snapshot_events": None},
    "error": {"error": None},
    "progress": {"events_done": 0},
    "times": {"started_at": None, "finished_at": None},
    # Somebody asked for the retry, so earlier losses no longer count.
    "losses": {"lost_count": 0},
}
"""What a step may empty: groups of columns with their empty values."""


class Step(NamedTuple):
    """A step from any of some states to another; ``empties`` are keys of ``_EMPTY``."""

    name: str
    before: tuple[str, ...]
    after: str
    empties: tuple[str, ...] = ()
    is_new_attempt: bool = False


CLAIM = Step("claim", (QUEUED,), RUNNING, ("progress",))
# All its results have appeared since it was planned.
FIND = Step("find", (QUEUED,), DONE, ("snapshot", "error"))
RECORD = Step("record", (RUNNING,), DONE, ("lease", "snapshot", "error"))
REQUEUE = Step("requeue", (RUNNING,), QUEUED, ("lease", "progress"), is_new_attempt=True)
FAIL = Step("fail", (RUNNING,), FAILED, ("lease", "snapshot"))
CANCEL = Step("cancel", OPEN, CANCELLED, ("lease", "snapshot"))
# A snapshot holds all the variants of the shard; only some of them are run again.
REOPEN = Step(
    "reopen",
    ENDED,
    QUEUED,
    ("snapshot", "progress", "error", "times", "losses"),
    is_new_attempt=True,
)

STEPS: Final = (CLAIM, FIND, RECORD, REQUEUE, FAIL, CANCEL, REOPEN)


def take_step(shard: Shard, step: Step, **told: Any) -> None:
    """Moves a shard, whose row must be locked; ``told`` are the columns that the step fills.

    Raises:
        RuntimeError: the step does not begin in the shard's state. Callers check the state of
            what they lock, so this is a defect of theirs.
    """
    if shard.state not in step.before:
        raise RuntimeError(
            f"shard {shard.id} is {shard.state}; step {step.name!r} begins in "
            f"{' or '.join(step.before)}"
        )
    shard.state = step.after
    shard.attempt += int(step.is_new_attempt)
    for name in step.empties:
        for column, nothing in _EMPTY[name].items():
            setattr(shard, column, nothing)
    for column, value in told.items():
        setattr(shard, column, value)
