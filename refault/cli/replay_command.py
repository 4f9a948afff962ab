"""``refault replay``: traces and variants in, the comparison table out; no service needed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from refault.cli import replay_audits
from refault.cli.cost_option import WithCosts, costs_of
from refault.cli.event_file import STANDARD_OUTPUT, event_file
from refault.cli.exits import ExitCode
from refault.cli.files import required
from refault.cli.forms import HELP, audit_command, audit_notes, checked_form, with_audit_commands
from refault.cli.host_option import WithHost, host_of, with_host
from refault.cli.progress import Bars, simulator_bars
from refault.cli.tables import text_width
from refault.cli.terminal import print_error, print_json
from refault.cli.trace_files import is_refused, limits_told, naming
from refault.cli.variants import VARIANT_HELP, labelled_variants, variant_texts
from refault.documents import event_log_key
from refault.errors import InvalidParameter, ReplayRefused, TraceTruncated
from refault.trace.importers.recognition import Kind

if TYPE_CHECKING:
    from refault.audits import AuditReport, Level
    from refault.catalogue import Variant
    from refault.compare import Column, Comparison
    from refault.compare.costs import CostModel, Costs
    from refault.compare.steps import TraceEvidence
    from refault.results import RunResult

_EVENTS_HELP = (
    "File for the kvmmmu tracepoints of one variant on one trace, as the kernel prints them; - is "
    "standard output, and .zst at the end compresses."
)


_Form = Annotated[str, typer.Option("--format", "-f", help=HELP, metavar="FORMAT")]


def replay(
    traces: Annotated[list[Path], typer.Argument(help="Trace files (.rft).", show_default=False)],
    *,
    variant: Annotated[
        list[str],
        typer.Option("--variant", "-v", help=f"{VARIANT_HELP} The first one is the base."),
    ] = [],  # noqa: B006 - Typer copies it
    page_limit: Annotated[
        str | None,
        typer.Option(help="Shadow pages a VM may have, or FIRST/THEN/EVERY, for every variant."),
    ] = None,
    bypass: Annotated[int | None, typer.Option(help="VMX's bypass_guest_pf, 0 or 1.")] = None,
    every_counter: Annotated[
        bool, typer.Option("--all", help="Also show counters that no variant changes.")
    ] = False,
    form: _Form = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    events: Annotated[str | None, typer.Option(help=_EVENTS_HELP)] = None,
    audit: Annotated[str | None, typer.Option(help=replay_audits.HELP, show_default=False)] = None,
    costs: WithCosts = None,
    host: WithHost = None,
) -> None:
    """Replay traces under variants and compare them.

    Of variants that each add patches to the one before, or to the first, the text says which patch
    does what, and what two of them do together that neither does alone. Where they were audited,
    one that mends what the base breaks is a repair, whatever it costs (see `refault audit`).

    Exit code 1: the guest saw something else under a variant than under the base, or a column,
    the base included, has a finding; the text below the table names the column and the reason.
    Otherwise exit code 2 if an engine refuses a trace: the reason is printed, and the other
    traces are replayed.

    Example: refault replay demo/traces/linux61-boot-1cpu.rft -v base -v p2 -v p3

    Example: refault replay boot.rft -v base -v p3 --costs exit:1800,remote_flush:5000

    Example: refault replay boot.rft -v base -v p3 --host kvm_stat.txt

    Example: refault replay boot.rft -v base -v p3 --costs default --format csv
    """
    _required(traces)
    labelled = labelled_variants(variant, page_limit=page_limit, bypass=bypass)
    variants = list({each.digest: each for _, each in labelled}.values())
    _refuse_many(len(traces), len(variants), events, host)
    form = "json" if as_json else checked_form(form, has_host=host is not None)
    level = replay_audits.asked_level(audit, traces)
    weights, counted = costs_of(costs), host_of(host)
    accepted = [path for path in traces if not is_refused(path, variants)]
    if not accepted:
        raise typer.Exit(ExitCode.BAD_INPUT)
    done = _Done([], [], [])
    with event_file(events) as write_event, simulator_bars(enabled=form == "text") as progress:
        for path in accepted:
            try:
                results = _replayed(path, variants, progress, write_event)
            except ReplayRefused as error:
                if write_event is not None:
                    raise  # so that no half of an event log stays
                done.refusals.append(str(error))
                continue
            audits = _audited(path, variants, results, level, progress, events, done.refusals)
            done.add(path, _columns(labelled, results, audits), weights)
    texts = variant_texts(variant, page_limit=page_limit, bypass=bypass)
    asked = _Asked(accepted, labelled, texts, weights, form, is_log_out=events == STANDARD_OUTPUT)
    done = done._replace(comparisons=with_host(done.comparisons, counted))
    _show(done, asked, every_counter=every_counter)
    is_whole = len(done.comparisons) == len(traces) and not (done.refusals and level is not None)
    raise typer.Exit(_code_of(done.comparisons, is_whole=is_whole))


def _required(traces: list[Path]) -> None:
    for path in traces:
        required(path, Kind.TRACE, Kind.PIPE)


class _Done(NamedTuple):
    """What came of the traces so far."""

    comparisons: list[Comparison]
    evidence: list[TraceEvidence]
    refusals: list[str]

    def add(self, path: Path, columns: list[Column], weights: Costs | None) -> None:
        """One trace with the columns that it was replayed under."""
        from refault.compare import Scale, compare
        from refault.compare.comparison import evidence_of
        from refault.compare.costs import Costs
        from refault.compare.steps import TraceEvidence

        scale = Scale(weights or Costs())
        limits = limits_told(path)
        self.comparisons.append(
            compare(columns, trace_name=path.name, trace_limits=limits, scale=scale)
        )
        self.evidence.append(TraceEvidence(path.name, None, evidence_of(columns)))


def _refuse_many(
    trace_count: int, variant_count: int, events: str | None, host: Path | None
) -> None:
    """Refuse more than one run where a file can only be of one."""
    if events is not None and (trace_count > 1 or variant_count > 1):
        raise InvalidParameter("--events is the log of one run: give one trace and one --variant")
    if host is not None and trace_count > 1:
        raise InvalidParameter("--host has the counters of one guest: give one trace")


def _code_of(comparisons: list[Comparison], *, is_whole: bool) -> ExitCode:
    """How the command ends; ``is_whole`` says that all that was asked for was done."""
    from refault.compare import overall

    if comparisons and overall(comparisons).status.is_alarming:
        return ExitCode.ANSWER_IS_NO
    return ExitCode.OK if is_whole else ExitCode.BAD_INPUT


def _replayed(
    path: Path,
    variants: list[Variant],
    bars: Bars,
    write_event: Callable[[str], object] | None,
) -> list[RunResult]:
    """The results of one trace, in the order of the variants; an event log gets its last line."""
    from refault.replay import session

    task = bars.add_task(path.name, total=None)
    with naming(path):
        results = session.replay(
            path,
            variants,
            threads=min(len(variants), len(os.sched_getaffinity(0))),
            progress=lambda done, total: bars.update(task, completed=done, total=total or None),
            events=write_event,
        )
        _refuse_nothing(results)
    if write_event is not None:
        write_event(event_log_key(results[0]).to_line())
    return results


def _audited(
    path: Path,
    variants: list[Variant],
    results: list[RunResult],
    asked: Level | None,
    bars: Bars,
    events: str | None,
    refusals: list[str],
) -> dict[str, AuditReport]:
    """The audits of one trace, by the digest of the variant; none if an engine refuses it."""
    count = results[0].event_count
    level = replay_audits.level_for(path, count, asked, is_logged=events is not None)
    try:
        with naming(path):
            return replay_audits.audited(path, variants, level, bars)
    except ReplayRefused as error:
        refusals.append(f"not audited: {error}")
        return {}


def _models(
    paths: list[Path], comparisons: list[Comparison], weights: Costs | None
) -> list[CostModel]:
    """The modelled cycles of each comparison, with the vCPUs of its trace, if asked for."""
    from refault.compare.costs import model
    from refault.trace import TraceReader

    if weights is None:
        return []
    vcpus: dict[str, int] = {}
    for path in paths:
        if path.is_file():
            with TraceReader(path, allow_truncated=True) as trace:
                vcpus[path.name] = trace.header.vcpu_count
    return [model(each, weights, vcpus=vcpus.get(each.trace.name)) for each in comparisons]


class _Asked(NamedTuple):
    """What was asked for, as far as the answer tells of it."""

    paths: list[Path]
    labelled: list[tuple[str, Variant]]
    texts: list[str]
    weights: Costs | None
    form: str
    is_log_out: bool


def _show(done: _Done, asked: _Asked, *, every_counter: bool) -> None:
    """Print the comparisons, if there are any, with the command that reproduces them."""
    from refault.cli.replay_steps import told_of
    from refault.compare import layout, to_csv, to_dict, to_markdown, to_text
    from refault.compare.cost_text import cost_text, with_models

    out = sys.stderr if asked.is_log_out else sys.stdout
    for reason in done.refusals:  # not amid the bars
        print_error(reason)
    comparisons = done.comparisons
    if not comparisons:
        return
    models = _models(asked.paths, comparisons, asked.weights)
    commands = _audit_commands(asked, comparisons)
    notes = audit_notes(comparisons, commands, [""] * len(comparisons))
    if asked.form == "json":
        documents = with_models([to_dict(each) for each in comparisons], models)
        print_json(with_audit_commands(documents, commands), file=out)
        return
    if asked.form == "csv":
        print(to_csv(comparisons, models), end="", file=out)
        return
    told = told_of(asked.labelled, done.evidence, asked.weights)
    title = f"refault comparison: {', '.join(each.trace.name for each in comparisons)}"
    command = shlex.join(["refault", *sys.argv[1:]])
    if asked.form == "md":
        text = to_markdown(
            comparisons,
            title=title,
            command=command,
            every_counter=every_counter,
            plan=told.plan,
            steps=told.steps,
            interactions=told.interactions,
            models=models,
        )
        print(text + "".join(f"\n{note}\n" for note in notes if note), end="", file=out)
        return
    text = to_text(
        comparisons,
        title=title,
        command=command,
        every_counter=every_counter,
        width=text_width(72),
        plan=told.plan,
        steps=told.steps,
        interactions=told.interactions,
    )
    if models:
        text += cost_text(
            [(each.trace.name, m) for each, m in zip(comparisons, models, strict=True)],
            width=text_width(72),
        )
    for note in filter(None, notes):
        text += "\n" + "\n".join(layout.wrap(note, text_width(72), indent="  ")) + "\n"
    print(text, end="", file=out)


def _audit_commands(asked: _Asked, comparisons: list[Comparison]) -> list[str]:
    """For each comparison the command that audits its file, empty where it was audited."""
    files = {path.name: str(path) for path in asked.paths if path.is_file()}
    return [
        audit_command(each, asked.texts, files[each.trace.name], is_stored=False)
        if each.trace.name in files
        else ""
        for each in comparisons
    ]


def _refuse_nothing(results: list[RunResult]) -> None:
    """A truncated trace is replayed up to its last whole block; without one there is no answer."""
    if any(result.truncated and not result.event_count for result in results):
        raise TraceTruncated(
            "the file ends inside its first block, so there is nothing to replay; copy it again"
        )


def _columns(
    labelled: list[tuple[str, Variant]],
    results: list[RunResult],
    audits: dict[str, AuditReport],
) -> list[Column]:
    """The columns of one trace, as asked for: several may share a variant, and so a result."""
    from refault.compare import Column

    by_digest = {result.variant_digest: result for result in results}
    return [
        Column(
            label=label,
            variant_name=variant.name,
            golden_name=variant.golden_name,
            result=by_digest[variant.digest],
            variant_digest=variant.digest,
            engine=variant.engine,
            audit=audits.get(variant.digest),
        )
        for label, variant in labelled
    ]
