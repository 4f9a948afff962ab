"""``refault patches``: the catalogue, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from refault import catalogue, series
from refault.catalogue.layouts import LONG_BYTES, layout_document
from refault.cli.exits import ExitCode
from refault.compare.layout import clean
from refault.errors import SeriesError

WIDTH = 72
SEPARATOR = b"From refault Mon Sep 17 00:00:00 2001\n"


app = typer.Typer(name="patches", invoke_without_command=True)


@app.callback()
def patches(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """List the patches a variant can be made of.

    Example: refault patches --json
    """
    if context.invoked_subcommand is not None:
        return
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


@app.command("read")
def read(
    files: Annotated[list[Path], typer.Argument(help="mbox or `git format-patch` files.")],
    *,
    version: Annotated[
        int | None, typer.Option(help="Of several in the files; the newest if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Read a series from mails, and match it to the catalogue. Nothing leaves this machine.

    Ends with 1 if the catalogue lacks a patch. Example: refault patches read 000*.patch
    """
    reading = series.read(_joined(files), version)
    matches = series.match(reading.patches)
    if as_json:
        document = dataclasses.asdict(reading) | {
            "patches": [dataclasses.asdict(found) for found in matches]
        }
        print(json.dumps(document, indent=2))
    else:
        _print_series(reading, matches)
    if any(found.patch is None for found in matches):
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _joined(files: list[Path]) -> bytes:
    """The files as one mbox: a patch file without a separator gets one."""
    parts = []
    for path in files:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SeriesError(f"{path}: {error.strerror}") from error
        parts.append(data if data.startswith(b"From ") else SEPARATOR + data)
    return b"\n\n".join(parts)


def _print_series(reading: series.Reading, matches: tuple[series.Match, ...]) -> None:
    if reading.title:
        print(f"{clean(reading.title)} (v{reading.version})")
    for found in matches:
        mail = found.mail
        place = f"{mail.number}/{mail.total}" if mail.number else f"#{found.index}"
        known = f"{found.patch} (by {found.by})" if found.patch else "not in the catalogue"
        if found.candidates:
            known += f"; perhaps {' or '.join(found.candidates)}"
        print(textwrap.shorten(f"{place:<6}{clean(mail.subject)}", WIDTH, placeholder=" ..."))
        print(textwrap.fill(known, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 8))
    for skipped in reading.skipped:
        line = f"left out: {clean(skipped.subject)}: {skipped.reason}"
        print(textwrap.fill(line, WIDTH, subsequent_indent=" " * 6))


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
