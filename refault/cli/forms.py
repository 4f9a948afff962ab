"""The forms of a comparison that ``replay`` and ``compare`` print: text, md, csv, json."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from refault.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.compare import Column, Comparison

FORMATS = ("text", "md", "csv", "json")
HELP = f"One of {', '.join(FORMATS)}."


def checked_form(form: str, *, has_host: bool) -> str:
    """The form, if there is one of that name.

    Raises:
        InvalidRequest: there is none, or it has no place for the counters of a host.
    """
    if form not in FORMATS:
        raise InvalidRequest(f"--format {form}: expected one of {', '.join(FORMATS)}")
    if has_host and form in {"md", "csv"}:
        raise InvalidRequest(f"--host is shown as text or JSON, not as {form}")
    return form


def audit_note(comparison: Comparison, texts: Sequence[str], *, is_stored: bool) -> str:
    """What is not known without an audit, and the command that asks; empty where one was made.

    ``texts`` are the variants as ``-v`` takes them, ``is_stored``: the service has the trace.
    """
    judged = [column for column in comparison.columns if column.result is not None]
    if len(judged) < 2 or comparison.is_audited:  # noqa: PLR2004 - a base and one to hold to it
        return ""
    words: list[Any] = ["refault", "audit", comparison.trace.name if is_stored else "TRACE"]
    words += [word for text in dict.fromkeys(texts) for word in ("-v", text)]
    if is_stored:
        words.append("--service")
    where = "" if is_stored else f" (TRACE: the file of {comparison.trace.name})"
    return (
        "Not audited: the verdicts rest on counters and on what the guest saw. Which invariants a "
        "column breaks that no access met, and whether what looks like a cost repairs one that "
        f"the base breaks, was not asked. To ask: {shlex.join(words)}{where}"
    )


def text_of(column: Column, variant: object) -> str:
    """The variant of a stored run as ``-v`` takes it, or the column's name."""
    text = variant.get("text") if isinstance(variant, dict) else None
    return text if isinstance(text, str) and text else column.variant_name
