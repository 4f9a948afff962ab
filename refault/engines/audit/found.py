"""Reporting: what failed, once for each place, and how many places there are."""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.words import Audit
from refault.replay.compile.jit import kernel

NO_WATCH = 0


@kernel
def watch_of(array: int, place: int) -> int:
    """A word of the host, as a finding names it."""
    return (array << au.WATCH_SHIFT) | place


@kernel
def is_new(a: Audit, key: int) -> bool:
    """Was nothing reported under that key yet? Remembers it; a full table takes all for known."""
    place = (((key ^ key >> 30) & 0x3FFF_FFFF) * 0x9E37_79B1 >> 14) & (au.KEYS - 1)
    for _ in range(64):
        if a.keys[place] == key:
            return False
        if a.keys[place] == 0:
            a.keys[place] = key
            return True
        place = (place + 1) & (au.KEYS - 1)
    return False


@kernel
def report(
    a: Audit, check: int, vcpu: int, place: int, value: int, should: int, detail: int
) -> int:
    """Report that a check failed at ``place``; answers where the finding is kept, or -1.

    The caller may write watches behind it. A place that is known is not reported again.
    """
    # Linear addresses have 48 bits that tell, all other places fewer. A leaf that is wrong right
    # after a flush, or through an out-of-sync page, is one place, whatever says so later.
    is_leaf = check == au.T1 or check == au.T2 or check == au.T3 or check == au.U5
    same = au.T1 if is_leaf else check
    key = ((place & ((1 << 48) - 1)) << 14) | (vcpu + 1) << 7 | same
    if not is_new(a, key):
        return -1
    state = a.state
    state[au.COUNTS + check] += 1
    at = state[au.FOUND]
    if state[au.COUNTS + check] > au.KEPT or at >= au.FOUND_MAX:
        return -1
    state[au.FOUND] = at + 1
    first = at * au.FOUND_WORDS
    found = a.found
    found[first + au.CHECK] = check
    found[first + au.TIME] = state[au.NOW]
    found[first + au.ROW_EVENT] = state[au.EVENT]
    found[first + au.VCPU] = vcpu
    found[first + au.PLACE] = place
    found[first + au.IS] = value
    found[first + au.SHOULD] = should
    found[first + au.DETAIL] = detail
    for i in range(au.WATCH_COUNT):
        found[first + au.WATCHES + i] = NO_WATCH
    for i in range(4):
        found[first + au.OP_KIND + i] = state[au.NOW_KIND + i]
    return first


@kernel
def watched(a: Audit, first: int, array: int, place: int) -> None:
    """Name one more word of the host whose history is the cause of a finding just reported."""
    if first < 0:
        return
    for i in range(au.WATCH_COUNT):
        if a.found[first + au.WATCHES + i] == NO_WATCH:
            a.found[first + au.WATCHES + i] = watch_of(array, place)
            return
