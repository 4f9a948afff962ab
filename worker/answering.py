"""From a question to the document that answers it: a pure computation on one trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack

from refault.audits import Level
from refault.catalogue import Variant
from refault.compare import audit_report
from refault.diverge import text as divergence_text
from refault.diverge.around import plain
from refault.diverge.diverging import diverge
from refault.diverge.search import Job
from refault.documents import DocumentKey
from refault.engines import get_engine
from refault.engines.audit import auditing
from refault.errors import ReplayCancelled
from refault.inspect import text as inspection_text
from refault.inspect.inspecting import look, timeline_of
from refault.questions import Between, Column, Itself, Question, Where
from refault.verify import verify
from refault.verify.text import report_lines


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question of a trace: its digest and file, and the variants, each with the text of ``-v``.

    ``is_cancelled`` is asked several times a second; ``progress`` is told bytes read, of how many.
    """

    question: Question
    trace_digest: str
    trace: Path
    variants: Sequence[tuple[str, Variant]]
    progress: Callable[[int, int], None] | None = None
    is_cancelled: Callable[[], bool] = lambda: False
    memory_bytes: int | None = None

    @property
    def key(self) -> DocumentKey:
        """The key of the answer, of the engines that are here."""
        columns = [
            Column(variant.digest, get_engine(variant.engine).digest)
            for _, variant in self.variants
        ]
        return self.question.key(self.trace_digest, columns)

    @property
    def file_name(self) -> str:
        """What commands name the trace: by digest, as each project names it otherwise."""
        return f"{self.trace_digest[:12]}.rft"

    def look(self) -> None:
        """Raises ReplayCancelled if nobody wants the answer any more."""
        if self.is_cancelled():
            raise ReplayCancelled("cancelled")


def answer(asked: Asked) -> bytes:
    """The document: canonical msgpack of ``answer`` (as JSON has it) and ``text``.

    Raises:
        InvalidParameter: there is no such place, address, counter.
        ReplayCancelled: ``is_cancelled`` said so.
        ReplayRefused: an engine cannot do it, or not on this trace.
        TraceError: the trace is damaged.
    """
    options = asked.question.options
    if isinstance(options, Level):
        told, text = _audit(asked, options)
    elif isinstance(options, Between):
        told, text = _divergence(asked, options)
    elif isinstance(options, Itself):
        told, text = _verification(asked)
    else:
        told, text = _inspection(asked, options)
    packed: bytes = msgpack.packb({"answer": told, "text": text})
    return packed


def _audit(asked: Asked, level: Level) -> tuple[dict[str, Any], str]:
    [(label, variant)] = asked.variants
    [report] = auditing.audit(
        asked.trace,
        [variant],
        level,
        progress=asked.progress,
        is_cancelled=asked.is_cancelled,
        memory_bytes=asked.memory_bytes,
    )
    command = ["refault", "audit", asked.file_name, "-v", label, "--level", level.name]
    if level.name == "sampled":
        command += ["--every", str(level.every), "--seed", str(level.seed)]
    title = f"{asked.trace_digest[:12]} under {label} ({report.variant_name})"
    return report.to_dict(), audit_report.report_text(report, title=title, command=command)


def _divergence(asked: Asked, between: Between) -> tuple[dict[str, Any], str]:
    labels = [label for label, _ in asked.variants]
    job = Job(
        asked.trace,
        [variant for _, variant in asked.variants],
        progress=asked.progress,
        is_cancelled=asked.is_cancelled,
        memory_bytes=asked.memory_bytes,
    )
    report = diverge(job, between.on, wants_next=between.wants_next)
    command = ["refault", "diverge", asked.file_name, *labels, "--on", between.on]
    command += ["--next"] * between.wants_next
    told = divergence_text.Told(asked.trace_digest[:12], (labels[0], labels[1]), command)
    return plain(report), divergence_text.report_text(report, told)


def _verification(asked: Asked) -> tuple[dict[str, Any], str]:
    found = verify(
        asked.trace,
        progress=asked.progress,
        is_cancelled=asked.is_cancelled,
        memory_bytes=asked.memory_bytes,
    )
    command = f"$ refault verify {asked.file_name}"
    lines = report_lines(found, title=asked.trace_digest[:12])
    return found.to_dict(), "\n".join([*lines, "", command, ""])


def _inspection(asked: Asked, where: Where) -> tuple[dict[str, Any], str]:
    [(label, variant)] = asked.variants
    view = look(timeline_of(asked.trace, variant, asked.look), where)
    command = ["refault", "inspect", asked.file_name, "-v", label]
    command += inspection_text.options_of(view, where)
    told = inspection_text.Told(asked.trace_digest[:12], label, command)
    return plain(view), inspection_text.view_text(view, told)
