"""The cost model as a block of text below a comparison; it says that it is a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.compare import layout
from refault.compare.percent import signed_percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from refault.compare.costs import CostModel

_NAME_WIDTH = 19
_WEIGHT_WIDTH = 7
_CELL_WIDTH = 15
_NOTHING = "-"


def cost_text(models: Sequence[tuple[str, CostModel]], *, width: int = 72) -> str:
    """The models of several traces, each with the name of its trace."""
    lines: list[str] = []
    for name, model in models:
        lines += ["", *layout.wrap(f"Cost model, {layout.clean(name)}", width)]
        vcpus = layout.counted(model.vcpus, "vCPU")
        lines += layout.wrap(
            "a model, not a measurement: the exact counts above times weights in cycles "
            f"({model.costs.to_text()}; {vcpus}); only where some costs rose and others fell "
            f"does a verdict weigh them so{estimates_text(model)}",
            width,
            first="  ",
            indent="  ",
        )
        wide = _NAME_WIDTH + _WEIGHT_WIDTH
        panels = layout.panels([_CELL_WIDTH] * len(model.labels), wide, width, repeats_first=True)
        for panel in panels:
            lines += ["", *_panel(model, panel)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def with_models(
    documents: Sequence[Mapping[str, Any]], models: Sequence[CostModel]
) -> list[dict[str, Any]]:
    """Comparisons as JSON, each with its cost model beside what it was, where there are models."""
    if not models:
        return [dict(document) for document in documents]
    return [
        {**document, "cost_model": model.to_dict()}
        for document, model in zip(documents, models, strict=True)
    ]


def estimates_text(model: CostModel) -> str:
    """The weights in use that nobody measured, as the end of a sentence; empty without any."""
    names = [term.name for term in model.terms if term.is_estimate]
    return f". Estimates, measured by nobody we could cite: {', '.join(names)}" if names else ""


def _panel(model: CostModel, panel: Sequence[int]) -> list[str]:
    heads = [layout.clean(model.labels[place])[: _CELL_WIDTH - 1] for place in panel]
    lines = [_row("cycles", "weight", heads)]
    for term in model.terms:
        cells = [_number(term.cycles[place]) for place in panel]
        lines.append(_row(term.name, f"{term.weight}", cells))
    lines.append(_row("in all", "", [_number(model.totals[place]) for place in panel]))
    changes = [model.changes[place] for place in panel]
    shown = [_NOTHING if each is None else f"{signed_percent(each)} %" for each in changes]
    lines.append(_row("against the base", "", shown))
    return lines


def _number(value: int | None) -> str:
    return _NOTHING if value is None else f"{value:,}"


def _row(name: str, weight: str, cells: Sequence[str]) -> str:
    words = "".join(layout.right(cell, _CELL_WIDTH) for cell in cells)
    return f"{name:{_NAME_WIDTH}}{weight:>{_WEIGHT_WIDTH}}{words}"
