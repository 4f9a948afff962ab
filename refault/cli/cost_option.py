"""``--costs``: the weights of the cost model, by name, in one word or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from refault.compare.costs import Costs

WithCosts = Annotated[
    str | None,
    typer.Option(
        "--costs",
        metavar="WEIGHTS",
        help="Also show modelled cycles: default, weights such as exit:1800,zap:3000, or a TOML or "
        "JSON file of them.",
        show_default=False,
    ),
]


def costs_of(given: str | None) -> Costs | None:
    """The weights asked for; raises InvalidParameter."""
    from refault.compare.costs import DEFAULT, Costs

    if given is None:
        return None
    if given == DEFAULT or (":" in given and not Path(given).exists()):
        return Costs.from_text(given)
    return Costs.from_file(Path(given))
