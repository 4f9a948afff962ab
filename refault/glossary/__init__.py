"""Every word that a table or a page uses, with its meaning: counters, verdicts, checks, terms.

The one source of the help page, of ``GET /api/v1/glossary`` and of ``refault explain``. Plain data.
"""

from __future__ import annotations

import functools

from refault.errors import NotFound, nearest
from refault.glossary import counters, judgements, kvm, team, terms
from refault.glossary.entry import GROUPS, VERDICTS, Entry, Group

_ORDER = {group.name: place for place, group in enumerate(GROUPS)}
_PARTS = (
    *judgements.ENTRIES,
    *counters.ENTRIES,
    *terms.ENTRIES,
    *team.ENTRIES,
    *kvm.ENTRIES,
)
#: Every entry, group by group in the order of GROUPS.
ENTRIES: tuple[Entry, ...] = tuple(sorted(_PARTS, key=lambda entry: _ORDER[entry.group]))


def explain(word: str) -> tuple[Entry, ...]:
    """Every entry of that name, in any spelling; raises NotFound with the nearest name."""
    found = tuple(entry for entry in ENTRIES if entry.is_called(word))
    if found:
        return found
    names = [name for entry in ENTRIES for name in (entry.name, *entry.also)]
    hint = nearest(word, names)
    raise NotFound(f"{word!r} is not in the glossary{hint}; without a word all are listed")


def search(text: str) -> tuple[Entry, ...]:
    """The entries in whose names or meaning the text stands, those of that name first."""
    wanted = text.casefold()
    found = [
        entry
        for entry in ENTRIES
        if any(wanted in each.casefold() for each in (entry.name, *entry.also, entry.text))
    ]
    return tuple(sorted(found, key=lambda entry: not entry.is_called(text)))


@functools.lru_cache(maxsize=4096)
def anchor_of(word: str) -> str:
    """The id on the help page of the first entry of that name that is no verdict; else empty."""
    for entry in ENTRIES:
        if entry.group != VERDICTS and entry.is_called(word):
            return entry.anchor
    return ""


__all__ = ["ENTRIES", "GROUPS", "Entry", "Group", "anchor_of", "explain", "search"]
