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


def audit_command(
    comparison: Comparison, texts: Sequence[str], trace: str, *, is_stored: bool
) -> str:
    """The command that audits the variants; empty where one was audited, or there is no result.

    ``texts`` are the variants as ``-v`` takes them, ``trace`` the file; ``is_stored``: it is the
    name of a trace that the service has.
    """
    if comparison.is_audited or all(column.result is None for column in comparison.columns):
        return ""
    words = ["refault", "audit", trace]
    words += [word for text in dict.fromkeys(texts) for word in ("-v", text)]
    return shlex.join([*words, "--service"] if is_stored else words)


def audit_note(comparison: Comparison, command: str, *, file_of: str = "") -> str:
    """What is not known without an audit, and the command that asks; empty without one.

    ``file_of`` says what the TRACE of the command is, where it names none.
    """
    if not command:
        return ""
    where = f" (TRACE: {file_of})" if file_of else ""
    judged = sum(column.result is not None for column in comparison.columns)
    who = "a column" if judged > 1 else "it"
    return f"Not audited: which rules of the MMU {who} breaks unseen. To ask: {command}{where}"


def audit_notes(
    comparisons: Sequence[Comparison], commands: Sequence[str], files_of: Sequence[str]
) -> list[str]:
    """The notes of some traces, in one line where they differ only by their trace.

    ``files_of``: whose file the TRACE of each command is, where it names none.
    """
    alike: dict[str, list[int]] = {}
    for place, command in enumerate(commands):
        if command:
            binary, verb, _, *rest = shlex.split(command)
            alike.setdefault(shlex.join([binary, verb, "TRACE", *rest]), []).append(place)
    notes = []
    for shared, places in alike.items():
        one, *more = places
        if more:
            names = ", ".join(comparisons[place].trace.name for place in places)
            note = audit_note(comparisons[one], shared, file_of=f"each of {names}")
        else:
            file_of = f"the file of {files_of[one]}" if files_of[one] else ""
            note = audit_note(comparisons[one], commands[one], file_of=file_of)
        notes.append(note)
    return notes


def with_audit_commands(
    documents: Sequence[dict[str, Any]], commands: Sequence[str]
) -> list[dict[str, Any]]:
    """Comparisons as JSON, each with ``audit_command`` where it was not audited."""
    return [
        {**document, "audit_command": command} if command else document
        for document, command in zip(documents, commands, strict=True)
    ]


def text_of(column: Column, variant: object) -> str:
    """The variant of a stored run as ``-v`` takes it, or the column's name."""
    text = variant.get("text") if isinstance(variant, dict) else None
    return text if isinstance(text, str) and text else column.variant_name
