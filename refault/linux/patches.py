"""Patches on a tree: read from mail by :mod:`refault.series`, applied as ``git apply`` does."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from refault import series
from refault.errors import NoCompiler, PatchRefused, SeriesError

_TOUCHED = re.compile(r"^diff --git a/(\S+) b/(\S+)", re.MULTILINE)
_OLD_STYLE = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)", re.MULTILINE)
_CREATED = re.compile(r"^--- /dev/null\s*\n\+\+\+ b/(\S+)", re.MULTILINE)
_FAILED = re.compile(r"error: patch failed: ([^:\n]+):(\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Patch:
    """One patch: its subject, its diff, and the files that names."""

    title: str
    diff: str
    files: tuple[str, ...]


def read(sources: Sequence[bytes], version: int | None = None) -> list[Patch]:
    """The patches of a series, in its order; raises SeriesError."""
    reading = series.read(list(sources), version)
    if reading.problems:
        raise SeriesError("; ".join(reading.problems))
    if not reading.patches:
        raise SeriesError("there is no patch in it")
    return [
        Patch(mail.subject, mail.text + "\n", tuple(sorted(touched(mail.text))))
        for mail in reading.patches
    ]


def touched(diff: str) -> set[str]:
    """The files a diff names."""
    names = {name for pair in _TOUCHED.findall(diff) for name in pair}
    return names | set(_OLD_STYLE.findall(diff))


def apply(patch: Patch, folder: Path, root: Path) -> None:
    """Apply a patch to the copy in ``folder``; files it names are fetched from ``root``.

    What it changes of files that neither has (a pack has few) changes nothing here.

    Raises:
        PatchRefused: it does not apply; with the file and the line of the hunk.
    """
    if shutil.which("git") is None:
        raise NoCompiler("git is not there to apply patches with: apt-get install git")
    created = set(_CREATED.findall(patch.diff))
    elsewhere = []
    for name in patch.files:
        if ".." in Path(name).parts or name.startswith("/"):
            raise PatchRefused(f"{patch.title}: it names {name!r}, which is outside the tree")
        place, original = folder / name, root / name
        if not place.exists() and original.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, place)
        elif not place.exists() and name not in created:
            elsewhere.append(name)
    if len(elsewhere) == len(patch.files):
        return
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", *(f"--exclude={name}" for name in elsewhere), "-"],
        cwd=folder,
        input=patch.diff.encode(),
        capture_output=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "GIT_CEILING_DIRECTORIES": str(folder.parent)},
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace")
        failed = _FAILED.search(text)
        where = f"at {failed[1]}:{failed[2]}" if failed else text.strip().splitlines()[0]
        raise PatchRefused(
            f"patch {patch.title!r} does not apply {where}: the lines around that hunk are others "
            "in this tree; rebase the series on it"
        )
