"""``refault patches``: the catalogue, as a table or as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from refault import catalogue
from refault.catalogue.layouts import LONG_BYTES, layout_document

WIDTH = 72


def patches(
    *, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False
) -> None:
    """List the patches a variant can be made of.

    Example: refault patches --json
    """
    if as_json:
        documents = [catalogue.patch_document(patch) for patch in catalogue.patches()]
        print(json.dumps(documents, indent=2))
        return
    for patch in catalogue.patches():
        print(f"{patch.id:<22}{patch.author}, {patch.date}")
        for line in (patch.title, *_lines(patch)):
            print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    named = f"Patch sets with a name: {', '.join(catalogue.NAMED)}"
    print(textwrap.fill(named, WIDTH, subsequent_indent="  "))


def _lines(patch: catalogue.Patch) -> Iterator[str]:
    """What decides where a patch can be used, and how far its numbers can be trusted."""
    if patch.requires:
        yield f"sits on {', '.join(patch.requires)}"
    for base, how in patch.merged_in.items():
        yield f"{base} has it already, {how}"
    for base, reason in patch.not_on.items():
        yield f"not on {base}: {reason}"
    if patch.layout:
        yield from _sizes(layout_document(patch.layout))
    names = catalogue.golden_names(patch)
    if not patch.knobs:
        yield "changes no behaviour"
    elif names:
        yield f"real code: {', '.join(names)}"
    else:
        yield "no real-code result"


def _sizes(layout: dict[str, Any]) -> Iterator[str]:
    for abi in LONG_BYTES:
        now, before = layout[abi], layout["before"][abi]
        yield (
            f"kvm_mmu_page on {abi}: {now['sizeof']} bytes in {now['cachelines']} cache lines, "
            f"was {before['sizeof']} in {before['cachelines']}"
        )
