"""``refault patches``: the catalogue, as a table or as JSON."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from refault import catalogue, series
from refault.catalogue.layouts import LONG_BYTES, layout_document
from refault.cli.exits import ExitCode
from refault.cli.mail_files import contents
from refault.cli.tables import reading_width
from refault.cli.terminal import print_json
from refault.compare.layout import clean
from refault.errors import InvalidRequest, SeriesError

WIDTH = 72
_INDEX_DIGITS = 6


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
        print_json(documents)
        return
    for patch in catalogue.patches():
        _fill(f"{patch.id:<22}{patch.author}, {patch.date}", "", " " * 22)
        for line in (patch.title, *_lines(patch)):
            print(
                textwrap.fill(
                    line, reading_width(WIDTH), initial_indent="  ", subsequent_indent="    "
                )
            )
    named = f"Patch sets with a name: {', '.join(catalogue.NAMED)}"
    print(textwrap.fill(named, reading_width(WIDTH), subsequent_indent="  "))


@app.command("show")
def show(
    patch: Annotated[str, typer.Argument(help="Id of a patch.", metavar="ID", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show one patch: what it claims, what was said of it, what became of it, what it changes.

    Example: refault patches show unsync-walk-struct
    """
    found = catalogue.get_patch(patch)
    document = catalogue.patch_document(found)
    if as_json:
        print_json(document)
        return
    _fill(f"{found.id}: {found.title}", "", "  ")
    print(f"{found.author}, {found.date}")
    told = ("summary", "claim", "objection", "fate", "source", "reconstruction")
    for name in told:
        if document.get(name):
            _fill(f"{name}: {clean(str(document[name]))}", "", "  ")
    if found.form_of:
        _fill(f"another form of {found.form_of}", "", "  ")
    for knob, value in document["knobs"].items():
        print(f"sets {knob} = {value}")
    for line in _lines(found):
        _fill(line, "", "  ")
    text = catalogue.patch_set_to_text(catalogue.PatchSet(patches=(*found.requires, found.id)))
    print(f"replay it: refault replay TRACE.rft -v base -v {text}")


@app.command("read")
def read(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="mbox, mails or patch files, also gzip; folders of them, maildirs; - is "
            "standard input.",
            show_default=False,
        ),
    ],
    *,
    version: Annotated[
        int | None,
        typer.Option(
            help="Version to read if there are several; default: the newest complete one."
        ),
    ] = None,
    mapping: Annotated[
        list[str],
        typer.Option(
            "--map",
            help="INDEX=PATCH: which patch a mail is; INDEX=- leaves it out. May be repeated.",
            metavar="INDEX=PATCH",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Accept an incomplete series; missing mails are still named."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Read a series from mails and match it to the catalogue, on this machine only.

    A mail is matched by what its diff changes and where; a subject alone makes a candidate.
    Exit code 1 if a patch is not matched or the series is incomplete.

    Example: refault patches read 000*.patch

    Example: curl -s https://lore.example.org/kvm/ID/t.mbox.gz | refault patches read -
    """
    mails = contents(files)
    try:
        reading = series.read(mails, version)
    except SeriesError as error:
        if len(files) > 1:  # the error names the mails
            raise
        raise SeriesError(f"{files[0]}: {error}") from error
    given = dict(map(_mapped, mapping))
    matches = series.apply_mapping(series.match(reading.patches), given)
    remedies = list(series.remedies(matches, "--map "))
    if reading.problems and not partial:
        remedies.append("if the series is incomplete on purpose, use --partial")
    if as_json:
        print_json(_document(reading, matches, remedies))
    else:
        _print_series(reading, matches, remedies)
    if remedies:
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _mapped(word: str) -> tuple[int, str]:
    """``0=zap-account`` as index and patch."""
    index, _, patch_id = word.partition("=")
    if not (patch_id and index.isascii() and index.isdecimal() and len(index) <= _INDEX_DIGITS):
        raise InvalidRequest(f"--map {word}: expected INDEX=PATCH, such as 0=zap-account, or 0=-")
    return int(index), patch_id


def _document(
    reading: series.Reading, matches: tuple[series.Match, ...], remedies: list[str]
) -> dict[str, Any]:
    return {
        "title": reading.title,
        "version": reading.version,
        "patches": [
            {
                "index": found.index,
                "mail": {
                    field.name: getattr(found.mail, field.name)
                    for field in dataclasses.fields(found.mail)
                    if field.name != "diff"
                },
                "patch": found.patch,
                "by": found.by,
                "candidates": list(found.candidates),
                "why": found.why or None,
                "places": found.mail.diff.places,
            }
            for found in matches
        ],
        "skipped": [dataclasses.asdict(skipped) for skipped in reading.skipped],
        "problems": list(reading.problems),
        "remedies": remedies,
    }


def _print_series(
    reading: series.Reading, matches: tuple[series.Match, ...], remedies: list[str]
) -> None:
    if reading.title:
        print(f"{clean(reading.title)} (v{reading.version})")
    for found in matches:
        mail = found.mail
        place = f"{mail.number}/{mail.total}" if mail.number else f"#{found.index}"
        known = f"{found.patch} (by {found.by})" if found.patch else found.by or _unmatched(found)
        subject = clean(mail.subject) or "(no subject)"
        print(textwrap.shorten(f"{place:<6}{subject}", reading_width(WIDTH), placeholder=" ..."))
        _fill(known, " " * 6, " " * 8)
    for skipped in reading.skipped:
        subject = clean(skipped.subject) or "(no subject)"
        _fill(f"left out: {subject}: {skipped.reason}", "", " " * 6)
    for problem in reading.problems:
        _fill(f"incomplete: {clean(problem)}", "", " " * 6)
    if remedies:
        print("remedies:")
    for remedy in remedies:
        _fill(remedy, "- ", "  ")


def _unmatched(found: series.Match) -> str:
    perhaps = f"; perhaps {' or '.join(found.candidates)}" if found.candidates else ""
    return f"not matched: {found.why}{perhaps}"


def _fill(text: str, first: str, indent: str) -> None:
    # A patch's name or a command in two pieces could not be copied.
    print(
        textwrap.fill(
            text,
            reading_width(WIDTH),
            initial_indent=first,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
    )


def _lines(patch: catalogue.Patch) -> Iterator[str]:
    """What decides where a patch can be used, and how far its numbers can be trusted."""
    if patch.requires:
        yield f"requires {', '.join(patch.requires)}"
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
