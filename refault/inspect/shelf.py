"""Snapshots of one variant on one trace, kept in the cache so that going back is fast.

::

    CACHE/inspect/TRACE-VARIANT-ENGINE/EVENTS-OPERATIONS.snapshot

They are bounded in number (:data:`COUNT_MAX` of each variant) and, over all traces and variants, in
bytes (:data:`BYTES_MAX`; the oldest go first). A name is only a hint: whoever reads a file checks
what is in it, and drops a file that is not what it should be. Files appear whole, so that several
processes can share the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from refault.replay.compile.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT_MAX = 32
BYTES_MAX = 1 << 30
#: Events between two snapshots, at least; more in a long trace, as COUNT_MAX has it.
EVENTS_APART = 1 << 15
_NAME = re.compile(r"([0-9]{12})-([0-9]{12})\.snapshot")


class Kept(NamedTuple):
    """A file that says it is the state after so many events and operations."""

    events: int
    operations: int
    path: Path


class Shelf:
    """The snapshots of one key, made of the digests of trace, variant and engine.

    ``events_apart`` is for tests. Where the folder cannot be written nothing is kept.
    """

    def __init__(self, key: tuple[str, str, str], events_apart: int = EVENTS_APART) -> None:
        self._all = cache_folder() / "inspect"
        self.folder = self._all / "-".join(digest[:16] for digest in key)
        self._events_apart = events_apart

    def kept(self) -> list[Kept]:
        """What is there, in the order of the trace."""
        found: list[Kept] = []
        with contextlib.suppress(OSError):
            named = [(path, _NAME.fullmatch(path.name)) for path in self.folder.iterdir()]
            found = [Kept(int(name[1]), int(name[2]), path) for path, name in named if name]
        return sorted(found)

    def is_due(self, events: int) -> bool:
        """Whether a snapshot after so many events is worth its room."""
        before = [each.events for each in self.kept() if each.events <= events]
        apart = max(self._events_apart, 2 * events // COUNT_MAX)
        return events - max(before, default=0) >= apart

    def put(self, events: int, operations: int, write: Callable[[BinaryIO], object]) -> None:
        """Keep a snapshot that ``write`` writes, and drop what is too much."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".new-", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    write(file)
                Path(name).replace(self.folder / f"{events:012d}-{operations:012d}.snapshot")
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._thin()
            self._bound()

    def drop(self, kept: Kept) -> None:
        """Remove a file that is damaged, or of something else."""
        with contextlib.suppress(OSError):
            kept.path.unlink()

    def _thin(self) -> None:
        """While there are too many, remove the one whose neighbours are nearest to each other."""
        kept = self.kept()
        while len(kept) > COUNT_MAX:
            inner = range(1, len(kept) - 1)
            least = min(inner, key=lambda i: kept[i + 1].events - kept[i - 1].events)
            self.drop(kept.pop(least))

    def _bound(self) -> None:
        """Remove the oldest snapshots of any key beyond BYTES_MAX."""
        aged = []
        for path in self._all.glob("*/*.snapshot"):
            with contextlib.suppress(OSError):
                found = path.stat()
                aged.append((found.st_mtime, found.st_size, path))
        left = sum(size for _, size, _ in aged)
        for _, size, path in sorted(aged):
            if left <= BYTES_MAX:
                return
            left -= size
            path.unlink(missing_ok=True)
