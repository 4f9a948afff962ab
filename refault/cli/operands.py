"""The operands of ``refault compare``: batches, their columns and cells, runs, files."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refault.audits import AuditReport
from refault.cli import names
from refault.cli.files import no_file
from refault.cli.forms import text_of
from refault.compare import Column
from refault.errors import NotFound, ResultError
from refault.results import RunResult
from refault.trace.importers.recognition import Kind, look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from refault.client import BatchDocument, Client, RunDocument

_HAVE_RESULTS = {"done", "cached"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run as a column, and the trace it is of; ``text`` is its variant as ``-v`` takes it."""

    trace_name: str
    trace_digest: str
    column: Column
    text: str = ""
    is_stored: bool = False


def load(word: str, client: Callable[[], Client]) -> list[Cell]:
    """The cells a word means: a file, a run's id, or ``BATCH[/TRACE][/COLUMN]``.

    ``client`` is asked for only where the service is needed.
    """
    if names.is_id(word):
        return [_of_run(client(), word)]
    if look(Path(word)).kind is Kind.RESULT:
        return [_of_file(Path(word))]
    no_file(word)
    if word.endswith(".json"):
        raise ResultError(look(Path(word)).refusal())
    code, _, rest = word.partition("/")
    batch = client().get_batch(code)
    trace_digest, variant_digest = _selected(batch, rest)
    cells = []
    for column in _distinct(batch):
        digest = column["variant"]["digest"]
        if variant_digest in {None, digest}:
            label = f"{code}/{column['label']}"
            cells += [
                _cell(client(), batch, run, label)
                for run in _runs(client(), code, trace_digest, digest)
            ]
    return cells


def run_of(client: Client, word: str) -> RunDocument:
    """The one run a word means: its id, or ``BATCH/TRACE/COLUMN``."""
    if names.is_id(word):
        return client.get_run(word)
    code, _, rest = no_file(word).partition("/")
    batch = client.get_batch(code)
    trace_digest, variant_digest = _selected(batch, rest)
    found = _runs(client, code, trace_digest, variant_digest)
    if len(found) != 1:
        raise NotFound(
            f"{word} is {len(found)} runs; name one as {code}/TRACE/COLUMN, "
            f"`refault batches show {code}` lists them"
        )
    return client.get_run(found[0]["id"])


def _runs(
    client: Client, code: str, trace_digest: str | None, variant_digest: str | None
) -> list[RunDocument]:
    """The runs of a batch, or those of one trace or one variant."""
    list_page = partial(client.list_runs, code, trace=trace_digest, variant=variant_digest)
    return list(names.all_of(list_page))


def _selected(batch: BatchDocument, rest: str) -> tuple[str | None, str | None]:
    """The digests of trace and variant that ``[TRACE][/COLUMN]`` leaves; None for all of them."""
    if not rest:
        return None, None
    for trace in batch["traces"]:
        for name in (trace["name"], trace["digest"], trace["digest"][:12], trace["id"]):
            if rest == name:
                return trace["digest"], None
            if rest.startswith(f"{name}/"):
                word = rest.removeprefix(f"{name}/")
                return trace["digest"], names.column(batch, word)["variant"]["digest"]
    return None, names.column(batch, rest)["variant"]["digest"]


def _distinct(batch: BatchDocument) -> list[Any]:
    """The columns, one for each machine."""
    return list(
        {column["variant"]["digest"]: column for column in reversed(batch["columns"])}.values()
    )[::-1]


def _cell(client: Client, batch: BatchDocument, run: RunDocument, label: str) -> Cell:
    trace = next(entry for entry in batch["traces"] if entry["id"] == run["trace_id"])
    full = client.get_run(run["id"]) if run["state"] in _HAVE_RESULTS else run
    column = _column(full, label)
    text = text_of(column, run["variant"])
    return Cell(trace["name"], trace["digest"], column, text, is_stored=True)


def _of_run(client: Client, run_id: str) -> Cell:
    run = client.get_run(run_id)
    trace = client.get_trace(run["trace_digest"])
    text = run["variant"]["text"]
    return Cell(trace["name"], trace["digest"], _column(run, text), text, is_stored=True)


def _column(run: RunDocument, label: str) -> Column:
    body = run.get("result")
    alarm = run.get("integrity_alarm")
    return Column(
        label=label,
        variant_name=run["variant"]["name"],
        golden_name=run["variant"]["golden_name"],
        result=None if body is None else RunResult.from_dict(body),
        state=run["state"],
        variant_digest=run["variant"]["digest"],
        alarm=None if alarm is None else "computed again, it gave other bytes",
        error=(run["error"] or "").strip().rpartition("\n")[2] or None,
        audit=_audit_of(run, run["variant"]["digest"], run["trace_digest"]),
    )


def _audit_of(run: Mapping[str, Any], variant_digest: str, trace_digest: str) -> AuditReport | None:
    """The audit that is shown with a run; None where none was asked for, or it is not done.

    Raises:
        ResultError: it is no audit, or one of another run.
    """
    asked = run.get("audit")
    if not isinstance(asked, dict) or asked.get("report") is None:
        return None
    if not isinstance(asked["report"], dict):
        raise ResultError("audit: not the JSON of one")
    report = AuditReport.from_dict(asked["report"])
    if (report.variant_digest, report.trace_digest) != (variant_digest, trace_digest):
        raise ResultError("audit: of another trace or variant than the run it is shown with")
    return report


def _of_file(path: Path) -> Cell:
    """A result kept in a file: a run as the service shows it, or the result alone."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        held = body.get("result", body)
        result = RunResult.from_dict(held)
    except (OSError, ValueError, TypeError, AttributeError, ResultError, RecursionError) as error:
        raise ResultError(f"{path}: not the JSON of a run or a result: {error}") from error
    variant = body.get("variant")
    variant = variant if isinstance(variant, dict) else {}
    column = Column(
        label=path.stem,
        variant_name=str(variant.get("name") or path.stem),
        golden_name=str(variant["golden_name"]) if variant.get("golden_name") else None,
        result=result,
        audit=_audit_of(body, result.variant_digest, result.trace_digest),
    )
    name = str(body.get("trace_name") or result.trace_digest[:12])
    text = text_of(column, variant)
    return Cell(name, result.trace_digest, column, text, is_stored="trace_name" in body)
