"""``refault patches``: the catalogue, as a table or as JSON."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from refault import catalogue


def patches(
    *, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False
) -> None:
    """List the patches a variant can be made of.

    Example: refault patches --json
    """
    if as_json:
        print(json.dumps([patch.to_dict() for patch in catalogue.patches()], indent=2))
        return
    for patch in catalogue.patches():
        print(f"{patch.id:<22}{patch.author}, {patch.date}")
        print(f"  {patch.title}")
        if patch.requires:
            print(f"  sits on {', '.join(patch.requires)}")
