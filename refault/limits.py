"""What a trace's numbers cannot say, in sentences that stand wherever the numbers stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: By ``origin``; a captured guest, and one of before there were origins, needs no word.
ORIGINS: Final = {
    "synthetic": "a synthetic guest: made by a recipe, not captured",
    "addresses": "real addresses, synthetic tables",
    "host-events": "a host's log: faults only",
    "edited": "cut from another trace",
}

#: Why no engine replays a trace of origin ``host-events``.
FAULTS_ONLY: Final = (
    "made of a host's log, it holds faults only, without the guest's page tables, so that nothing "
    "can replay it; `refault validate` sets a replay of a captured trace beside such a log"
)


def limits_of(origin: str, losses: Iterable[str], complaint: str = "") -> tuple[str, ...]:
    """One sentence each, without a stop: where it is from, what it lacks, why it is not good.

    ``complaint`` is that of its verification (:mod:`refault.verify`), empty where it is good.
    """
    told = [ORIGINS[origin]] if origin in ORIGINS else []
    told += [loss.rstrip(". ") for loss in losses]
    if complaint:
        told.append(f"not good: {complaint}")
    return tuple(told)
