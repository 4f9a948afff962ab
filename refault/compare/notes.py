"""Notes on the cells of a batch at the end of a report, as plain text."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import NamedTuple

from refault.compare.layout import clean, wrap

_WIDTH = 72


class PinnedNote(NamedTuple):
    """A note on one cell; names are None where what they name was deleted."""

    column: str | None
    trace: str | None
    text: str
    made_by: str | None
    created_at: datetime.datetime

    @property
    def head(self) -> str:
        """Which cell, who and when: ``1-3 on boot (anna, 30 Nov 2026)``."""
        by = (self.made_by or "somebody").removeprefix("user ")
        place = f"{self.column or '?'} on {self.trace or '?'}"
        return f"{clean(place)} ({clean(by)}, {self.created_at:%-d %b %Y})"


def notes_text(notes: Sequence[PinnedNote]) -> str:
    """The notes in lines of 72 columns under a heading, as they are ordered; or nothing."""
    if not notes:
        return ""
    lines = ["", "Notes", "-----"]
    for note in notes:
        lines += ["", *wrap(f"{note.head}:", _WIDTH)]
        for line in note.text.splitlines():
            lines += wrap(clean(line), _WIDTH, first="  ", indent="  ") or [""]
    return "\n".join(lines) + "\n"
