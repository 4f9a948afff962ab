"""Which patch of the catalogue a mail is: by what its diff changes, else by its subject."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from refault import catalogue
from refault.errors import SeriesError
from refault.series.mail import Mail

LEFT_OUT = "-"
"""In a mapping: this mail is no part of the patch set."""

_AREA = re.compile(r"^(kvm|mmu|x86)[:,/ ]*", re.IGNORECASE)
_CANDIDATES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """A mail and the patch it is; ``patch`` None: nobody knows, or it is left out.

    ``by`` says how it was found. ``candidates`` are patches whose subjects
    look alike, where there is no patch.
    """

    index: int
    mail: Mail
    patch: str | None
    by: Literal["diff", "subject", "mapping", "left out"] | None
    candidates: tuple[str, ...] = ()


def match(mails: Sequence[Mail]) -> tuple[Match, ...]:
    """Each mail with its patch, where the catalogue knows it."""
    by_diff = {found: patch.id for patch in catalogue.patches() for found in patch.diff_ids}
    by_subject: dict[str, str] = {}
    for patch in catalogue.patches():
        for subject in (*patch.subjects, patch.title):
            by_subject.setdefault(normalised(subject), patch.id)
    matches = []
    for index, mail in enumerate(mails):
        subject = normalised(mail.subject)
        if mail.diff_id in by_diff:
            matches.append(Match(index, mail, by_diff[mail.diff_id], "diff"))
        elif subject in by_subject:
            matches.append(Match(index, mail, by_subject[subject], "subject"))
        else:
            near = difflib.get_close_matches(subject, list(by_subject), n=_CANDIDATES)
            found = tuple(dict.fromkeys(by_subject[entry] for entry in near))
            matches.append(Match(index, mail, None, None, found))
    return tuple(matches)


def apply_mapping(matches: Sequence[Match], mapping: Mapping[int, str]) -> tuple[Match, ...]:
    """The matches with what a person says of some of them; ``-`` leaves a mail out.

    Raises:
        SeriesError: there is no mail of that index.
        UnknownPatch: the catalogue has no such patch.
    """
    for index, patch_id in mapping.items():
        if not 0 <= index < len(matches):
            raise SeriesError(f"mapping: there is no patch {index}; they count from 0")
        if patch_id != LEFT_OUT:
            catalogue.get_patch(patch_id)
    return tuple(
        found
        if found.index not in mapping
        else Match(found.index, found.mail, None, "left out")
        if mapping[found.index] == LEFT_OUT
        else Match(found.index, found.mail, mapping[found.index], "mapping")
        for found in matches
    )


def normalised(subject: str) -> str:
    """A subject without its tags, its area (``KVM: MMU:``), case, spaces and full stop."""
    text = re.sub(r"^(\s*\[[^\]]*\])+", "", subject).strip()
    while found := _AREA.match(text):
        if not found[0].rstrip(" ") or found.end() == len(text):
            break
        text = text[found.end() :]
    return " ".join(text.lower().rstrip(".").split())
