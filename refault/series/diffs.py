"""Unified diffs: what they change, as names that survive rebasing and mail.

::

    @@ -10,4 +10,4 @@
      water();        the nearest line before the block   ┐ its neighbours: with them
    - frog();         ┐ a block: removed lines,           │ :func:`places` tells one place
    + toad();         ┘ then added ones                   │ from another
      mud();          the nearest line after the block    ┘
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator

_HUNK = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_PREFIX = re.compile(r"(?:[abciow12]|old|new)/")
_BACKUP = (".orig", ".old", ".bak", "~")
_PLACE_DIGITS = 8
_CONTEXT = 3  # lines around a change, unless somebody asked for more
_NOWHERE = "/dev/null"


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Changed lines without a line between them, white space taken out, and their neighbours.

    A neighbour is the nearest unchanged line of the hunk with a letter or digit in it; empty
    if the hunk shows none.
    """

    removed: tuple[str, ...]
    added: tuple[str, ...]
    before: str
    after: str

    @property
    def lines(self) -> Iterator[str]:
        """The changed lines with their signs, removed ones first."""
        yield from (f"-{line}" for line in self.removed)
        yield from (f"+{line}" for line in self.added)


@dataclasses.dataclass(frozen=True, slots=True)
class Diff:
    """What a unified diff changes.

    ``files`` maps a path, without the prefix a tool wrote before it, to its blocks. ``notes``
    say what changes no line: a rename, a mode, a binary file. ``is_whole`` is False where a change
    may be missing: the numbers in a hunk's header tell of other lines, or cannot be read.
    """

    files: dict[str, tuple[Block, ...]]
    notes: tuple[str, ...]
    is_whole: bool

    @property
    def digest(self) -> str:
        """sha256 over the changed lines of each file, or over the notes where none is changed.

        After ``git patch-id --stable``: line numbers, white space and the order of the files
        do not count. Nor do unchanged lines (:meth:`places` has those), so that the same change
        against a neighbouring kernel is the same.
        """
        if not self.files:
            return _sha256("\0".join(sorted(self.notes)))
        parts = (
            "\n".join([name, *(line for block in blocks for line in block.lines)])
            for name, blocks in self.files.items()
        )
        return _sha256("\0".join(sorted(parts)))

    @property
    def places(self) -> str:
        """The neighbours of each block, ``before:after`` as short digests, files by name."""
        return " ".join(
            f"{_short(block.before)}:{_short(block.after)}"
            for _, blocks in sorted(self.files.items())
            for block in blocks
        )

    def beginning(self, count: int) -> str:
        """sha256 over the first ``count`` changed lines, files by name."""
        lines = (
            f"{name}\n{line}"
            for name, blocks in sorted(self.files.items())
            for block in blocks
            for line in block.lines
        )
        return _sha256("\0".join(line for line, _ in zip(lines, range(count), strict=False)))

    @property
    def added_count(self) -> int:
        """Lines it adds."""
        return sum(len(block.added) for blocks in self.files.values() for block in blocks)

    @property
    def removed_count(self) -> int:
        """Lines it removes."""
        return sum(len(block.removed) for blocks in self.files.values() for block in blocks)

    def reverse(self) -> Diff:
        """The diff that takes it back."""
        return dataclasses.replace(
            self,
            files={
                name: tuple(
                    Block(block.added, block.removed, block.before, block.after) for block in blocks
                )
                for name, blocks in self.files.items()
            },
        )

    def renamed(self, name_of: Callable[[str], str]) -> Diff:
        """The same changes under other paths."""
        files: dict[str, tuple[Block, ...]] = {}
        for name, blocks in self.files.items():
            files[name_of(name)] = files.get(name_of(name), ()) + blocks
        return dataclasses.replace(self, files=files)


def diff_id(text: str) -> str | None:
    """:attr:`Diff.digest` of the diff in a text; None if there is none."""
    found = parse(text)
    return found.digest if found is not None else None


def parse(text: str) -> Diff | None:
    """The unified diff in a text; None if there is none. Time grows with the text, no faster."""
    parser = _Parser()
    lines = text.split("\n")
    for index, line in enumerate(lines):
        parser.take(line.removesuffix("\r"), lines[index + 1] if index + 1 < len(lines) else "")
    return parser.result()


def same_places(known: str, found: str) -> bool:
    """Whether blocks stand where they are known to stand.

    Each block has a neighbour in common with the known one, unless the hunk shows none; over
    the whole diff at least one is in common. So one changed line beside a block, as on a
    neighbouring kernel, does no harm.
    """
    ours, theirs = known.split(" "), found.split(" ")
    if len(ours) != len(theirs):
        return False
    common = 0
    for our, their in zip(ours, theirs, strict=True):
        pairs = zip(our.split(":"), their.split(":"), strict=True)
        told = [left == right for left, right in pairs if left and right]
        if told and not any(told):
            return False
        common += any(told)
    return common > 0


