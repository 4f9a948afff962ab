"""The cause of a finding: which operations changed the words that it rests on.

A finding names up to three words of the host: the leaf, the mark, the guest's entry. The run is
repeated, which gives the same host, and each change of these words before the finding is noted.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from refault.audits import Level, Step
from refault.engines.audit import tell, watching
from refault.engines.audit import words as au
from refault.engines.audit.host import Host
from refault.engines.audit.steps import step_of
from refault.replay.budget import Budget
from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from refault.engines.audit.outcome_host import OutcomeHost

    Advance = Callable[[TraceReader, Sequence[Host], int, Budget], Iterator[int]]

#: Steps of a cause that are kept: the latest.
STEPS = 6


def causes_of(
    trace: Path, hosts: Sequence[Host | OutcomeHost], advance: Advance, budget: Budget
) -> list[list[tuple[Step, ...]]]:
    """For each host, for each group of its findings: the steps that led to it, oldest first.

    Hosts that found nothing are not run again, and no host further than to its last finding.
    """
    found = [[group.first for group in tell.groups_of(host)] for host in hosts]
    wanted = [_wanted(rows) for rows in found]
    again = [
        Host(host.variant, host.header, budget, Level("off"), words)
        for host, words in zip(hosts, wanted, strict=True)
        if words
    ]
    if again:
        last = max(until for words in wanted for _, _, until in words)
        with TraceReader(trace, allow_truncated=True) as reader:
            if reader.header.content == "capture":
                for host in again:
                    host.begin()
            for _ in advance(reader, again, 1, budget):
                if all(host.operation_count >= last for host in again):
                    break
    told = iter(again)
    return [
        _steps(rows, next(told).watches) if words else [() for _ in rows]
        for rows, words in zip(found, wanted, strict=True)
    ]


def is_before(row: list[int]) -> bool:
    """Whether it was found before the operation was executed: what that changes is no cause."""
    return row[au.CHECK] == au.D1


def _wanted(rows: list[list[int]]) -> list[tuple[int, int, int]]:
    """The words to watch: array, place, and the time of the finding."""
    return [
        (word >> au.WATCH_SHIFT, word & ((1 << au.WATCH_SHIFT) - 1), row[au.TIME] - is_before(row))
        for row in rows
        for word in row[au.WATCHES : au.WATCHES + au.WATCH_COUNT]
        if word
    ]


def _steps(rows: list[list[int]], watches: watching.Watches) -> list[tuple[Step, ...]]:
    """The changes of each finding's words, in the order of time."""
    all_steps, at = [], 0
    for row in rows:
        steps: dict[int, Step] = {}
        for word in row[au.WATCHES : au.WATCHES + au.WATCH_COUNT]:
            if not word:
                continue
            for change in _changes(watches, at):
                step = step_of(word >> au.WATCH_SHIFT, word, change)
                before = steps.get(step.operation_index)
                if before is not None:
                    change_text = step.text.partition(": ")[2]
                    step = dataclasses.replace(step, text=f"{before.text}; {change_text}")
                steps[step.operation_index] = step
            at += 1
        kept = [steps[index] for index in sorted(steps)]
        all_steps.append(tuple(kept[-STEPS:]))
    return all_steps


def _changes(watches: watching.Watches, number: int) -> list[list[int]]:
    """The changes of a watched word that were kept, oldest first."""
    count = int(watches.places[number * watching.PLACE_WORDS + watching.CHANGES])
    kept = []
    for turn in range(max(0, count - watching.RING), count):
        first = (number * watching.RING + turn % watching.RING) * watching.CHANGE_WORDS
        change = watches.changes[first : first + watching.CHANGE_WORDS]
        kept.append([int(word) for word in change])
    return kept
