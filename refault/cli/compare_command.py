"""``refault compare``: a batch, or several things against the first of them."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli.cost_option import WithCosts, costs_of
from refault.cli.exits import ExitCode
from refault.cli.forms import HELP, audit_command, audit_notes, checked_form, with_audit_commands
from refault.cli.host_option import WithHost, host_of, with_host
from refault.cli.operands import Cell, load
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.tables import text_width
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare import (
    Comparison,
    Scale,
    Verdict,
    compare,
    layout,
    overall,
    to_csv,
    to_dict,
    to_markdown,
    to_text,
)
from refault.compare.cost_text import cost_text, with_models
from refault.compare.costs import Costs, model
from refault.compare.overall import exit_code_of
from refault.errors import ComparisonError

if TYPE_CHECKING:
    from refault.client import Client


def compare_runs(
    things: Annotated[
        list[str],
        typer.Argument(
            help="BATCH, BATCH/COLUMN, BATCH/TRACE/COLUMN, the id of a run, or a JSON file of "
            "one. The first column of the first is the base.",
            metavar="A [B]...",
            show_default=False,
        ),
    ],
    *,
    form: Annotated[str, typer.Option("--format", "-f", help=HELP, metavar="FORMAT")] = "text",
    every_counter: Annotated[
        bool, typer.Option("--all", help="Also show counters that nothing changes (text).")
    ] = False,
    costs: WithCosts = None,
    host: WithHost = None,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Compare runs of the same traces: of one batch, or of several.

    Traces that only one of them has are omitted. Exit code 1: a regression or worse, or costs
    that rose and fell and weigh more on balance; 0: also where a column repairs its base; 5: a
    result is missing. Verdicts rest on the audits of the runs too, where their batch asked for
    them (`refault submit --audit`); where it did not, the answer says so.

    Example: refault compare b-7k3f/1-5 b-9x2m/1-6 --format md
    """
    weights = costs_of(costs)
    checked_form(form, has_host=host is not None)
    counted = host_of(host)
    with ExitStack() as stack:

        @cache
        def client() -> Client:
            return stack.enter_context(connect(url, token, timeout))

        loaded = [load(word, client) for word in dict.fromkeys(things)]
    comparisons = with_host(_compared(loaded, weights), counted)
    command = ["refault", *sys.argv[1:]]
    title = f"refault comparison: {', '.join(things)}"
    models = [] if weights is None else [model(each, weights) for each in comparisons]
    notes = _notes(comparisons, loaded)
    if as_json or form == "json":
        documents = with_models([to_dict(each) for each in comparisons], models)
        commands = [command for command, _ in _audit_commands(comparisons, loaded)]
        print_json(with_audit_commands(documents, commands))
    elif form == "md":
        told = to_markdown(comparisons, title=title, command=shlex.join(command), models=models)
        print(told + "".join(f"\n{note}\n" for note in notes), end="")
    elif form == "csv":
        print(to_csv(comparisons, models), end="")
    else:
        width = text_width(72)
        text = to_text(
            comparisons, title=title, command=command, every_counter=every_counter, width=width
        )
        if models:
            names = [each.trace.name for each in comparisons]
            text += cost_text(list(zip(names, models, strict=True)), width=width)
        for note in notes:
            text += "\n" + "\n".join(layout.wrap(note, width, indent="  ")) + "\n"
        print(text, end="")
    raise typer.Exit(_exit_code(comparisons))


def _compared(loaded: list[list[Cell]], weights: Costs | None) -> list[Comparison]:
    """One comparison for every trace that all the things have."""
    digests = [{cell.trace_digest for cell in cells} for cells in loaded]
    common = set.intersection(*digests)
    comparisons = []
    for digest in dict.fromkeys(cell.trace_digest for cell in loaded[0]):
        if digest not in common:
            continue
        cells = [cell for cells in loaded for cell in cells if cell.trace_digest == digest]
        name = cells[0].trace_name
        columns = [cell.column for cell in cells]
        scale = Scale(weights or Costs())
        comparisons.append(compare(columns, trace_name=name, trace_digest=digest, scale=scale))
    if not comparisons:
        raise ComparisonError("they have no trace in common, so nothing can be compared")
    return comparisons


def _audit_commands(
    comparisons: list[Comparison], loaded: list[list[Cell]]
) -> list[tuple[str, str]]:
    """For each trace the command that audits it, empty where it was, and whose file it names."""
    cells = [cell for cells in loaded for cell in cells]
    commands = []
    for each in comparisons:
        of = [cell for cell in cells if cell.trace_digest == each.trace.digest]
        texts = [cell.text for cell in of if cell.column.result is not None]
        is_stored = any(cell.is_stored for cell in of)
        name = each.trace.name
        command = audit_command(each, texts, name if is_stored else "TRACE", is_stored=is_stored)
        commands.append((command, "" if is_stored else name))
    return commands


def _notes(comparisons: list[Comparison], loaded: list[list[Cell]]) -> list[str]:
    """What was not asked of each trace, where it was not audited."""
    commands, files_of = zip(*_audit_commands(comparisons, loaded), strict=True)
    return audit_notes(comparisons, commands, files_of)


def _exit_code(comparisons: list[Comparison]) -> ExitCode:
    if all(len(each.columns) == 1 for each in comparisons):
        # Nothing is held against a base: only what is wrong with it by itself counts.
        worst = min((each.worst_verdict for each in comparisons), key=lambda verdict: verdict.rank)
        return ExitCode.OK if worst is Verdict.BASE else ExitCode(exit_code_of(worst))
    return ExitCode(overall(comparisons).exit_code)
