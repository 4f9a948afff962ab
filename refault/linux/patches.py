"""Patches on a tree: read from mail by :mod:`refault.series`, applied as ``git am -3`` does."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from refault import series
from refault.errors import NoCompiler, PatchRefused, SeriesError
from refault.linux.confine import TOOLCHAIN, Confinement, Limits, run_confined
from refault.linux.merging import merge

_TOUCHED = re.compile(r"^diff --git a/(\S+) b/(\S+)", re.MULTILINE)
_OLD_STYLE = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)", re.MULTILINE)
_CREATED = re.compile(r"^--- /dev/null\s*\n\+\+\+ b/(\S+)", re.MULTILINE)
# What a later step would follow: it must not be there.
_SPECIAL = re.compile(r"^(?:new(?: file)? mode|old mode|deleted file mode) 1[26]0000", re.MULTILINE)
_GIT_LIMITS = Limits(cpu_seconds=20, memory_bytes=1 << 30, file_bytes=64 << 20)
_FAILED = re.compile(r"error: patch failed: ([^:\n]+):(\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Patch:
    """One patch: its subject, its diff, the files that names, and who wrote it."""

    title: str
    diff: str
    files: tuple[str, ...]
    author: str = ""


def read(sources: Sequence[bytes], version: int | None = None) -> list[Patch]:
    """The patches of a series, in its order; raises SeriesError."""
    reading = series.read(list(sources), version)
    if reading.problems:
        raise SeriesError("; ".join(reading.problems))
    if not reading.patches:
        raise SeriesError("there is no patch in it")
    return [
        Patch(mail.subject, mail.text + "\n", tuple(sorted(touched(mail.text))), mail.author)
        for mail in reading.patches
    ]


def touched(diff: str) -> set[str]:
    """The files a diff names."""
    names = {name for pair in _TOUCHED.findall(diff) for name in pair}
    return names | set(_OLD_STYLE.findall(diff))


def apply(patch: Patch, folder: Path, root: Path, earlier: Sequence[Patch] = ()) -> None:
    """Apply a patch to the copy in ``folder``; files it names are fetched from ``root``.

    What it changes of files that neither has (a pack has few) changes nothing here. Where its lines
    are others in this tree, it is merged if the tree has the files that it was made from, or if
    the patches ``earlier`` in its series make them.

    Raises:
        PatchRefused: it does not apply; with the file and the line of the hunk.
    """
    if shutil.which("git") is None:
        raise NoCompiler("git is not there to apply patches with: apt-get install git")
    _check(patch)
    created = set(_CREATED.findall(patch.diff))
    elsewhere = []
    for name in patch.files:
        place, original = folder / name, root / name
        if not place.exists() and original.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, place)
        elif name in created:
            # Within the walls no directory can be made.
            place.parent.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            elsewhere.append(name)
    if len(elsewhere) == len(patch.files):
        return
    given = folder.parent / "patch.diff"
    given.write_text(patch.diff)
    excluded = (f"--exclude={name}" for name in elsewhere)
    command = [
        "/usr/bin/env",
        # A repository around it is none of its business, and no configuration either.
        f"GIT_CEILING_DIRECTORIES={folder.parent}",
        "GIT_CONFIG_NOSYSTEM=1",
        *("git", "apply", "--whitespace=nowarn", *excluded, str(given)),
    ]
    done = run_confined(
        command, Confinement((*TOOLCHAIN, given), (folder,), _GIT_LIMITS), cwd=folder
    )
    diffs = [each.diff for each in earlier]
    if done.returncode and not merge(patch.title, patch.diff, folder, root, diffs):
        failed = _FAILED.search(done.stderr)
        told = done.stderr.strip().splitlines() or [done.ended]
        where = f"at {failed[1]}:{failed[2]}" if failed else f"({told[0]})"
        raise PatchRefused(
            f"patch {patch.title!r} does not apply {where}: the lines around that hunk are others "
            "in this tree, and it cannot be merged, as what it was made from is not there; rebase "
            "the series on it, or name a git checkout that has the files it was made from"
        )


def _check(patch: Patch) -> None:
    """Refuse a patch that no kernel needs, or that names what nobody can see."""
    if not patch.files:
        raise PatchRefused(f"patch {patch.title!r} names no file that could be read from its diff")
    if _SPECIAL.search(patch.diff):
        raise PatchRefused(f"{patch.title}: it makes a link or a submodule, which no kernel needs")
    for name in patch.files:
        if ".." in Path(name).parts or name.startswith("/"):
            raise PatchRefused(f"{patch.title}: it names {name!r}, which is outside the tree")
