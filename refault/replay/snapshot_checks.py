"""The checks of a snapshot before it is resumed, for every engine.

The state of a host is checked by its engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.errors import SnapshotRefused
from refault.replay import records as rec
from refault.replay import x86
from refault.replay.findings import KEPT
from refault.replay.lowering import known_memory as known
from refault.replay.lowering.known_memory import Lowering
from refault.trace.format import MAX_SLOTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COUNT_MAX = 1 << 62
_MEMORY_WORDS_MAX = 1 << 29
_TALLY_WORDS = rec.SHIFT - rec.TALLY
#: What a head holds, and of what type; the same for each host; and for what its run has shown.
_HEAD = {"events": int, "trace_so_far": str, "lowering": list, "hosts": list}
_HOST = {
    "variant": str,
    "engine": str,
    "operation_count": int,
    "sizes": list,
    "state": dict,
    "notes": dict,
}
_NOTES = {
    "tally": list,
    "findings": list,
    "finding_count": int,
    "stopped": (dict, type(None)),
    "outcomes": list,
    "lawful": (list, type(None)),
}


def need(condition: bool, what: str) -> None:
    """Raise SnapshotRefused, saying ``what`` is wrong, unless the condition holds."""
    if not condition:
        raise SnapshotRefused(f"the snapshot cannot be used: {what}")


def head(found: object, hosts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The head, if it has every field and is of these hosts: digests of variant and engine."""
    checked = typed(found, _HEAD)
    counts([checked["events"]], 1)
    counts(checked["lowering"], len(Lowering._fields))
    entries = [typed(entry, _HOST) for entry in checked["hosts"]]
    need(
        [entry["variant"] for entry in entries] == [v for v, _ in hosts], "it is of other variants"
    )
    need(
        [entry["engine"] for entry in entries] == [digest for _, digest in hosts],
        "another version of the engine wrote it",
    )
    for entry in entries:
        notes = typed(entry["notes"], _NOTES)
        counts(notes["tally"], _TALLY_WORDS)
        counts([entry["operation_count"], notes["finding_count"]], 2)
        kept = len(notes["findings"])
        need(kept <= min(KEPT + 1, notes["finding_count"]), f"it keeps {kept} findings")
        for state in (notes["outcomes"], notes["lawful"] or notes["outcomes"]):
            types = [type(part) for part in state]
            need(types == [bytes, bytes, int], "its digest of outcomes is invalid")
    return checked


def typed(found: object, types: Mapping[str, Any]) -> dict[str, Any]:
    """``found``, if it has these fields and no others, each of its type."""
    if not isinstance(found, dict) or found.keys() != types.keys():
        raise SnapshotRefused("the snapshot cannot be used: its head lacks fields, or has others")
    for name, kind in types.items():
        wrong = not isinstance(found[name], kind) or (kind is int and isinstance(found[name], bool))
        need(not wrong, f"{name} is {type(found[name]).__name__}")
    return found


def counts(found: Sequence[object], length: int) -> None:
    """Raise unless there are ``length`` numbers, none below 0."""
    need(len(found) == length, f"it has {len(found)} numbers instead of {length}")
    need(all(type(n) is int and 0 <= n < _COUNT_MAX for n in found), "a count is invalid")


def lowering_sizes(sizes: Sequence[int], fresh: Lowering) -> None:
    """Check sizes before arrays are made: all but ``memory`` follow from the header."""
    *fixed, memory = sizes
    need(fixed == [len(words) for words in fresh[:-1]], "its memory slots are not the trace's")
    fits = len(fresh.memory) <= memory <= 2 * _MEMORY_WORDS_MAX and memory % x86.ENTRIES == 0
    need(fits, f"guest memory of {memory} words")


def lowering(found: Lowering, fresh: Lowering, vcpu_count: int) -> None:
    """Check the state of lowering."""
    state = found.state
    fixed = [
        known.FRAME_COUNT,
        known.SLOT_COUNT,
        *range(known.SLOT_TABLE, known.SLOT_TABLE + known.SLOT_TABLE_WORDS * MAX_SLOTS),
    ]
    need(all(state[i] == fresh.state[i] for i in fixed), "its memory slots are not the trace's")
    end = int(state[known.MEMORY_NEXT])
    need(x86.ENTRIES <= end <= len(found.memory), "its guest memory ends outside its array")
    in_range(found.pages, 0, end - x86.ENTRIES + 1, "a frame's content")
    need(not np.any(found.pages % x86.ENTRIES), "a frame's content begins inside another")
    for place in (known.HELD_VCPU, known.SNAP_VCPU):
        need(0 <= state[place] < max(1, vcpu_count), "it names a vCPU that the trace lacks")
    need(state[known.HELD_SIZE] in (0, 1, 2, 4, 8), "it holds a store of no size")
    reachable = np.asarray([state[known.HELD_GPA] >> x86.PAGE_SHIFT, state[known.SNAP_GFN]])
    for i, in_use in enumerate((state[known.HELD], state[known.SNAP_LEFT])):
        need(not in_use or _in_slots(int(reachable[i]), state), "its table is outside guest memory")


def _in_slots(gfn: int, state: Any) -> bool:
    for i in range(int(state[known.SLOT_COUNT])):
        base, pages = state[known.SLOT_TABLE + i * known.SLOT_TABLE_WORDS :][:2]
        if base <= gfn < base + pages:
            return True
    return False


def in_range(words: Any, start: int, end: int, what: str) -> None:
    """Raise unless every word is from ``start`` to ``end`` - 1."""
    if words.size:
        need(start <= int(words.min()) and int(words.max()) < end, f"{what} lies outside")
