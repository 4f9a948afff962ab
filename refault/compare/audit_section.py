"""What audits found, under the table of a comparison: every failed check, column by column.

::

    Audit (every): what must hold, and where it does not
      F-C1  lpages is the number of large leaves
        base: 3 places, first at operation 9 (event 9); F-X6, known
      No check failed in apr, rel35. Not audited: walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from refault.audits import CHECKS, AuditReport
from refault.compare import layout
from refault.compare.audited import Failure, failures_of
from refault.compare.comparison import Comparison


class FailedCheck(NamedTuple):
    """A check that failed somewhere, and how in each column, the base first; empty where not."""

    check: str
    columns: tuple[tuple[Failure, ...], ...]

    @property
    def title(self) -> str:
        """What should hold."""
        return CHECKS[self.check]


def failed_checks(comparison: Comparison) -> list[FailedCheck]:
    """Every check that failed in any column, in the order of CHECKS."""
    by_column = [
        () if column.audit is None else failures_of(column.audit) for column in comparison.columns
    ]
    rows = []
    for check in CHECKS:
        found = tuple(tuple(f for f in failures if f.check == check) for failures in by_column)
        if any(found):
            rows.append(FailedCheck(check, found))
    return rows


def failure_text(failure: Failure) -> str:
    """How often, where first, and why nobody is surprised, if so."""
    known = f"; {failure.exception}, known" if failure.exception else ""
    first = f"operation {failure.operation_index} (event {failure.event_index})"
    return f"{failure.places}, first at {first}{known}"


def audit_text(comparison: Comparison, labels: Sequence[str], width: int) -> list[str]:
    """The section as plain text; nothing where no column was audited."""
    if not comparison.is_audited:
        return []
    lines = layout.wrap(_headline(comparison), width, indent="  ")
    for row in failed_checks(comparison):
        lines += layout.wrap(row.title, width, first=f"  {row.check}  ", indent=" " * 8)
        for label, failures in zip(labels, row.columns, strict=True):
            for failure in failures:
                text = f"{label}: {failure_text(failure)}"
                lines += layout.wrap(text, width, first="    ", indent="      ")
    for sentence in _rest(comparison, labels):
        lines += layout.wrap(sentence, width, first="  ", indent="    ")
    return ["", *lines]


def audit_items(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """The section as sentences, the headline first; nothing where no column was audited."""
    if not comparison.is_audited:
        return []
    items = [_headline(comparison)]
    for row in failed_checks(comparison):
        for label, failures in zip(labels, row.columns, strict=True):
            items += [
                f"{row.check} in {label}: {failure_text(failure)}: {row.title}"
                for failure in failures
            ]
    return [*items, *_rest(comparison, labels)]


def audit_dict(comparison: Comparison) -> dict[str, Any]:
    """The section as JSON: lists follow the columns; ``reports`` are whole, null where none is."""
    return {
        "failed": [
            {
                "check": row.check,
                "title": row.title,
                "columns": [
                    [
                        {
                            "count": each.place_count,
                            "operation_index": each.operation_index,
                            "event_index": each.event_index,
                            "operation": each.operation,
                            "exception": each.exception,
                        }
                        for each in failures
                    ]
                    for failures in row.columns
                ],
            }
            for row in failed_checks(comparison)
        ],
        "reports": [
            None if column.audit is None else column.audit.to_dict()
            for column in comparison.columns
        ],
    }


def _headline(comparison: Comparison) -> str:
    levels = dict.fromkeys(
        column.audit.level for column in comparison.columns if column.audit is not None
    )
    is_clean = not failed_checks(comparison)
    told = "no check failed" if is_clean else "what must hold, and where it does not"
    return f"Audit ({', '.join(levels)}): {told}"


def _rest(comparison: Comparison, labels: Sequence[str]) -> list[str]:
    """The columns with nothing to show, and what else limits what an audit says."""
    pairs = list(zip(labels, (column.audit for column in comparison.columns), strict=True))
    sound = [label for label, audit in pairs if audit is not None and not audit.broken]
    missing = [label for label, audit in pairs if audit is None]
    told = []
    if sound and failed_checks(comparison):
        told.append(f"No check failed in {', '.join(sound)}.")
    if missing:
        told.append(f"Not audited: {', '.join(missing)}.")
    for label, audit in pairs:
        told += _limits(label, audit)
    return told


def _limits(label: str, audit: AuditReport | None) -> list[str]:
    if audit is None:
        return []
    told = [] if audit.stopped is None else [f"{label} was audited up to where it stopped."]
    if audit.unfinished:
        told.append(f"In {label} {audit.unfinished} sweeps ended at their bound of steps.")
    return told
