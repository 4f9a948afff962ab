"""A batch as a reply to a patch series: plain text of at most 72 columns, base first.

::

    title, and where to look
    alarms                  what is wrong before any speed may be read
    column by column        verdict, cost against the base and against the patch before
    which to merge          each patch, and pairs that do more or less together than alone
    traces that moved       exact counts
    what it rests on        patches, traces, simulator, and the command that gives it again

It is made from the JSON of a comparison (``GET /api/v1/comparisons/BATCH``), so that whoever can
read that can write the mail.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from refault.compare import layout, titles
from refault.compare.answers import steps_text
from refault.compare.interactions import sentences_text
from refault.compare.percent import change_text, percent_text
from refault.compare.summary import HEADLINE
from refault.compare.verdicts import Verdict
from refault.errors import ComparisonError

WIDTH = 72
_DIGEST_LENGTH = 12
_LABEL_WIDTH = 14
_RATIO_WIDTH = 9
_STILL = {Verdict.IDENTICAL.value, Verdict.UNCHANGED.value, Verdict.MISSING.value, "base"}


class _Column(NamedTuple):
    """One column of the batch; ``patch`` is what it has more than the one before, or empty.

    ``engine`` is a word where there are several, else empty.
    """

    label: str
    digest: str
    patch: str
    before: str | None
    engine: str = ""


def to_mail(document: Mapping[str, Any], *, link: str) -> str:
    """The mail of a comparison; ``link`` is where to look further.

    Raises:
        ComparisonError: there is nothing to tell.
    """
    comparisons = document["comparisons"]
    if not comparisons:
        raise ComparisonError("nothing to report: the batch has no trace")
    columns = _columns(document)
    lines = [*layout.wrap(document["title"], WIDTH), "=" * WIDTH]
    if document.get("answer"):
        lines += ["", *layout.wrap(document["answer"], WIDTH)]
    lines += _alarms(comparisons)
    lines += ["", *_table(columns, comparisons)]
    if document.get("steps"):
        lines += ["", *steps_text(document["steps"], WIDTH)]
    lines += _pairs(document.get("interactions") or ())
    lines += _moved(columns, comparisons)
    lines += ["", *_notes(columns, comparisons)]
    lines += _grounds(document, columns)
    lines += ["", "Reproduce with:", "", *layout.shell_command(document["command"], WIDTH)]
    lines += ["", link]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _pairs(interactions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What two patches do together that neither does alone."""
    notable = [each["sentence"] for each in interactions if each["is_notable"]]
    told = sentences_text(notable, WIDTH)
    return ["", *told] if told else []


def _columns(document: Mapping[str, Any]) -> list[_Column]:
    """The columns of the batch in its order, the base of the comparison first."""
    batch = document["batch"]
    is_mixed = len(batch.get("simulators") or {}) > 1
    sets = {row["id"]: row for row in batch["patch_sets"]}
    found: list[_Column] = []
    earlier: dict[tuple[str, int], str] = {}
    for column in batch["columns"]:
        patches = sets[column["patch_set_id"]]["patches"]
        length = column["prefix_length"]
        patch, before = "", None
        if batch["plan"] == "series":
            length = len(patches) if length is None else length
            patch = patches[length - 1] if length else ""
            before = earlier.get((column["patch_set_id"], length - 1))
            earlier[column["patch_set_id"], length] = column["variant"]["digest"]
        word = titles.engine_word(column["variant"]["engine"]) if is_mixed else ""
        found.append(_Column(column["label"], column["variant"]["digest"], patch, before, word))
    base = document["comparisons"][0]["columns"][0]["variant_digest"]
    return sorted(found, key=lambda column: column.digest != base)


