"""Words of an account: what is where in its arrays.

Four tables have a row of ``COUNTED`` sums for each cause, region, mark and address space. A row of
``tables`` is one guest table's life. Two hash tables find the row of an address space and of a
table; what has no row any more is summed in the row of all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from refault.replay.arrays import zeros

if TYPE_CHECKING:
    from refault.replay.budget import Ask

#: Words of the host that are summed: ``vm[0]`` to ``vm[27]``, every counter but those of TLB hits
#: and walks, which the fast path changes too.
COUNTED = 28

# --- state[] -----------------------------------------------------------------------------
MARK = 0  # row of the latest mark
MARK_COUNT = 1  # rows in use, the first two included
SPACE_COUNT = 2
TABLE_COUNT = 3
LINK_NODES = 4  # nodes of the host's link[], without the unused first one
PAGES_MAX = 5  # the most shadow pages in use between two operations
PAGES_MAX_EVENT = 6  # at which event that was first
UNSYNC_MAX = 7
LINKS_MAX = 8  # nodes in use
ROWS_LOST = 9  # tracepoints for which there was no room
REGION_COUNT = 10  # begins of regions
DUE_COUNT = 11  # rows in due[]
DUE_NEXT = 12  # the next one of them; so many samples were taken
STATE_WORDS = 16

# --- samples[]: the counted words, then these -------------------------------------------------
TLB_HITS = 28
WALKS = 29
NODES = 30  # of link[] in use
CHAINS = 31  # those of them that chain parents of pages in use
OPERATION = 32  # operations executed before it
SAMPLE_WORDS = 33
#: Samples of one call of the loop.
DUE_MAX = 1024

# --- causes ------------------------------------------------------------------------------
CAUSES = (
    "before the trace",
    "write to a table, emulated",
    "write to a table, out of sync from then on",
    "device access",
    "fault of the guest",
    "fault, new shadow page",
    "fault, page mapped",
    "other exit of an access",
    "entry to the guest",
    "boot",
    "CR0 write",
    "CR3 write",
    "CR4 write",
    "EFER write",
    "INVLPG",
    "hypercall: table given up",
    "unprotect",
    "write to a table, no known mapping",
    "notifier: page unmapped",
    "notifier: page aged",
    "notifier: page changed",
    "shrinker",
    "all pages zapped",
    "dirty log",
    "memory slot",
    "page limit",
    "other",
    "registers set from outside",
)
BEFORE = 0
EMULATED_WRITE = 1
UNSYNC_WRITE = 2
DEVICE = 3
GUEST_FAULT = 4
NEW_PAGE = 5
MAPPED = 6
OTHER_EXIT = 7
ENTRY = 8
BOOTED = 9
CR0_WRITE = 10
CR3_WRITE = 11
CR4_WRITE = 12
EFER_WRITE = 13
INVLPG = 14
HYPERCALL = 15
UNPROTECT = 16
TABLE_WRITE = 17
UNMAPPED = 18
AGED = 19
CHANGED = 20
SHRINKER = 21
ZAP_ALL = 22
DIRTY_LOG = 23
SLOT = 24
LIMIT = 25
OTHER = 26
SET_REGISTERS = 27

# --- marks: row 0 before the first, row 1 all others ------------------------------------------
FIRST_ROWS = 2
MARKS_MAX = 1024
# --- address spaces: row 0 none (host, no paging), row 1 all others ---------------------------
SPACES_MAX = 4096
# --- guest tables: row 0 direct pages (no guest table), row 1 all others ------------------------
TABLES_MAX = 1 << 14
TABLE_WORDS = 8
GFN = 0
LEVEL = 1
CREATED = 2
MARKED = 3
SYNCED = 4
ZAPPED = 5
REFAULTED = 6
WRITTEN = 7

#: Slots of a hash table: the row, and its key before it.
SPACE_SLOTS = 1 << 13
TABLE_SLOTS = 1 << 15
SLOT_WORDS = 2
REGIONS_MAX = 32


class Account(NamedTuple):
    """What an account remembers; see above. ``last`` are the counted words at the latest look."""

    state: Any
    last: Any
    causes: Any
    regions: Any
    begins: Any  # of the regions, ascending
    marks: Any
    mark_numbers: Any
    spaces: Any
    space_keys: Any  # CR3 of each row
    space_hash: Any
    tables: Any
    table_hash: Any
    due: Any  # rows before which a sample is due, ascending
    samples: Any


SIZES = Account(
    state=STATE_WORDS,
    last=COUNTED,
    causes=len(CAUSES) * COUNTED,
    regions=(REGIONS_MAX + 1) * COUNTED,
    begins=REGIONS_MAX,
    marks=(FIRST_ROWS + MARKS_MAX) * COUNTED,
    mark_numbers=FIRST_ROWS + MARKS_MAX,
    spaces=(FIRST_ROWS + SPACES_MAX) * COUNTED,
    space_keys=FIRST_ROWS + SPACES_MAX,
    space_hash=SPACE_SLOTS * SLOT_WORDS,
    tables=(FIRST_ROWS + TABLES_MAX) * TABLE_WORDS,
    table_hash=TABLE_SLOTS * SLOT_WORDS,
    due=DUE_MAX,
    samples=DUE_MAX * SAMPLE_WORDS,
)


def create(begins: list[int], ask: Ask) -> Account:
    """An empty account; ``begins`` are the first addresses of the regions, ascending."""
    ask(sum(SIZES), "an account")
    account = Account(*map(zeros, SIZES))
    account.state[REGION_COUNT] = len(begins)
    account.begins[: len(begins)] = begins
    account.state[MARK_COUNT] = FIRST_ROWS
    account.state[SPACE_COUNT] = FIRST_ROWS
    account.state[TABLE_COUNT] = FIRST_ROWS
    return account
