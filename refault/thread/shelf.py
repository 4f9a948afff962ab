"""What was computed for a report, kept in the cache so that a second one is fast.

::

    CACHE/thread/KEY      a result, an audit or a difference, as msgpack

A key is the digest of everything that went in, so nothing kept can be stale. The folder is bounded
in bytes (:data:`BYTES_MAX`; what was used longest ago goes first). Files appear whole, and a
damaged one is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import msgpack

from refault.replay.compile.cache import cache_folder

BYTES_MAX = 64 << 20
#: Raised where what is kept would be read otherwise.
_VERSION = "1"


class Shelf:
    """The folder; where it cannot be written nothing is kept."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self.folder = cache_folder() / "thread"
        self._bytes_max = bytes_max

    def get(self, *words: str) -> Any:
        """What was kept under these words, or None."""
        path = self._path(words)
        with contextlib.suppress(OSError, ValueError, msgpack.UnpackException):
            found = msgpack.unpackb(path.read_bytes(), raw=False)
            os.utime(path)
            return found
        return None

    def put(self, value: Any, *words: str) -> None:
        """Keep a value of plain data, and drop what is too much."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".new-", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(msgpack.packb(value))
                Path(name).replace(self._path(words))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._bound()

    def _path(self, words: tuple[str, ...]) -> Path:
        return self.folder / hashlib.sha256("\0".join((_VERSION, *words)).encode()).hexdigest()

    def _bound(self) -> None:
        aged = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                found = path.stat()
                aged.append((found.st_mtime, found.st_size, path))
        left = sum(size for _, size, _ in aged)
        for _, size, path in sorted(aged):
            if left <= self._bytes_max:
                return
            left -= size
            path.unlink(missing_ok=True)
