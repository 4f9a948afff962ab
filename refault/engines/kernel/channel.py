"""The memory shared with the program that runs a tree's code.

One table, laid out as ``refault/linux/runtime/channel.h`` lays it out. Whatever the program wrote
is taken for a stranger's: copied once, and checked, by :mod:`refault.engines.kernel.host`.
"""

from __future__ import annotations

import numpy as np

from refault.replay.lowering.rows import ROWS

COUNTERS = 256
REPORTS = 64
PAGES = 1 << 16

WARNING = 1
STOPPED = 2
MISSED_FLUSH = 3
#: Of a code: the row was not executed, and why in the low bits (``records.SKIP_*``).
SKIPPED = 0xF0
#: A code of programs that list no rows: at the address that the real guest reached.
WITNESSED = 0xE0

REPORT = np.dtype([("kind", "<u4"), ("row", "<u4"), ("count", "<u8"), ("text", "S240")])
PAGE = np.dtype(
    [
        ("gfn", "<u8"),
        ("role", "<u4"),
        ("unsync", "<u4"),
        ("root_count", "<u4"),
        ("present", "<u4"),
    ]
)
CHANNEL = np.dtype(
    [
        ("start", "<u4"),
        ("end", "<u4"),
        ("tdp", "<u4"),
        ("host_level", "<u4"),
        ("done", "<u4"),
        ("is_stopped", "<u4"),
        ("counter_count", "<u4"),
        ("report_count", "<u4"),
        ("page_count", "<u4"),
        ("wants_pages", "<u4"),
        ("wants_all", "<u4"),
        ("is_terse", "<u4"),
        ("is_captured", "<u4"),
        ("lists_rows", "<u4"),
        ("row_count", "<u4"),
        ("has_la57", "<u4"),
        ("names", "S56", COUNTERS),
        ("counters", "<u8", COUNTERS),
        ("reports", REPORT, REPORTS),
        *((name, "<i8", ROWS) for name in ("a", "b", "want")),
        *((name, "u1", ROWS) for name in ("kind", "vcpu", "user", "aux", "cls")),
        *((name, "u1", ROWS) for name in ("code", "emulated")),
        *((name, "<i8", ROWS) for name in ("address", "value", "probe")),
        ("pages", PAGE, PAGES),
        ("listed", "<u4", ROWS),
    ]
)
