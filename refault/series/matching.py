"""Which patch of the catalogue a mail is: by what its diff changes.

A subject alone makes a candidate. Where a mail's diff is not one that is known, but its subject
is, or its lines stand elsewhere, or it takes a patch back, the mail is not matched: ``why`` says
which, ``candidates`` names the patch.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from refault import catalogue
from refault.catalogue import Patch
from refault.errors import SeriesError
from refault.series.diffs import Diff, same_places
from refault.series.mail import Mail

LEFT_OUT = "-"
"""In a mapping: this mail is no part of the patch set."""

UNKNOWN = "not in the catalogue"

_AREA = re.compile(r"^(kvm|mmu|x86)[:,/ ]*", re.IGNORECASE)
_CANDIDATES = 3
_LIKENESS = 0.5
_LIKENESS_CHARACTERS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """A mail and the patch it is; ``patch`` None: nobody knows, or it is left out.

    ``by`` says how it was found. ``candidates`` are patches it might be, where there is no
    patch, and ``why`` says what speaks against them. ``part`` counts from 1 where several mails
    only together are the patch.
    """

    index: int
    mail: Mail
    patch: str | None
    by: Literal["diff", "subject", "mapping", "left out"] | None
    candidates: tuple[str, ...] = ()
    why: str = ""
    part: int = 0


def match(mails: Sequence[Mail]) -> tuple[Match, ...]:
    """Each mail with its patch, where the catalogue knows it."""
    known = _Known(catalogue.patches())
    return known.whole([known.find(index, mail) for index, mail in enumerate(mails)])


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


def patch_ids(matches: Sequence[Match]) -> tuple[str, ...]:
    """The patches in the order of their mails; one that several mails make up counts once."""
    found: list[str] = []
    for entry in matches:
        if entry.patch is not None and not (entry.part and entry.patch in found):
            found.append(entry.patch)
    return tuple(found)


def remedies(matches: Sequence[Match], option: str) -> tuple[str, ...]:
    """What can be done with the mails that are not matched; none if all are."""
    unknown = [found for found in matches if found.by is None]
    if not unknown:
        return ()
    first = next((found for found in unknown if found.candidates), unknown[0])
    name = first.candidates[0] if first.candidates else "ID"
    return (
        f"if it is in the catalogue, map it by hand: {option}{first.index}={name}",
        f"if it is not to be compared, leave it out: {option}{first.index}=-",
        "if it is of your own tree, on this machine: refault kernel build TREE --patch FILE",
        "if it is of your own tree, on a service: refault submit TRACES --kernel TREE --mail FILE",
        "if it is new, add it to the model: docs/howto/add-a-variant.md",
    )


def normalised(subject: str) -> str:
    """A subject without its tags, its area (``KVM: MMU:``), case, spaces and full stop."""
    text = subject
    while (text := text.lstrip()).startswith("[") and "]" in text:
        text = text.partition("]")[2]
    while found := _AREA.match(text):
        if not found[0].rstrip(" ") or found.end() == len(text):
            break
        text = text[found.end() :]
    return " ".join(text.lower().rstrip(".").split())


class _Known:
    """What the catalogue knows mails by, looked up in every way a mail can be known."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self._by_diff = {
            name: (patch, number)
            for patch in patches
            for number, names in enumerate((patch.diff_ids, *patch.parts))
            for name in names
        }
        self._part_counts = {patch.id: len(patch.parts) for patch in patches}
        self._files: dict[str, list[str]] = {}
        for file in sorted({file for patch in patches for file in patch.files}):
            self._files.setdefault(file.rpartition("/")[2], []).append(file)
        self._by_subject: dict[str, list[Patch]] = {}
        for patch in patches:
            for subject in dict.fromkeys(map(normalised, (*patch.subjects, patch.title))):
                self._by_subject.setdefault(subject, []).append(patch)
        self._likeness = [
            (_trigrams(subject), found) for subject, found in self._by_subject.items()
        ]

    def find(self, index: int, mail: Mail) -> Match:
        diff = mail.diff.renamed(self._path)
        if diff.files:
            return self._by_lines(index, mail, diff) or self._by_words(index, mail, diff)
        why = f"no changed lines: {'; '.join(diff.notes[:2])}"
        return Match(index, mail, None, None, self._like(mail.subject), why)

    def whole(self, matches: Sequence[Match]) -> tuple[Match, ...]:
        """The matches; where parts of a patch are missing, those that are there do not match."""
        parts: dict[str, list[int]] = {}
        for found in matches:
            if found.part and found.patch is not None:
                parts.setdefault(found.patch, []).append(found.part)
        checked = []
        for found in matches:
            count = self._part_counts.get(found.patch or "", 0) if found.part else 0
            if not count or sorted(parts[found.patch or ""]) == list(range(1, count + 1)):
                checked.append(found)
                continue
            why = f"part {found.part} of {count} of {found.patch}; the others are not here"
            candidates = (found.patch or "",)
            checked.append(Match(found.index, found.mail, None, None, candidates, why))
        return tuple(checked)

    def _by_lines(self, index: int, mail: Mail, diff: Diff) -> Match | None:
        """The patch whose lines these are; None if none is known to have them."""
        digest, reverse = diff.digest, diff.reverse().digest
        if digest in self._by_diff:
            patch, part = self._by_diff[digest]
            if why := _doubt(patch, digest, diff):
                return Match(index, mail, None, None, (*patch.elsewhere, patch.id), why)
            return Match(index, mail, patch.id, "diff", part=part)
        if reverse in self._by_diff:
            patch, _ = self._by_diff[reverse]
            return Match(index, mail, None, None, (patch.id,), f"it reverts {patch.id}")
        return None

    def _by_words(self, index: int, mail: Mail, diff: Diff) -> Match:
        named = self._by_subject.get(normalised(mail.subject), [])
        for patch in named:
            if _goes_on(patch, diff):
                return Match(index, mail, patch.id, "subject")
        if not named:
            return Match(index, mail, None, None, self._like(mail.subject), UNKNOWN)
        names = " or ".join(patch.id for patch in named)
        why = f"its subject is that of {names}, its diff is not"
        files = {file for patch in named for file in patch.files}
        if files and not files & set(diff.files):
            why += f": it changes {', '.join(list(diff.files)[:2])}"
        elif not diff.is_whole or any(_is_cut_off(patch, diff) for patch in named):
            why += ": it is cut off"
        return Match(index, mail, None, None, tuple(patch.id for patch in named), why)

    def _path(self, path: str) -> str:
        """The path the catalogue has for a file, if this one is it but for what stands before."""
        for known in self._files.get(path.rpartition("/")[2], ()):
            if known == path or known.endswith(f"/{path}") or path.endswith(f"/{known}"):
                return known
        return path

    def _like(self, subject: str) -> tuple[str, ...]:
        """Patches whose subjects look alike, by the groups of three letters they share."""
        ours = _trigrams(normalised(subject))
        scores: dict[str, float] = {}
        for theirs, patches in self._likeness:
            score = 2 * len(ours & theirs) / max(1, len(ours) + len(theirs))
            for patch in patches:
                scores[patch.id] = max(score, scores.get(patch.id, 0))
        near = sorted(scores, key=lambda name: (-scores[name], name))[:_CANDIDATES]
        return tuple(name for name in near if scores[name] >= _LIKENESS)


def _doubt(patch: Patch, digest: str, diff: Diff) -> str:
    """What speaks against a mail whose lines are those of a patch; nothing: it is the patch."""
    if not diff.is_whole:
        return f"the lines of {patch.id}, but its hunks are damaged or cut off"
    places = patch.places.get(digest)
    if places is not None and not diff.places.strip(": "):
        return f"the lines of {patch.id}, but without context lines that show the place"
    if places is not None and not same_places(places, diff.places):
        return f"the lines of {patch.id}, but in another place"
    return ""


def _goes_on(patch: Patch, diff: Diff) -> bool:
    """Whether a diff is the whole of one of which the catalogue has the beginning only."""
    begins = patch.beginning
    return (
        begins is not None
        and diff.is_whole
        and (diff.added_count, diff.removed_count) == (begins.added, begins.removed)
        and diff.beginning(begins.count) == begins.digest
    )


def _is_cut_off(patch: Patch, diff: Diff) -> bool:
    begins = patch.beginning
    return begins is not None and diff.beginning(begins.count) == begins.digest


def _trigrams(text: str) -> frozenset[str]:
    padded = f"  {text[:_LIKENESS_CHARACTERS]} "
    return frozenset(padded[at : at + 3] for at in range(len(padded) - 2))
