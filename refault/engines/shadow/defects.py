"""Where the simulated kernel breaks, in the words of findings."""

from __future__ import annotations

from refault.engines.shadow.state import words
from refault.replay import x86

#: Kind and message of each ``BUG_*``.
BUGS = {
    words.BUG_USE_AFTER_FREE: (
        "use-after-free",
        "the hash walk goes on at a shadow page that its own zap has freed",
    ),
    words.BUG_EMPTY_LIST: (
        "empty-list",
        "the tail of an empty page list is taken for a shadow page",
    ),
    words.BUG_ENDLESS_ZAP: (
        "endless-zap",
        "reclaim zaps pinned roots for ever and cannot reach its target",
    ),
    words.BUG_ENDLESS_WALK: (
        "endless-walk",
        f"marking the ancestors of one page follows {words.MARKS_MAX} links and is not done",
    ),
    words.BUG_ENDLESS_LOOP: (
        "endless-loop",
        "the kernel's loops take step after step in one operation and come to no end",
    ),
    words.BUG_ENDLESS_UNMAP: (
        "endless-loop",
        "a reverse map lists a leaf that is absent: removing it removes nothing, for ever",
    ),
    words.BUG_LISTED_ABSENT: (
        "assertion",
        "a reverse map lists a leaf that is absent: it was overwritten and never taken off",
    ),
    words.BUG_LARGE_AS_TABLE: (
        "large-as-table",
        "a guest without paging needs a table where a large leaf stands: its page is taken for one",
    ),
    words.BUG_ASSERTION: ("assertion", "a reverse or back reference is not where it must be"),
}


def tell_livelock(what: int) -> str:
    """What refuses an access again after every exit."""
    return f"still faults after {words.EXITS_MAX} exits: {_refusal(what)}"


def _refusal(what: int) -> str:
    """The entry that refuses again after every exit (arch/access.py: refusal)."""
    level, bits = what & 7, what >> x86.PAGE_SHIFT
    if not level:
        return "its vCPU has no root"
    is_leaf = level == 1 or bits & x86.LARGE
    entry = f"the {'leaf' if is_leaf else 'link'} at level {level} of its shadow"
    if not bits & x86.PRESENT:
        return f"{entry} is absent again each time"
    grants = "".join(name for name, bit in (("w", x86.WRITABLE), ("u", x86.USER)) if bits & bit)
    why = "and no fault gives a link more" if not is_leaf else "and each fault leaves it so"
    return f"{entry} grants {grants or 'reading'} only, {why}"