def _alarms(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Alarms, which make every number of a column meaningless: a paragraph per column and trace."""
    lines: list[str] = []
    for comparison in comparisons:
        for column in comparison["columns"]:
            verdict = column["verdict"]
            if verdict["is_alarming"]:
                text = f"{verdict['title']} in {column['label']} on {comparison['trace']['name']}"
                text += f": {column['reason']}." if column["reason"] else "."
                lines += layout.wrap(text, WIDTH, indent="  ")
                for finding in column["findings_text"]:
                    lines += layout.wrap(finding, WIDTH, first="  ", indent="    ")
    return ["", *lines] if lines else []


def _table(columns: Sequence[_Column], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each column: verdict, cost against the base, and what its own patch did."""
    is_series = any(column.before for column in columns)
    sound, left_out = _sound(columns, comparisons)
    told = f"Guest faults that reached the host ({HEADLINE}) as a ratio to the base"
    if len(comparisons) > 1:
        told += f", geometric mean of {layout.counted(len(sound), 'trace')}"
    if is_series:
        told += "; 'patch' is the ratio to the column before"
    if left_out:
        told += f". Left out in every line: {', '.join(left_out)}, with an alarm in some column"
    head = layout.left("column", _LABEL_WIDTH) + layout.left("verdict", 12)
    head += layout.right("to base", _RATIO_WIDTH)
    head += f"{layout.right('patch', _RATIO_WIDTH)}  which" if is_series else ""
    lines = [*layout.wrap(f"{told}.", WIDTH), "", head, "-" * WIDTH]
    base = columns[0].digest
    for column in columns:
        worst = min(
            (_cell(comparison, column.digest)["verdict"] for comparison in comparisons),
            key=lambda verdict: verdict["rank"],
        )
        line = layout.left(layout.clean(column.label), _LABEL_WIDTH)
        if layout.display_width(line) > _LABEL_WIDTH:
            lines += layout.wrap(column.label, WIDTH)
            line = " " * _LABEL_WIDTH
        line += layout.left(worst["word"], 12)
        line += layout.right(_ratio(sound, base, column.digest), _RATIO_WIDTH)
        if is_series:
            step = _ratio(sound, column.before, column.digest) if column.before else "-"
            line += f"{layout.right(step, _RATIO_WIDTH)}  {column.patch or '-'}"
        lines.append(line)
    return lines


def _sound(
    columns: Sequence[_Column], comparisons: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The traces whose every column is sound, and the names of the others.

    One and the same set for all lines: only then is the product of the steps the ratio to the base.
    """
    sound: list[Mapping[str, Any]] = []
    left_out: list[str] = []
    for comparison in comparisons:
        if any(_is_alarming(comparison, column.digest) for column in columns):
            left_out.append(comparison["trace"]["name"])
        else:
            sound.append(comparison)
    return sound, left_out


def _ratio(comparisons: Sequence[Mapping[str, Any]], one: str | None, other: str) -> str:
    """The geometric mean of the cost's ratios; a dash where there is none."""
    ratios = []
    for comparison in comparisons:
        if one is None:
            continue
        before, after = _cost(comparison, one), _cost(comparison, other)
        if before and after:
            ratios.append(after / before)
    if not ratios:
        return "-"
    return f"{statistics.geometric_mean(ratios):.3f}"


def _moved(columns: Sequence[_Column], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """The traces that changed under each column, with exact counts."""
    lines: list[str] = []
    base = columns[0].digest
    told: set[str] = {base}
    for column in columns:
        if column.digest in told:
            continue
        told.add(column.digest)
        for comparison in comparisons:
            if _cell(comparison, column.digest)["verdict"]["name"] in _STILL:
                continue
            cell = _cell(comparison, column.digest)
            text = f"{column.label}: {comparison['trace']['name']} {cell['verdict']['word']}"
            before, after = _cost(comparison, base), _cost(comparison, column.digest)
            if not cell["verdict"]["is_alarming"] and before is not None and after is not None:
                text += f", {HEADLINE} {before:,}"
                if after != before:
                    change = percent_text(after - before, before)
                    text += f" -> {after:,} ({change_text(after - before)}"
                    text += f", {change})" if change else ")"
                else:
                    text += f" as before; {cell['reason']}"
            lines += layout.wrap(text, WIDTH, first="  ", indent="    ")
    if not lines:
        return ["", "No trace changed."]
    return ["", "Traces that changed, against the base:", *lines]


def _notes(columns: Sequence[_Column], comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """The caveats of the numbers."""
    lines: list[str] = []
    for note in dict.fromkeys(note for comparison in comparisons for note in comparison["notes"]):
        lines += layout.wrap(note, WIDTH, first="Note: ", indent="  ")
    unchecked = [
        column.label
        for column in columns
        if not _cell(comparisons[0], column.digest)["has_real_code_result"]
    ]
    if unchecked:
        text = f"No real-code result exists for {', '.join(unchecked)}: the model's numbers alone."
        lines += layout.wrap(text, WIDTH, first="Note: ", indent="  ")
    return lines


def _grounds(document: Mapping[str, Any], columns: Sequence[_Column]) -> list[str]:
    """Patches, traces and simulator, each by what names it exactly."""
    lines = []
    for row in document["batch"]["patch_sets"]:
        text = f"{row['name']} on {row['base']}: {', '.join(row['patches']) or 'no patches'}"
        lines += layout.wrap(text, WIDTH, first="Patches  ", indent=" " * 9)
    for comparison in document["comparisons"]:
        trace = comparison["trace"]
        text = f"{(trace['digest'] or '-')[:_DIGEST_LENGTH]} {trace['name']}"
        lines += layout.wrap(text, WIDTH, first="Trace    ", indent=" " * 9)
    for label, digest in _machines(columns):
        text = f"{digest[:_DIGEST_LENGTH]} {label}"
        lines += layout.wrap(text, WIDTH, first="Variant  ", indent=" " * 9)
    batch = document["batch"]
    simulators = batch.get("simulators") or {}
    if len(simulators) < 2:  # noqa: PLR2004
        return [*lines, f"Model    {batch['simulator_digest'][:_DIGEST_LENGTH]}"]
    for engine, digest in simulators.items():
        lines.append(f"Engine   {digest[:_DIGEST_LENGTH]} {titles.engine_word(engine)}")
    return lines


def _machines(columns: Sequence[_Column]) -> Iterator[tuple[str, str]]:
    labels: dict[str, list[str]] = {}
    for column in columns:
        told = f"{column.label} ({column.engine})" if column.engine else column.label
        labels.setdefault(column.digest, []).append(told)
    for digest, found in labels.items():
        yield ", ".join(found), digest


def _cell(comparison: Mapping[str, Any], digest: str) -> Any:
    for column in comparison["columns"]:
        if column["variant_digest"] == digest:
            return column
    raise ComparisonError(f"the comparison has no column of the variant {digest[:_DIGEST_LENGTH]}")


def _is_alarming(comparison: Mapping[str, Any], digest: str) -> bool:
    return bool(_cell(comparison, digest)["verdict"]["is_alarming"])


def _cost(comparison: Mapping[str, Any], digest: str) -> int | None:
    place = comparison["columns"].index(_cell(comparison, digest))
    row = next((row for row in comparison["counters"] if row["name"] == HEADLINE), None)
    value: int | None = row["values"][place] if row else None
    return value
