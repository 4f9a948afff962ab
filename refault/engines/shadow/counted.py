"""The counters after each row that may have changed them, of a host that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.engines.shadow.state.words import COUNTED_ROW_WORDS
from refault.replay import records as rec

if TYPE_CHECKING:
    from refault.replay.records import Log


def counted_rows(log: Log) -> tuple[Any, Any]:
    """Places of rows executed last, in order, and all counters after each.

    No other row changes a counter: these left the fast path.
    """
    count = int(log.state[rec.ROWS]) - 1
    rows = np.array(log.rows[: count * COUNTED_ROW_WORDS], np.int64)
    rows = rows.reshape(count, COUNTED_ROW_WORDS)
    return rows[:, 0], rows[:, 1:]
