"""Every judgement so far, in a file beside the output, so that a killed run goes on where it was.

The search is deterministic: it asks the same questions in the same order, and finds the first of
them answered. A line is one judgement; a line cut short by a kill is left out::

    {"refault-shrink": 1, "trace": "…", "keep": "…", "engines": {…}}
    {"f": "seen", "v": {…}}             where the property shows first
    {"k": "4f…-1111", "d": null}         it failed
    {"k": "9c…-1111", "d": [17, 18]}     it passed without events 17 and 18 of the candidate
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TextIO

from refault.errors import ShrinkRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

VERSION = 1
#: The most that is read of a file: beyond it the work begins anew.
BYTES_MAX = 1 << 30
_LINE_BYTES_MAX = 1 << 16


class Verdict(NamedTuple):
    """A judgement: whether a candidate passes, and which of its events were dropped for it."""

    passes: bool
    dropped: list[int]


FAILS = Verdict(passes=False, dropped=[])


class Journal:
    """Judgements by the digest of the candidate; a context manager. Without a path nothing is kept.

    Raises:
        ShrinkRefused: the file belongs to another shrinking, or cannot be written.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self._path = path
        self._known: dict[str, Verdict] = {}
        self._facts: dict[str, Any] = {}
        self._file: TextIO | None = None
        self.resumed = 0
        if path is None:
            return
        head = {"refault-shrink": VERSION, **identity}
        try:
            good_bytes = self._read(path, head)
            self._file = path.open("a", encoding="ascii")
            self._file.truncate(good_bytes)
            if not good_bytes:
                self._write(head)
        except OSError as error:
            raise ShrinkRefused(f"{path} cannot be written: {error.strerror}") from error
        self.resumed = len(self._known)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, key: str) -> Verdict | None:
        """The judgement under a key, or None."""
        return self._known.get(key)

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a judgement."""
        self._known[key] = verdict
        if self._file is not None:
            self._write({"k": key, "d": verdict.dropped if verdict.passes else None})

    def fact(self, name: str) -> Any:
        """What was kept under a name, or None."""
        return self._facts.get(name)

    def keep(self, name: str, value: Any) -> None:
        """Keep what is not found out twice, as JSON."""
        self._facts[name] = value
        self._write({"f": name, "v": value})

    def remove(self) -> None:
        """The work is done: nothing is left to go on with."""
        if self._file is not None and self._path is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(_line(line))
            self._file.flush()

    def _read(self, path: Path, head: Mapping[str, Any]) -> int:
        """Take up what a file holds; answers how many bytes of it are whole lines."""
        if not path.exists():
            return 0
        if path.stat().st_size > BYTES_MAX:
            raise ShrinkRefused(
                f"{path} is larger than {BYTES_MAX:,} bytes; remove it to begin anew"
            )
        good_bytes = 0
        with path.open("rb") as file:
            first = file.readline(_LINE_BYTES_MAX)
            if not first.endswith(b"\n") and _line(head).encode().startswith(first):
                return 0  # killed as it began
            _check(path, first, head)
            good_bytes = len(first)
            for line in file:
                try:
                    body: Any = json.loads(line) if line.endswith(b"\n") else None
                    self._take(body)
                except (ValueError, KeyError, TypeError, RecursionError):
                    break
                good_bytes += len(line)
        return good_bytes

    def _take(self, body: Any) -> None:
        """One line: a fact, or a judgement."""
        if "f" in body:
            self._facts[str(body["f"])] = body["v"]
            return
        key, dropped = str(body["k"]), body["d"]
        places = [int(place) for place in dropped or []]
        self._known[key] = Verdict(passes=dropped is not None, dropped=places)


def _line(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":")) + "\n"


def _check(path: Path, first: bytes, head: Mapping[str, Any]) -> None:
    """Raise unless the first line is that of this run."""
    try:
        body = json.loads(first)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or "refault-shrink" not in body:
        raise ShrinkRefused(f"{path} is no state of refault shrink; choose another --out")
    if body != head:
        what = [name for name in head if body.get(name) != head[name]]
        raise ShrinkRefused(
            f"{path} is the state of another run ({', '.join(what) or 'its version'} differs); "
            "remove it to begin anew, or choose another --out"
        )
