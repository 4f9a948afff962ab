"""``refault explain``: a word of the tables in sentences."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from refault import glossary
from refault.cli.tables import reading_width
from refault.cli.terminal import print_json

WIDTH = 72


def explain(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Counters, verdicts, checks, kinds of findings or terms; none: the names of all.",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Say what a counter, a verdict, a check or a term means.

    Example: refault explain exits F-P2 regression
    """
    found = [entry for word in words or [] for entry in glossary.explain(word)]
    if as_json:
        print_json([entry.to_dict() for entry in (found if words else glossary.ENTRIES)])
        return
    if not words:
        _print_names()
        return
    titles = {group.name: group.title for group in glossary.GROUPS}
    for entry in found:
        print(f"{entry.name}  ({titles[entry.group]})")
        print(
            textwrap.fill(
                entry.text, reading_width(WIDTH), initial_indent="  ", subsequent_indent="  "
            )
        )
        if entry.more:
            print(f"  More in docs/{entry.more}.")


def _print_names() -> None:
    for group in glossary.GROUPS:
        print(group.title)
        names = ", ".join(entry.name for entry in glossary.ENTRIES if entry.group == group.name)
        # A name is looked for as a whole.
        print(
            textwrap.fill(
                names,
                reading_width(WIDTH),
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            )
        )
