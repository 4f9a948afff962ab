"""Batches in which a patch or a patch set was run, as tables show them."""

from collections.abc import Mapping, Sequence
from typing import Any

from refault.client.catalogue_documents import UsedColumnDocument, UseDocument
from services.dashboard.formats import counted, with_minus
from services.dashboard.verdicts import shown, state_sign


def rows_of(uses: Sequence[UseDocument]) -> list[dict[str, Any]]:
    """One row a column, the batch in the first of its rows only."""
    return [
        _row(use, column, is_first=place == 0)
        for use in uses
        for place, column in enumerate(use["columns"])
    ]


def _row(use: UseDocument, column: UsedColumnDocument, *, is_first: bool) -> dict[str, Any]:
    sign, tone = state_sign(use["state"])
    names = ", ".join(use["trace_names"])
    left = use["trace_count"] - len(use["trace_names"])
    return {
        "is_first": is_first,
        "row_count": len(use["columns"]),
        "code": use["code"],
        "title": use.get("title", ""),
        "state": use["state"],
        "sign": sign,
        "tone": tone,
        "is_stale": use["is_stale"],
        "is_judged": use["is_judged"],
        "created_at": use["created_at"],
        "traces": f"{names} and {left} more" if left > 0 else names,
        "label": column["label"],
        "patch_set": column["patch_set"],
        "patch_set_name": column["patch_set_name"],
        "verdicts": [
            {"verdict": shown(name), "on": counted(count, "trace")}
            for name, count in column["verdicts"].items()
        ],
        "reason": _reason(column),
    }


def _reason(column: Mapping[str, Any]) -> str:
    if not column["reason"]:
        return ""
    return f"{column['trace_name']}: {with_minus(column['reason'])}"
