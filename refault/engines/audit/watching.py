"""Which operations changed some words of a host: for the second run of an audit.

The words are those on which findings rest; the run is the same, so they change at the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from refault.engines.audit import words as au
from refault.engines.shadow.arch.guest import bitmap_of, read_word, slot_of, written_of
from refault.engines.shadow.kvm.parents import level_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.arrays import zeros
from refault.replay.compile.jit import kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

# state[]
COUNT = 0
PAGE_WORDS = 1  # lengths of the host's arrays now: a place may lie behind their end as yet
SPT_WORDS = 2
FRAME_WORDS = 3
STATE_WORDS = 4

PLACE_WORDS = 6
ARRAY = 0
PLACE = 1
VALUE = 2
UNTIL = 3  # time of the finding: later changes are not its cause
CHANGES = 4

#: The latest changes of a word that are kept, and the words of each.
RING = 3
CHANGE_WORDS = 10
TIME = 0
EVENT = 1
KIND = 2
VCPU = 3
A = 4
B = 5
OLD = 6
NEW = 7
GFN = 8  # of the page that the word belongs to
LEVEL = 9


class Watches(NamedTuple):
    """The words that are watched, and their latest changes."""

    state: Any
    places: Any
    changes: Any


def create(wanted: Sequence[tuple[int, int, int]] = ()) -> Watches:
    """Watch these words, each an array's number, a place, and the time until when."""
    count = len(wanted)
    sizes = (STATE_WORDS, count * PLACE_WORDS or 1, count * RING * CHANGE_WORDS or 1)
    watches = Watches(*map(zeros, sizes))
    watches.state[COUNT] = count
    for i, (array, place, until) in enumerate(wanted):
        watches.places[i * PLACE_WORDS + ARRAY] = array
        watches.places[i * PLACE_WORDS + PLACE] = place
        watches.places[i * PLACE_WORDS + UNTIL] = until
    return watches


@kernel
def log_bits(m: Machine, gfn: int) -> int:
    """What the dirty log of a frame's slot says: 1 in it, 2 written since it was read, 4 it is."""
    slot = slot_of(m, gfn)
    if slot == 0 or not m.vm[slot + words.SLOT_LOG]:
        return 0
    place = gfn - m.vm[slot + words.SLOT_BASE]
    dirty = m.frame[bitmap_of(m, slot) + (place >> 5)] >> (place & 31) & 1
    return 4 | (m.frame[written_of(m, slot) + (place >> 5)] >> (place & 31) & 1) << 1 | dirty


@kernel
def value_of(m: Machine, w: Watches, array: int, place: int) -> int:
    """The watched word now; 0 where its array does not reach yet."""
    if array == au.WATCH_VM:
        return m.vm[place]
    if array == au.WATCH_PAGE:
        return m.page[place] if place < w.state[PAGE_WORDS] else 0
    if array == au.WATCH_SPT or array == au.WATCH_USE:
        return m.spt[place] if place < w.state[SPT_WORDS] else 0
    if array == au.WATCH_FRAME:
        return m.frame[place] if place < w.state[FRAME_WORDS] else 0
    if array == au.WATCH_LOG:
        return log_bits(m, place)
    return read_word(m, place) if slot_of(m, place >> x86.PAGE_SHIFT) else 0


@kernel
def unremarked(array: int) -> int:
    """Bits whose change says nothing: A and D come and go with every walk."""
    if array == au.WATCH_SPT or array == au.WATCH_GUEST:
        return x86.ACCESSED | x86.DIRTY
    return x86.DIRTY if array == au.WATCH_USE else 0


@kernel
def note_changes(m: Machine, w: Watches, ops: op.Operations, i: int, time: int) -> None:
    """Keep what the row just executed changed of the watched words."""
    for k in range(w.state[COUNT]):
        first = k * PLACE_WORDS
        array, place = w.places[first + ARRAY], w.places[first + PLACE]
        if time > w.places[first + UNTIL]:
            continue
        value = value_of(m, w, array, place)
        if (value ^ w.places[first + VALUE]) & ~unremarked(array):
            at = (k * RING + w.places[first + CHANGES] % RING) * CHANGE_WORDS
            w.places[first + CHANGES] += 1
            w.changes[at + TIME], w.changes[at + EVENT] = time, ops.event[i]
            w.changes[at + KIND] = ops.kind[i]
            w.changes[at + VCPU] = ops.vcpu[i] | ops.user[i] << 8
            w.changes[at + A], w.changes[at + B] = ops.a[i], ops.b[i]
            w.changes[at + OLD], w.changes[at + NEW] = w.places[first + VALUE], value
            page = place & ~(words.PAGE_WORDS - 1) if array == au.WATCH_PAGE else place >> 10 << 5
            known = array != au.WATCH_VM and array != au.WATCH_FRAME and array != au.WATCH_GUEST
            known = known and array != au.WATCH_LOG and page < w.state[PAGE_WORDS]
            w.changes[at + GFN] = m.page[page + words.GFN] if known else 0
            w.changes[at + LEVEL] = level_of(m, page) if known else 0
        w.places[first + VALUE] = value