class _Parser:
    """One line at a time: a file's header, its hunks, and the words between."""

    def __init__(self) -> None:
        self._files: dict[str, list[Block]] = {}
        self._notes: list[str] = []
        self._is_whole = True
        self._name = self._old = self._moved_to = ""
        self._in_header = False
        self._before = self._after = 0
        self._in_hunk = self._is_past = self._is_hunk_of_changes = False
        self._removed: list[str] = []
        self._added: list[str] = []
        self._neighbour = self._near = ""
        self._awaits_after = False

    def result(self) -> Diff | None:
        self._end_hunk()
        files = {name: tuple(blocks) for name, blocks in self._files.items() if blocks}
        if not files and not self._notes:
            return None
        return Diff(files, tuple(self._notes), self._is_whole)

    def take(self, line: str, following: str) -> None:
        if self._in_hunk and self._hunk_line(line, following):
            return
        if found := _HUNK.match(line):
            self._end_hunk()
            self._before, self._after = (
                1 if word is None else int(word) for word in found.groups()
            )
            self._in_hunk, self._is_past, self._in_header = True, False, False
            self._is_hunk_of_changes = False
        elif line.startswith("diff "):
            self._end_hunk()
            self._in_header, self._old, self._moved_to, self._name = True, "", "", ""
        elif line.startswith("--- "):
            self._end_hunk()
            self._old = line[4:]
        elif line.startswith("+++ ") and self._old:
            self._name = self._moved_to or _joined(_path(self._old), _path(line[4:]))
            self._old = ""
        elif line.startswith("@@") and self._name:
            # A hunk's header that is damaged, or one of a merge: its lines are not known.
            self._is_whole = False
        elif self._in_header:
            self._note(line)

    def _hunk_line(self, line: str, following: str) -> bool:
        """Whether the line belongs to the hunk."""
        sign = line[:1]
        if line.rstrip() == "--" and following[:1] not in {" ", "+", "-", "@", "\\"}:
            sign = "end"  # the signature that git format-patch puts below
        if self._before <= 0 and self._after <= 0 and not self._is_past:
            self._is_past = True
        if self._is_past and (
            sign not in {"+", "-", " ", "\\"} or line.startswith(("--- ", "+++ "))
        ):
            sign = "end"
        if sign == "\\":
            return True
        if sign in {"+", "-"}:
            self._changed(sign, "".join(line[1:].split()))
        elif sign in {" ", ""}:
            if not self._is_past:
                self._unchanged("".join(line.split()))
        else:
            self._end_hunk()
            return False
        return True

    def _changed(self, sign: str, rest: str) -> None:
        if not self._removed and not self._added:
            self._near, self._neighbour = self._neighbour, ""
        self._awaits_after = False
        self._is_hunk_of_changes = True
        if sign == "+":
            self._added.append(rest)
            self._after -= 1
        else:
            self._removed.append(rest)
            self._before -= 1
        if self._after < 0 or self._before < 0:
            self._is_whole = False

    def _unchanged(self, rest: str) -> None:
        self._before -= 1
        self._after -= 1
        if self._before < 0 or self._after < 0:
            self._is_whole = False
        self._end_block()
        if any(map(str.isalnum, rest)):
            self._neighbour = rest
            if self._awaits_after:
                blocks = self._files[self._name]
                blocks[-1] = dataclasses.replace(blocks[-1], after=rest)
                self._awaits_after = False

    def _end_block(self) -> None:
        if self._removed or self._added:
            block = Block(tuple(self._removed), tuple(self._added), self._near, "")
            self._files.setdefault(self._name, []).append(block)
            self._removed, self._added, self._near = [], [], ""
            self._awaits_after = True

    def _end_hunk(self) -> None:
        """A hunk may lack lines of its last context, which some programs trim, and no others."""
        is_short = self._before != self._after or self._before > _CONTEXT
        if self._in_hunk and (is_short or not self._is_hunk_of_changes):
            self._is_whole = False
        self._end_block()
        self._in_hunk, self._awaits_after, self._neighbour = False, False, ""

    def _note(self, line: str) -> None:
        """What the header of ``diff --git`` says beside the names."""
        if line.startswith(("rename to ", "copy to ")):
            self._moved_to = line.split(" to ", 1)[1]
        if line.startswith(
            ("rename ", "copy ", "old mode ", "new mode ", "new file mode ", "deleted file mode ")
        ):
            self._notes.append(line)
        elif line.startswith(("Binary files ", "GIT binary patch")):
            self._notes.append("a binary file")


def _path(text: str) -> str:
    """The path of a ``---`` or ``+++`` line, which may have a date after it."""
    if text.startswith('"'):
        return text[1:].partition('"')[0]
    path, tab, _ = text.partition("\t")
    return path if tab else text.partition(" ")[0]


def _joined(old: str, new: str) -> str:
    """The path of a file from the two names a diff gives it, without what a tool wrote before.

    That may be ``a/`` and ``b/``, ``i/`` and ``w/``, the names of two trees, or nothing.
    """
    if _NOWHERE in {old, new}:
        name = old if new == _NOWHERE else new
        return name[found.end() :] if (found := _PREFIX.match(name)) else name
    if old in {new, *(new + ending for ending in _BACKUP)}:
        return new
    ours, theirs = old.split("/"), new.split("/")
    common = 0
    for our, their in zip(reversed(ours), reversed(theirs), strict=False):
        if our != their:
            break
        common += 1
    if common:
        return "/".join(theirs[-common:])
    return new.partition("/")[2] or new


def _short(line: str) -> str:
    return _sha256(line)[:_PLACE_DIGITS] if line else ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
