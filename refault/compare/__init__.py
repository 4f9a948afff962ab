"""Comparisons: pure arithmetic over the results of runs.

:func:`compare` sets runs of one trace side by side; :func:`to_text`,
:func:`to_markdown`, :func:`to_csv`, :func:`to_dict` and :func:`chart` show
what came of it; :func:`check` holds a single result to the conservation laws.
"""

from __future__ import annotations

from refault.compare.balance import Balance, Lean, Scale
from refault.compare.chart import chart
from refault.compare.comparison import (
    Column,
    ComparedColumn,
    Comparison,
    TraceInfo,
    compare,
)
from refault.compare.documents import to_csv, to_dict
from refault.compare.judging import Evidence, judge
from refault.compare.laws import check
from refault.compare.markdown import to_markdown
from refault.compare.overall import JudgedTrace, Overall, Reason, overall, overall_of, worst_known
from refault.compare.rows import Row
from refault.compare.text import to_text
from refault.compare.thresholds import COSTS, Limit, Threshold
from refault.compare.verdicts import Judgement, Verdict

__all__ = [
    "COSTS",
    "Balance",
    "Column",
    "ComparedColumn",
    "Comparison",
    "Evidence",
    "JudgedTrace",
    "Judgement",
    "Lean",
    "Limit",
    "Overall",
    "Reason",
    "Row",
    "Scale",
    "Threshold",
    "TraceInfo",
    "Verdict",
    "chart",
    "check",
    "compare",
    "judge",
    "overall",
    "overall_of",
    "to_csv",
    "to_dict",
    "to_markdown",
    "to_text",
    "worst_known",
]
