"""A patch whose lines are others in this tree, merged as ``git am -3`` does.

The ``index`` line of a diff names the file that it was made from. Where the user's tree is a git
checkout that has that file, or a pack that holds it, the patch is applied to it there, and what
that changes is merged with what the tree has instead. Files are merged one by one, behind walls.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from refault.errors import PatchRefused
from refault.linux.confine import TOOLCHAIN, Confinement, Ended, Limits, run_confined
from refault.linux.tree import PREIMAGES

#: A file of this size is no source.
_FILE_BYTES_MAX = 8 << 20
_LIMITS = Limits(cpu_seconds=20, memory_bytes=1 << 30, file_bytes=64 << 20)
_SECTION = re.compile(r"^diff --git a/(\S+) b/(\S+)$", re.MULTILINE)
_INDEX = re.compile(
    r"^index ([0-9a-f]{7,40})\.\.([0-9a-f]{7,40})(?: 100(?:644|755))?$", re.MULTILINE
)
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@.*$", re.MULTILINE)
_TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """What a patch does to one file, and how git's names for it before and after begin."""

    name: str
    diff: str
    preimage: str
    postimage: str


def sections(diff: str) -> list[Section]:
    """The files a patch changes in place; of others there is nothing to merge."""
    found = []
    starts = [match.start() for match in _SECTION.finditer(diff)]
    for start, end in zip(starts, [*starts[1:], len(diff)], strict=True):
        text = diff[start:end]
        head = _SECTION.match(text)
        index = _INDEX.search(text.partition("\n@@ ")[0])
        if head is None or index is None or head[1] != head[2] or not index[1].strip("0"):
            continue
        # Packs ask for preimages before a series is applied, and so before its names are checked.
        if head[1].startswith("/") or ".." in Path(head[1]).parts:
            continue
        found.append(Section(head[1], text, index[1], index[2]))
    return found


def preimage(section: Section, root: Path) -> bytes | None:
    """What the file was that the patch was made from, if the tree at ``root`` has it anywhere."""
    place = root / section.name
    if place.is_file() and name_of(content := place.read_bytes()).startswith(section.preimage):
        return content
    packed = sorted((root / PREIMAGES).glob(f"{section.preimage}*"))
    if len(packed) == 1:
        content = packed[0].read_bytes()
        return content if name_of(content) == packed[0].name else None
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "cat-file", "blob", section.preimage],
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            env=_environment(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode or len(done.stdout) > _FILE_BYTES_MAX else done.stdout


def _environment() -> dict[str, str]:
    """The user's own, less what would name another repository; nothing is fetched from afar."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


def name_of(content: bytes) -> str:
    """Git's name for a file of that content."""
    head = f"blob {len(content)}\0".encode()
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def preimages(diffs: Iterable[str], root: Path) -> dict[str, bytes]:
    """What the patches were made from and the tree has otherwise, by git's names."""
    found = {}
    for section in (each for diff in diffs for each in sections(diff)):
        place = root / section.name
        content = preimage(section, root)
        if content is not None and place.is_file() and place.read_bytes() != content:
            found[name_of(content)] = content
    return found


def merge(title: str, diff: str, folder: Path, root: Path, earlier: Sequence[str] = ()) -> bool:
    """Apply a patch to the copy in ``folder`` by merging; False if its preimages are not there.

    Nothing is changed unless all of it can be. ``earlier`` are the diffs of the series before it:
    what it was made from may be what one of them made.

    Raises:
        PatchRefused: tree and patch change the same lines; with the file and the hunk.
    """
    parts = sections(diff)
    # A file that it makes, removes or renames is none that could be merged.
    if not parts or len(parts) != len(_SECTION.findall(diff)):
        return False
    before = [section for each in earlier for section in sections(each)]
    work = folder.parent / "merging"
    work.mkdir(exist_ok=True)
    try:
        merged = {}
        for part in parts:
            base = _original(part, root, before, work)
            if base is None or not (folder / part.name).is_file():
                return False
            if _patched(part.name, part.diff, base, work) is None:
                # Not made from the file that it names: somebody edited it.
                return False
            merged[part.name] = _merged(title, part, base, folder / part.name, work)
        for name, content in merged.items():
            (folder / name).write_bytes(content)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def _original(part: Section, root: Path, earlier: Sequence[Section], work: Path) -> bytes | None:
    """What a file was: as the tree has it, or as an earlier patch of the series made it."""
    # Without recursion: a series may be long.
    chain = [part]
    base = preimage(part, root)
    for number in range(len(earlier) - 1, -1, -1):
        if base is not None:
            break
        before, wanted = earlier[number], chain[-1]
        is_it = before.postimage.startswith(wanted.preimage) or wanted.preimage.startswith(
            before.postimage
        )
        if before.name == wanted.name and is_it:
            chain.append(before)
            base = preimage(before, root)
    for before in reversed(chain[1:]):
        if base is None:
            return None
        base = _patched(before.name, before.diff, base, work)
    return base


def _merged(title: str, part: Section, base: bytes, ours: Path, work: Path) -> bytes:
    if (whole := _three(part, part.diff, base, ours, work)) is not None:
        return whole
    hunks = [match.start() for match in _HUNK.finditer(part.diff)]
    head = part.diff[: hunks[0]] if hunks else ""
    conflicts = []
    for start, end in zip(hunks, [*hunks[1:], len(part.diff)], strict=True):
        alone = part.diff[start:end]
        if _three(part, head + alone, base, ours, work) is None:
            conflicts.append(alone.splitlines()[0])
    raise PatchRefused(
        f"patch {title!r} does not apply to {part.name}, merged or not: this tree has other lines "
        f"where it changes some, at {'; '.join(conflicts)}; rebase the series on it"
    )


def _three(part: Section, diff: str, base: bytes, ours: Path, work: Path) -> bytes | None:
    """The file with both changes; None if both change the same lines."""
    patched = _patched(part.name, diff, base, work)
    if patched is None:
        return None
    original, mine, theirs = work / "base", work / "ours", work / "theirs"
    original.write_bytes(base)
    theirs.write_bytes(patched)
    mine.write_bytes(ours.read_bytes())
    done = _git(["merge-file", "-q", str(mine), str(original), str(theirs)], work)
    return mine.read_bytes() if done.returncode == 0 else None


def _patched(name: str, diff: str, base: bytes, work: Path) -> bytes | None:
    """A file with what a patch does to it; None if that does not apply."""
    place = work / name
    # Here, as within the walls no directory can be made.
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(base)
    given = work / "part.diff"
    given.write_text(diff)
    done = _git(["apply", "--whitespace=nowarn", str(given)], work)
    return None if done.returncode else place.read_bytes()


def _git(words: Sequence[str], work: Path) -> Ended:
    command = [
        "/usr/bin/env",
        # A repository around it is none of its business, and no configuration either.
        f"GIT_CEILING_DIRECTORIES={work.parent}",
        "GIT_CONFIG_NOSYSTEM=1",
        "git",
        *words,
    ]
    return run_confined(command, Confinement(TOOLCHAIN, (work,), _LIMITS), cwd=work)
