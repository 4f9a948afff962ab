"""``refault audit``: the invariants of the shadow MMU, checked while variants run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from refault.audits import LEVELS, SAMPLE_EVERY, AuditReport, Level, audit_key
from refault.catalogue import patch_set_to_text
from refault.cli import asking
from refault.cli.asking import AtService
from refault.cli.event_file import STANDARD_OUTPUT, event_file
from refault.cli.exits import ExitCode
from refault.cli.progress import Bars, simulator_bars
from refault.cli.service import WithTimeout, WithToken, WithUrl
from refault.cli.terminal import print_error, print_json
from refault.cli.trace_files import as_trace, naming
from refault.cli.variants import VARIANT_HELP, labelled_variants
from refault.errors import InvalidParameter, ReplayRefused, TraceTruncated
from refault.questions import Question
from refault.trace import TraceReader

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.trace import TraceSummary

OFF = LEVELS[0]
_LATER_THAN_ANY = 1 << 62  # event


@dataclasses.dataclass(frozen=True)
class _Audited:
    """The audits of one trace: ``words`` is how ``-v`` names each variant."""

    source: Path
    name: str
    is_truncated: bool
    level: Level
    labels: tuple[str, ...]
    words: tuple[str, ...]
    reports: tuple[AuditReport, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "trace": self.name,
            "source": str(self.source),
            "digest": self.reports[0].trace_digest,
            "is_truncated": self.is_truncated,
            "level": self.level.word,
            "audits": [
                {
                    "label": label,
                    "key": dataclasses.asdict(audit_key(report)),
                    "digest": report.digest,
                    "is_sound": report.is_sound,
                    "report": report.to_dict(),
                }
                for label, report in zip(self.labels, self.reports, strict=True)
            ],
        }


_Every = Annotated[
    int | None,
    typer.Option(help=f"Operations between two samples; default: {SAMPLE_EVERY}."),
]
_Seed = Annotated[int | None, typer.Option(help="Draws the samples; default: 0.")]
_Out = Annotated[
    str | None,
    typer.Option(help="File for the JSON; - is standard output, and .zst at the end compresses."),
]


def audit(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Traces (.rft), and operation vectors (.ops.jsonl, also compressed by zstd, gzip, "
            "xz or bzip2), which are imported on the way.",
            show_default=False,
        ),
    ],
    *,
    variant: Annotated[list[str], typer.Option("--variant", "-v", help=VARIANT_HELP)] = [],  # noqa: B006 - Typer copies it
    level: Annotated[
        str | None,
        typer.Option(
            help="sampled: the host at drawn places; flush: also after flush points, root loads "
            "and what the host does, and every access; every: all of it after every operation. "
            "Default: every for operations, flush for a capture.",
            show_default=False,
        ),
    ] = None,
    every: _Every = None,
    seed: _Seed = None,
    at_service: AtService = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    out: _Out = None,
) -> None:
    """Check the invariants of the shadow MMU while variants run, and say what broke them.

    Where a trace has no witness, nothing else says whether what a guest sees is right. Exit code
    1: a check failed that is no known exception; 2: an engine refuses a trace. The model is checked
    whole; of a kernel of your own, which keeps its state to itself, every outcome is (F-T5, F-P1).

    Example: refault audit stale-subtree.ops.jsonl -v base -v apr -v rel35

    Example: refault audit demo/traces/linux61-boot-1cpu.rft -v p3 --level sampled --every 100000

    Example: refault audit linux61-boot-1cpu -v p3 --service
    """
    asked = _level_of(level, every, seed)
    if at_service:
        where = asking.Connection(url, token, timeout)
        _ask_service(where, paths, variant, asked, has_file=out is not None, as_json=as_json)
        return
    labelled = labelled_variants(variant)
    audited: list[_Audited] = []
    refusals: list[str] = []
    with (
        event_file(out, option="--out") as write,
        simulator_bars(enabled=not as_json) as bars,
    ):
        for path in paths:
            try:
                audited.append(_audited(path, labelled, asked, bars, is_typed=bool(variant)))
            except ReplayRefused as error:
                refusals.append(str(error))
        if write is not None:
            write(json.dumps([each.to_dict() for each in audited], indent=2) + "\n")
    for reason in refusals:  # not amid the bars
        print_error(reason)
    _show(audited, as_json=as_json, file=sys.stderr if out == STANDARD_OUTPUT else sys.stdout)
    if not all(report.is_sound for each in audited for report in each.reports):
        raise typer.Exit(ExitCode.ANSWER_IS_NO)
    if refusals:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _ask_service(
    where: asking.Connection,
    paths: list[Path],
    variants: list[str],
    level: Level | None,
    *,
    has_file: bool,
    as_json: bool,
) -> None:
    """One question for each trace and variant; exits as the command does."""
    if has_file:
        raise InvalidParameter("--out is for audits made here; with --service use --json")
    texts = variants or [patch_set_to_text(each.patch_set) for _, each in labelled_variants([])]
    told = asking.ask(
        where,
        lambda trace: Question(level or _default_level(trace["content"])),
        [str(path) for path in paths],
        [(text,) for text in texts],
        has_bar=not as_json,
    )
    asking.show(told, as_json=as_json)
    reports = [AuditReport.from_dict(each.found.get("answer") or {}) for each in told]
    if not all(report.is_sound for report in reports):
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _level_of(name: str | None, every: int | None, seed: int | None) -> Level | None:
    """The level asked for; None leaves it to the content of each trace."""
    if name == OFF:
        raise InvalidParameter(f"--level {OFF} checks nothing: choose {', '.join(LEVELS[1:])}")
    if name != "sampled" and (every is not None or seed is not None):
        option = "--every" if every is not None else "--seed"
        raise InvalidParameter(f"{option} is for --level sampled")
    if name is None:
        return None
    return Level(name, SAMPLE_EVERY if every is None else every, 0 if seed is None else seed)


def _audited(
    path: Path,
    labelled: list[tuple[str, Variant]],
    asked: Level | None,
    bars: Bars,
    *,
    is_typed: bool,
) -> _Audited:
    """The audits of one trace, one for each machine among the variants."""
    from refault.engines.audit import auditing

    by_digest: dict[str, Variant] = {}
    for _, variant in labelled:
        by_digest.setdefault(variant.digest, variant)
    variants = list(by_digest.values())
    labels, words = [], []
    for each in variants:
        same = [label for label, variant in labelled if variant.digest == each.digest]
        labels.append(", ".join(dict.fromkeys(same)))
        words.append(same[0] if is_typed else patch_set_to_text(each.patch_set))
    task = bars.add_task(path.name, total=None)
    with naming(path), as_trace(path) as trace:
        summary = _summary_of(trace)
        level = asked or _default_level(summary.header.content)
        reports = auditing.audit(
            trace,
            variants,
            level,
            threads=min(len(variants), len(os.sched_getaffinity(0))),
            progress=lambda done, total: bars.update(task, completed=done, total=total or None),
        )
        name = trace.stem
    return _Audited(
        path, name, summary.truncated, level, tuple(labels), tuple(words), tuple(reports)
    )


def _summary_of(trace: Path) -> TraceSummary:
    """What is in the trace; its blocks are hashed, and decoded only if it ends early.

    Raises:
        TraceTruncated: it ends before its first whole block.
    """
    with TraceReader(trace, allow_truncated=True) as reader:
        for _ in reader.blocks(_LATER_THAN_ANY):
            pass
        if reader.truncated and not reader.summary.event_count:
            raise TraceTruncated(
                "the file ends inside its first block, so there is nothing to audit; copy it again"
            )
        return reader.summary


def _default_level(content: str) -> Level:
    """As close as can be afforded: operations are few, and nothing else judges them."""
    return Level("every" if content == "operations" else "flush")


def _show(audited: list[_Audited], *, as_json: bool, file: TextIO) -> None:
    """Print the audits, if there are any."""
    from refault.compare.audit_report import report_text

    if not audited:
        return
    if as_json:
        print_json([each.to_dict() for each in audited], file=file)
        return
    texts = []
    for each in audited:
        for label, word, report in zip(each.labels, each.words, each.reports, strict=True):
            command = ["refault", "audit", str(each.source), "-v", word, *_options(each.level)]
            title = f"{each.name} under {label} ({report.variant_name})"
            if each.is_truncated:
                title += "; the file is truncated: audited up to its last whole block"
            texts.append(report_text(report, title=title, command=command))
    print("\n".join(texts), end="", file=file)


def _options(level: Level) -> list[str]:
    """The level as options."""
    if level.name != "sampled":
        return ["--level", level.name]
    return ["--level", level.name, "--every", str(level.every), "--seed", str(level.seed)]
