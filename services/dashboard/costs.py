"""The cost model on the page of a batch: modelled cycles, and a form with the weights.

Only what the API answers is shown; nothing is computed here.
"""

from collections.abc import Mapping
from typing import Any

from refault.compare.costs import DEFAULT
from refault.compare.percent import signed_percent
from services.dashboard.formats import grouped, signed
from services.dashboard.place import Place


def costs_of(comparison: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model of one trace, if the page was asked for it."""
    model = comparison.get("cost_model")
    if model is None:
        return None
    return {
        "columns": model["columns"],
        "vcpus": model["vcpus"],
        "rows": [
            {
                "name": term["name"],
                "weight": grouped(term["weight"]),
                "what": term["what"],
                "source": term["source"],
                "cells": [_cell(value) for value in term["cycles"]],
            }
            for term in model["terms"]
        ],
        "totals": [
            f"{_cell(total)}{_change(percent)}"
            for total, percent in zip(model["totals"], model["percents"], strict=True)
        ],
    }


def form_of(document: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The form that asks for the model: what it keeps of the address, and its weights."""
    shown = [each["cost_model"]["text"] for each in document["comparisons"] if "cost_model" in each]
    return {
        "kept": {name: value for name, value in place.fields.items() if name != "costs"},
        "text": shown[0] if shown else DEFAULT,
        "is_shown": bool(shown),
    }


def _cell(value: int | None) -> str:
    return "–" if value is None else grouped(value)


def _change(percent: float | None) -> str:
    return f" ({signed(signed_percent(percent))} %)" if percent else ""
